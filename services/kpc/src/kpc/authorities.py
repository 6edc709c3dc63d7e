"""The authorities that clients' certificates are verified with, asked from the credentials service (TAP) all the time.

A client shows its chain, so what must be known is the installation's authority, which never changes while it is in use;
a new one, which an operator brings along, is known here before the first certificate below it is issued and installed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from kaa_common.clock import Deadline
from kaa_common.errors import KaaError, error_of
from kaa_common.messages.tap import GET_CERTIFICATE_AUTHORITIES, CertificateAuthoritiesRequest
from kaa_common.rpc import Rpc, request_header
from kpc.certificates import Certificates

logger = logging.getLogger(__name__)

ASK_INTERVAL = 60.0
"""Seconds between two questions."""
RETRY_AFTER = 1.0
ASK_TIMEOUT = 4.0


async def keep_asking(rpc: Rpc, ccm_instance: str, tenant_id: str, certificates: Certificates) -> None:
    """Have clients' certificates verified with what the credentials service says, as long as it runs."""
    while True:
        try:
            certificates.trust(await ask(rpc, ccm_instance, tenant_id))
            wait = ASK_INTERVAL
        except KaaError as exc:
            logger.debug("the certificates of the authorities are asked for again: %s", exc)
            wait = RETRY_AFTER
        except (OSError, ValueError) as exc:
            logger.error("the certificates of the authorities, or the TLS files, cannot be used: %s", exc)
            wait = ASK_INTERVAL
        await asyncio.sleep(wait)


async def ask(rpc: Rpc, ccm_instance: str, tenant_id: str) -> str:
    """The certificates (PEM). Raises KaaError."""
    request = CertificateAuthoritiesRequest(**request_header(Deadline.after(ASK_TIMEOUT)), tenant_id=tenant_id)
    response = (await rpc.call(GET_CERTIFICATE_AUTHORITIES, ccm_instance, request)).message
    if response.status_code != HTTPStatus.OK or response.certificates is None:
        raise error_of(response.status_code, response.reason_phrase)
    return response.certificates


@asynccontextmanager
async def trusting(
    rpc: Rpc, ccm_instance: str, tenant_id: str, certificates: Certificates | None
) -> AsyncIterator[None]:
    """The authorities are followed until the context is left, if there is TLS."""
    if certificates is None:
        yield
        return
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(keep_asking(rpc, ccm_instance, tenant_id, certificates), name="authorities")
        try:
            yield
        finally:
            task.cancel()
