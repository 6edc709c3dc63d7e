"""Endpoint tokens resolved to endpoints: asked from the credentials service (16/ECAP), believed for a short while.

A revocation makes the kept answer worthless at once; so does a time without the bus, when one may have been missed. An
answer that a revocation has overtaken is asked for again, since a session is made of it. A token that was good here may
be asked for again whoever guesses beside it: devices at work do not pay for those who guess.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import Counter

from kaa_common.app_versions import AppVersion
from kaa_common.budget import Budget
from kaa_common.clock import Deadline
from kaa_common.errors import TooManyRequests, Unauthorized, error_of
from kaa_common.messages.ecap import (
    VALIDATE_TOKEN,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.rpc import Rpc, request_header
from kpc.withdrawals import Withdrawals

MAX_KEPT = 100_000
"""Tokens kept: every device of a well-filled replica, at some 300 bytes each."""
TRUSTED_FOR = 1.0
"""Seconds after the bus last worked for sure: a withdrawn token is out of use within a second, on a replica that was
frozen or cut off, too."""
BELIEVED_FOR = 30.0
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


@dataclass(frozen=True, slots=True)
class _Kept:
    """A token that was good."""

    identity: Identity
    believed_until: float
    asked_at: int
    """The latest withdrawal then."""


Check = Callable[[AppVersion, Deadline], Awaitable[None]]


class Guesser(NamedTuple):
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
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._withdrawals = Withdrawals(MAX_KEPT, BELIEVED_FOR)
        self._guesses_of_tenants = Budget(
            burst=TENANT_GUESSES, per_second=TENANT_GUESSES_PER_SECOND, max_names=MAX_TENANTS
        )

    async def resolve(self, app_version: AppVersion, token: str, guesser: Guesser, deadline: Deadline) -> Identity:
        """The endpoint of a token. A token that is no good counts as a wrong guess of whoever shows it.

        Raises Unauthorized when the token is unknown, suspended, revoked or malformed, saying which; TooManyRequests
        when there were too many such; Unavailable and DeadlineExceeded when it cannot be asked.
        """
        key, now = (app_version.app_name, token), self.clock()
        kept = self._kept.get(key)
        if kept is not None and self._is_believed(kept, now):
            self._kept.move_to_end(key)
            return kept.identity
        tenant = Guesser(self._guesses_of_tenants, app_version.tenant_id)
        if kept is None and (guesser.is_exhausted(now) or tenant.is_exhausted(now)):
            GUESSES.labels("not looked at").inc()
            raise TooManyRequests("too many wrong endpoint tokens, wait")
        try:
            kept = await self._ask(*key, deadline)
        except Unauthorized:
            self._kept.pop(key, None)
            GUESSES.labels("wrong").inc()
            guesser.was_wrong(self.clock())
            tenant.was_wrong(self.clock())
            raise
        self._keep(key, kept)
        return kept.identity

    def trust(self, since: float) -> None:
        """The bus worked at that time of the clock: what was kept may be believed for TRUSTED_FOR from then on."""
        self._trusted_until = since + TRUSTED_FOR

    def revoke(self, token_ids: Collection[str]) -> None:
        """Ask again before these tokens are believed."""
        for token_id in token_ids:
            self._withdrawals.add(token_id)

    def forget(self) -> None:
        """Ask again before any token is believed."""
        self._withdrawals.add_everything()

    def _keep(self, key: tuple[str, str], kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def _is_believed(self, kept: _Kept, now: float) -> bool:
        return now < min(kept.believed_until, self._trusted_until) and not self._is_withdrawn(kept)

    def _is_withdrawn(self, kept: _Kept) -> bool:
        return self._withdrawals.are_later(kept.identity.token_id, kept.asked_at)

    async def _ask(self, app_name: str, token: str, deadline: Deadline) -> _Kept:
        while True:
            asked_at = self._withdrawals.latest
            request = EndpointTokenValidationRequest(**request_header(deadline), app_name=app_name, token=token)
            response = (await self._rpc.call(VALIDATE_TOKEN, self._cm_instance, request)).message
            kept = _Kept(_identity_in(response), self.clock() + BELIEVED_FOR, asked_at)
            if not self._is_withdrawn(kept):
                return kept


def _identity_in(response: EndpointTokenValidationResponse) -> Identity:
    """Raises Unauthorized when the token is no good, another KaaError when nobody can tell."""
    match response.status_code:
        case HTTPStatus.OK if response.endpoint_id is not None and response.token_id is not None:
            return Identity(response.endpoint_id, response.token_id)
        case HTTPStatus.NOT_FOUND:
            raise Unauthorized("unknown endpoint token")
        case HTTPStatus.FORBIDDEN:
            raise Unauthorized(response.reason_phrase or "endpoint token is not valid")
        case HTTPStatus.BAD_REQUEST:
            raise Unauthorized("malformed endpoint token")
        case status_code:
            raise error_of(status_code, response.reason_phrase)
