"""A device's request, whatever transport brought it: who asks what of whom (1/KP), and the extension's answer (4/ESP).

Requests of one token to one extension are sent one after the other, so what a device says in order happens in order,
and one that floods waits for itself. Nobody gets more than a share: neither an endpoint nor a tenant.
"""

import logging
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from prometheus_client import Counter

from kaa_common import log
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import Forbidden, NotFound, PayloadTooLarge, TooManyRequests, status_of
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Rpc, new_correlation_id, request_header
from kaa_common.serial import SerialByKey, Turn
from kpc.kp1 import Address, Name, Resource, parse_address, parse_resource
from kpc.rate_limits import RateExceeded, RateLimit
from kpc.tokens import Guesser, Identity, Tokens
from kpc.traffic import Traffic

logger = logging.getLogger(__name__)

ALLOWED_EXTENSIONS = "allowed-extension-instances"
"""Key of an application version's configuration for kpc; without it every extension is allowed."""

MAX_IN_TURN = 256
"""Requests of one token to one extension that have or wait for their turn: what a few connections have in flight."""
LONGEST_WAIT = 30_000
"""Milliseconds beyond its own time that a request may spend on those before it, so that nothing waits for ever."""
MAX_OF_TENANT = 10_000
"""Requests of one tenant that may be in progress: of those that wait for an answer, one tenant never has all."""
MAX_RATED_ENDPOINTS = 100_000
"""Endpoints whose rate is known: every device of a well-filled replica."""

REQUESTS = Counter("kpc_requests", "Requests of devices, by transport and status code", ["transport", "status"])


class Speaker(NamedTuple):
    """Who sends a message, or subscribes."""

    app_version: AppVersion
    name: Name
    identity: Identity | None
    """The endpoint; None when an endpoint-unaware extension is addressed."""


OnIdentified = Callable[[Speaker], Awaitable[None]]


class Outcome(NamedTuple):
    """What the device is told."""

    status_code: int
    reason_phrase: str = ""
    payload: bytes = b""
    has_request_id: bool = False
    retry_after: int = 0
    """Seconds to wait, when there was too much."""
    speaker: Speaker | None = None
    """Whose message it was, as far as that came out."""

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
    endpoint_rate: float
    """Messages a second of one endpoint."""


class Edge:
    """The way from a device to an extension and back."""

    def __init__(
        self,
        rpc: Rpc,
        app_versions: AppVersions,
        tokens: Tokens,
        extensions: Mapping[str, bool],
        limits: EdgeLimits,
        traffic: Traffic,
    ) -> None:
        """`extensions` are the extension instances served here, and whether each is endpoint-aware."""
        self.extensions = extensions
        self.traffic = traffic
        self._rpc = rpc
        self._app_versions = app_versions
        self._tokens = tokens
        self._limits = limits
        self._turns = SerialByKey()
        self._in_progress = Tally[str]()
        self._rates = RateLimit("endpoint", limits.endpoint_rate, MAX_RATED_ENDPOINTS)

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
        log.correlation_id.set(new_correlation_id())
        arrived = Deadline.after(self._limits.request_timeout)
        speaker: Speaker | None = None
        try:
            address = parse_address(path)
            resource = self._resource(address)
            if len(payload) > self._limits.max_payload:
                raise PayloadTooLarge(f"payload longer than {self._limits.max_payload} bytes")
            name = Name(address.app_version_name, address.extension, resource.token)
            turn = self._turn(name)
            async with turn as left:
                deadline = turn.leaves = _deadline(arrived, left)
                speaker = await self._speaker(name, guesser, deadline)
                if on_identified is not None:
                    await on_identified(speaker)
                request_id = default_request_id if resource.request_id is None else resource.request_id
                answer = await self._ask(speaker, resource.path, request_id, payload, deadline)
                if answer.status_code < 500:
                    turn.leaves = Deadline.after(self._limits.request_timeout)
            outcome = _outcome(answer, speaker, has_request_id=resource.request_id is not None)
        except Exception as exc:
            outcome = refusal(exc, speaker)
        _requests(transport, outcome.status_code).inc()
        logger.debug("answered a device over %s: %d", transport, outcome.status_code)
        return outcome

    def sent(self, outcome: Outcome, size: int) -> None:
        """A payload of this size was sent to the device."""
        if outcome.speaker is not None and outcome.speaker.identity is not None:
            app_version, endpoint_id = outcome.speaker.app_version, outcome.speaker.identity.endpoint_id
            self.traffic.sent(app_version.tenant_id, app_version.app_name, endpoint_id, size)

    async def identify(self, name: Name, guesser: Guesser) -> Speaker:
        """Who that is, if it may speak. Raises KaaError."""
        log.correlation_id.set(new_correlation_id())
        return await self._speaker(name, guesser, Deadline.after(self._limits.request_timeout))

    def _turn(self, name: Name) -> Turn:
        """A request is sent when all before it of the same token are done; one of no token waits for none."""
        if name.token is None:
            return self._turns.turn(object())
        if self._turns.users(name) >= MAX_IN_TURN:
            raise TooManyRequests("too many messages of this endpoint are waiting")
        return self._turns.turn(name)

    async def _ask(
        self, speaker: Speaker, resource_path: str, request_id: int | None, payload: bytes, deadline: Deadline
    ) -> ExtensionData:
        endpoint_id = None
        if speaker.identity is not None:
            endpoint_id = speaker.identity.endpoint_id
            self.traffic.received(speaker.app_version, endpoint_id, len(payload))
            self._rates.count(endpoint_id)
        tenant_id = speaker.app_version.tenant_id
        if self._in_progress[tenant_id] >= MAX_OF_TENANT:
            raise TooManyRequests("too many requests of this tenant are in progress")
        request = ClientData(
            **request_header(deadline, log.correlation_id.get()),
            app_version_name=speaker.name.app_version_name,
            endpoint_id=endpoint_id,
            resource_path=resource_path,
            request_id=request_id,
            payload=payload,
        )
        self._in_progress[tenant_id] += 1
        try:
            return (await self._rpc.call(CLIENT_DATA, speaker.name.extension, request)).message
        finally:
            self._in_progress[tenant_id] -= 1

    async def _speaker(self, name: Name, guesser: Guesser, deadline: Deadline) -> Speaker:
        app_version = self._app_versions.kept(name.app_version_name)
        if app_version is None:
            app_version = await self._app_versions.get(name.app_version_name, deadline)
        allowed = app_version.config.get(ALLOWED_EXTENSIONS)
        if allowed is not None and not (isinstance(allowed, list) and name.extension in allowed):
            raise Forbidden(f"extension {name.extension} is not allowed for this application version")
        if guesser.check is not None:
            await guesser.check(app_version, deadline)
        if name.token is None:
            return Speaker(app_version, name, None)
        return Speaker(app_version, name, await self._tokens.resolve(app_version, name.token, guesser, deadline))

    def _resource(self, address: Address) -> Resource:
        endpoint_aware = self.extensions.get(address.extension)
        if endpoint_aware is None:
            raise NotFound("unknown extension")
        return parse_resource(address, endpoint_aware=endpoint_aware)


def refusal(error: Exception, speaker: Speaker | None = None) -> Outcome:
    """What the device is told of an error; the speaker is who it is, if that came out."""
    status_code, reason_phrase = status_of(error)
    retry_after = error.retry_after if isinstance(error, RateExceeded) else int(isinstance(error, TooManyRequests))
    if status_code == 500:
        logger.error("a request failed", exc_info=error)
    return Outcome(status_code=status_code, reason_phrase=reason_phrase, retry_after=retry_after, speaker=speaker)


def _deadline(arrived: Deadline, left: object) -> Deadline:
    """Until when a request may take, when its turn has come.

    Its time begins anew whenever one before it is answered, as it is not its fault how many they are. When one is not,
    as its extension is out of reach, the time of those that wait behind it runs out with its own.
    """
    if not isinstance(left, Deadline):
        return arrived
    return min(max(arrived, left), Deadline(arrived.at_ms + LONGEST_WAIT))


@cache
def _requests(transport: str, status_code: int) -> Counter:
    return REQUESTS.labels(transport, str(status_code))


def _outcome(answer: ExtensionData, speaker: Speaker, *, has_request_id: bool) -> Outcome:
    if not 200 <= answer.status_code < 600:
        raise ValueError(f"the extension answered with the status code {answer.status_code}")
    return Outcome(
        status_code=answer.status_code,
        reason_phrase=answer.reason_phrase or "",
        payload=answer.payload or b"",
        has_request_id=has_request_id,
        speaker=speaker,
    )
