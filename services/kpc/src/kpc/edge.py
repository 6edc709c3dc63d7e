"""A device's request, whatever transport brought it: who asks what of whom (1/KP), and the extension's answer (4/ESP).

Requests of one token to one extension are sent one after the other, so what a device says in order happens in order.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import Counter

from kaa_common import log
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import Forbidden, NotFound, PayloadTooLarge, status_of
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Rpc, request_header
from kaa_common.serial import SerialByKey
from kpc.kp1 import Address, Resource, parse_address, parse_resource
from kpc.tokens import Guesser, Identity, Tokens

logger = logging.getLogger(__name__)

ALLOWED_EXTENSIONS = "allowed-extension-instances"
"""Key of an application version's configuration for kpc; without it every extension is allowed."""

REQUESTS = Counter("kpc_requests", "Requests of devices, by transport and status code", ["transport", "status"])

OnIdentified = Callable[[Identity, AppVersion], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the device is told."""

    status_code: int
    reason_phrase: str = ""
    payload: bytes = b""
    has_request_id: bool = False

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What one request may take."""

    max_payload: int
    """Bytes."""
    request_timeout: float
    """Seconds until a device is told that nobody answered."""


class Edge:
    """The way from a device to an extension and back."""

    def __init__(
        self,
        rpc: Rpc,
        app_versions: AppVersions,
        tokens: Tokens,
        extensions: Mapping[str, bool],
        limits: EdgeLimits,
    ) -> None:
        """`extensions` are the extension instances served here, and whether each is endpoint-aware."""
        self._rpc = rpc
        self._app_versions = app_versions
        self._tokens = tokens
        self._extensions = extensions
        self._limits = limits
        self._turns = SerialByKey()

    async def request(
        self,
        transport: str,
        path: str,
        payload: bytes,
        *,
        guesser: Guesser,
        default_request_id: int | None = None,
        on_identified: OnIdentified | None = None,
    ) -> Outcome:
        """Carry a request to its extension. Never raises: whatever goes wrong is an outcome.

        `guesser` is who sends it, and may get only so many tokens wrong.
        """
        log.correlation_id.set(uuid.uuid4().hex)
        try:
            outcome = await self._request(path, payload, guesser, default_request_id, on_identified)
        except Exception as exc:
            status_code, reason_phrase = status_of(exc)
            if status_code == 500:
                logger.exception("a request failed")
            outcome = Outcome(status_code=status_code, reason_phrase=reason_phrase)
        REQUESTS.labels(transport, str(outcome.status_code)).inc()
        return outcome

    async def _request(
        self,
        path: str,
        payload: bytes,
        guesser: Guesser,
        default_request_id: int | None,
        on_identified: OnIdentified | None,
    ) -> Outcome:
        deadline = Deadline.after(self._limits.request_timeout)
        address = parse_address(path)
        resource = self._resource(address)
        if len(payload) > self._limits.max_payload:
            raise PayloadTooLarge(f"payload longer than {self._limits.max_payload} bytes")
        async with AsyncExitStack() as in_turn:
            if resource.token is not None:
                key = (address.app_version_name, address.extension, resource.token)
                await in_turn.enter_async_context(self._turns.turn(key))
            app_version = await self._app_versions.get(address.app_version_name, deadline)
            if address.extension not in app_version.config.get(ALLOWED_EXTENSIONS, self._extensions):
                raise Forbidden(f"extension {address.extension} is not allowed for this application version")
            endpoint_id = None
            if resource.token is not None:
                identity = await self._tokens.resolve(app_version, resource.token, guesser, deadline)
                endpoint_id = identity.endpoint_id
                if on_identified is not None:
                    await on_identified(identity, app_version)
            request = ClientData(
                **request_header(deadline, log.correlation_id.get()),
                app_version_name=app_version.name,
                endpoint_id=endpoint_id,
                resource_path=resource.path,
                request_id=default_request_id if resource.request_id is None else resource.request_id,
                payload=payload,
            )
            answer = (await self._rpc.call(CLIENT_DATA, address.extension, request)).message
        return _outcome(answer, has_request_id=resource.request_id is not None)

    def _resource(self, address: Address) -> Resource:
        endpoint_aware = self._extensions.get(address.extension)
        if endpoint_aware is None:
            raise NotFound("unknown extension")
        return parse_resource(address, endpoint_aware=endpoint_aware)


def _outcome(answer: ExtensionData, *, has_request_id: bool) -> Outcome:
    if not 200 <= answer.status_code < 600:
        raise ValueError(f"the extension answered with the status code {answer.status_code}")
    return Outcome(
        status_code=answer.status_code,
        reason_phrase=answer.reason_phrase or "",
        payload=answer.payload or b"",
        has_request_id=has_request_id,
    )
