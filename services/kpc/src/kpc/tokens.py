"""Endpoint tokens resolved to endpoints: asked from the credentials service (16/ECAP), kept for a short while.

A revocation makes the kept answer worthless at once; so does a time without the bus, when one may have been missed.
"""

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from cachetools import TTLCache
from prometheus_client import Counter

from kaa_common.app_versions import AppVersion
from kaa_common.budget import Budget
from kaa_common.clock import Deadline
from kaa_common.errors import TooManyRequests, Unauthorized, error_of
from kaa_common.messages.ecap import VALIDATE_TOKEN, EndpointTokenValidationRequest
from kaa_common.rpc import Rpc, request_header

MAX_KEPT = 100_000
"""Tokens kept: every device of a well-filled replica, at some 300 bytes each."""
TRUSTED_FOR = 1.0
"""Seconds after the bus last worked for sure: a withdrawn token is out of use within a second, on a replica that was
frozen or cut off, too."""
KEPT_FOR = 30.0
"""Seconds a token is believed without asking again, besides the revocation events."""
TENANT_GUESSES, TENANT_GUESSES_PER_SECOND = 2000, 100.0
"""Wrong tokens of a tenant on this replica before tokens that are not known yet have to wait; known ones go on.
A hundred a second finds the first of a million tokens, of the 62**10 that there can be, in some 270 years."""
MAX_TENANTS = 10_000

GUESSES = Counter(
    "kpc_wrong_tokens", "Endpoint tokens that were no good, or not looked at after too many such", ["fate"]
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The endpoint that a token stands for."""

    endpoint_id: str
    token_id: str


Check = Callable[[AppVersion, Deadline], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Guesser:
    """Somebody who shows tokens, and may get only so many wrong."""

    guesses: Budget
    name: str
    check: Check | None = None
    """Raises Forbidden when it may not speak for the application version, whatever its token."""

    def is_exhausted(self, now: float) -> bool:
        return self.guesses.is_exhausted(self.name, now)

    def was_wrong(self, now: float) -> None:
        self.guesses.spend(self.name, now)


class Tokens:
    """The tokens of this replica's devices."""

    def __init__(self, rpc: Rpc, cm_instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._rpc = rpc
        self.clock = clock
        self._trusted_until = 0.0
        self._cm_instance = cm_instance
        self._known: TTLCache[tuple[str, str], Identity] = TTLCache(MAX_KEPT, KEPT_FOR)
        # Revoked token ids, for as long as an identity with them may be kept; cheaper than an index by token id.
        self._revoked: TTLCache[str, bool] = TTLCache(MAX_KEPT, KEPT_FOR)
        self._revocations = 0
        self._guesses_of_tenants = Budget(
            burst=TENANT_GUESSES, per_second=TENANT_GUESSES_PER_SECOND, max_names=MAX_TENANTS
        )

    async def resolve(self, app_version: AppVersion, token: str, guesser: Guesser, deadline: Deadline) -> Identity:
        """The endpoint of a token. A token that is no good counts as a wrong guess of whoever shows it.

        Raises Unauthorized when the token is unknown, suspended, revoked or malformed, saying which; TooManyRequests
        when there were too many such; Unavailable and DeadlineExceeded when it cannot be asked.
        """
        known = self._known.get((app_version.app_name, token))
        if known is not None and known.token_id not in self._revoked and self.clock() < self._trusted_until:
            return known
        tenant = Guesser(self._guesses_of_tenants, app_version.tenant_id)
        if guesser.is_exhausted(self.clock()) or tenant.is_exhausted(self.clock()):
            GUESSES.labels("not looked at").inc()
            raise TooManyRequests("too many wrong endpoint tokens, wait")
        try:
            return await self._ask(app_version.app_name, token, deadline)
        except Unauthorized:
            GUESSES.labels("wrong").inc()
            guesser.was_wrong(self.clock())
            tenant.was_wrong(self.clock())
            raise

    def trust(self, since: float) -> None:
        """The bus worked at that time of the clock: what was kept may be believed for TRUSTED_FOR from then on."""
        self._trusted_until = since + TRUSTED_FOR

    def revoke(self, token_ids: Collection[str]) -> None:
        """Ask again before these tokens are believed."""
        self._revocations += 1
        if len(self._revoked) + len(token_ids) > MAX_KEPT:
            self.forget()
        self._revoked.update(dict.fromkeys(token_ids, True))

    def forget(self) -> None:
        """Ask again before any token is believed."""
        self._revocations += 1
        self._known.clear()
        self._revoked.clear()

    async def _ask(self, app_name: str, token: str, deadline: Deadline) -> Identity:
        revocations = self._revocations
        request = EndpointTokenValidationRequest(**request_header(deadline), app_name=app_name, token=token)
        response = (await self._rpc.call(VALIDATE_TOKEN, self._cm_instance, request)).message
        match response.status_code:
            case HTTPStatus.OK if response.endpoint_id is not None and response.token_id is not None:
                identity = Identity(response.endpoint_id, response.token_id)
            case HTTPStatus.NOT_FOUND:
                raise Unauthorized("unknown endpoint token")
            case HTTPStatus.FORBIDDEN:
                raise Unauthorized(response.reason_phrase or "endpoint token is not valid")
            case HTTPStatus.BAD_REQUEST:
                raise Unauthorized("malformed endpoint token")
            case status_code:
                raise error_of(status_code, response.reason_phrase)
        # An answer that a revocation overtook may be out of date: good for this request, not to be kept.
        if revocations == self._revocations:
            self._revoked.pop(identity.token_id, None)
            self._known[app_name, token] = identity
        return identity
