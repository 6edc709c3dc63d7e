"""The composition root: builds the service's parts, from the inside out, and takes them apart again."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher

from creds.bus_api import BusApi
from creds.clients.app import ClientsOptions, open_clients
from creds.clients.bus_api import ClientsBusApi
from creds.clients.documents import COLLECTIONS
from creds.clients.lifecycle import Sender
from creds.clients.passwords import MEMORY_COST, PARALLELISM, TIME_COST
from creds.clients.pki import Authority, load_authority, utc
from creds.clients.rest_api import ClientsRestApi
from creds.clients.sealing import Seal
from creds.cut_off import CutOff
from creds.documents import TOKENS
from creds.register import Register
from creds.rest_api import RestApi
from creds.settings import CredsSettings
from creds.tokens import Tokens
from kaa_common.clock import now_ms
from kaa_common.errors import StartError, Unavailable
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from kaa_common.settings import load

logger = logging.getLogger(__name__)

PREFIX = "cm"
CLIENTS_PREFIX = "ccm"


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    rpc, common = platform.rpc, platform.settings
    settings = load(CredsSettings, platform.environ, "CREDS_")
    sender = Sender(ccm_instance=common.ccm_instance, cm_instance=common.cm_instance, replica_id=rpc.replica_id)
    async with (
        platform.store(TOKENS, *COLLECTIONS) as store,
        open_outbox(store, rpc.bus, TOKENS) as outbox,
        open_clients(store, rpc.bus, sender, _clients_options(settings)) as clients,
    ):
        tokens = Tokens(
            store,
            outbox,
            settings.keys(),
            instance=common.cm_instance,
            replica_id=rpc.replica_id,
            generated_length=settings.token_length,
        )
        await _tell_of_older_keys(tokens)
        await BusApi(tokens).serve(rpc, common.cm_instance, common.epr_instance)
        await ClientsBusApi(clients).serve(rpc, common.ccm_instance, common.cm_instance)
        cut_off = CutOff(rpc, common.kpc_instance)
        await cut_off.start()
        apis = {
            PREFIX: rest_api(
                "Credentials",
                "Tokens of endpoints.",
                f"/{PREFIX}",
                RestApi(tokens, Register(rpc, common.epr_instance), cut_off, common.tenant_id).router(),
                platform.access,
            ),
            CLIENTS_PREFIX: rest_api(
                "Client credentials",
                "Passwords and certificates that clients connect with.",
                f"/{CLIENTS_PREFIX}",
                ClientsRestApi(clients, cut_off, common.tenant_id).router(),
                platform.access,
            ),
        }
        for prefix, api in apis.items():
            platform.gateway.mount(prefix, api)
        try:
            yield
        finally:
            for prefix in apis:
                platform.gateway.unmount(prefix)


async def _tell_of_older_keys(tokens: Tokens) -> None:
    """Tell the operator who changes the secret whether the older one is still needed."""
    try:
        for key_id, count in (await tokens.count_older()).items():
            logger.info("%d tokens are hashed under the older key %s of CREDS_TOKEN_KEYS", count, key_id)
    except Unavailable as exc:
        logger.warning("tokens that are hashed under older keys cannot be counted: %s", exc)


def _clients_options(settings: CredsSettings) -> ClientsOptions:
    return ClientsOptions(
        hasher=PasswordHasher(TIME_COST, MEMORY_COST, PARALLELISM),
        password_concurrency=settings.password_concurrency,
        password_queue=settings.password_queue,
        seal=Seal(settings.keys().derive("private keys of certificate authorities")),
        authority=_brought_authority(settings),
    )


def _brought_authority(settings: CredsSettings) -> Authority | None:
    """The authority that the operator made elsewhere. Raises StartError."""
    if settings.ca_certificate_file is None or settings.ca_key_file is None:
        return None
    try:
        certificate, key = settings.ca_certificate_file.read_bytes(), settings.ca_key_file.read_bytes()
        return load_authority(certificate, key, utc(now_ms()))
    except (OSError, ValueError) as exc:
        raise StartError(f"CREDS_CA_CERTIFICATE_FILE, CREDS_CA_KEY_FILE: {exc}") from exc


SERVICE = Service("creds", work)
