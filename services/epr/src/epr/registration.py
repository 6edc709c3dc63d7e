"""Registration: an endpoint and its token come into being together or not at all.

    reserve the id  ->  have the token provisioned  ->  register, with the event of it
                                                    \\->  roll back: discard the token, drop the reservation

A reservation is ours as long as the provisioning may take, some seconds; then whoever meets it (a sweep, or the caller
trying again) takes it over by compare-and-set, so that one alone rolls it back. What we ask of the credentials service
is over with the reservation, so nothing of ours is done late. Nobody but us ever sees it.

An endpoint that is unregistered while the credentials service is away leaves a reservation that is over: its tokens are
discarded as those of a registration that failed.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from epr.metadata import Metadata, check_limits
from epr.model import Endpoint, State
from epr.register import BY_APPLICATION, ENDPOINTS, Register
from epr.tokens import ProvisionedToken, Tokens
from kaa_common.app_versions import AppVersion
from kaa_common.clock import now_ms
from kaa_common.errors import Conflict, KaaError, Unavailable
from kaa_common.store import Document, DocumentStore, DuplicateKey

logger = logging.getLogger(__name__)

CALLS_OF_A_RESERVATION: Final = 2
"""Discard the tokens of whoever had the id before, provision one."""
RESERVATION_MARGIN: Final = 2.0
"""Seconds for the store, and for clocks that differ."""
SWEEP_INTERVAL: Final = 15.0
"""Seconds between two looks for reservations left behind."""
SWEEP_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is to be registered."""

    endpoint_id: str | None
    """None for a generated one."""
    app_version: AppVersion
    metadata: Metadata
    token: str | None = field(repr=False)
    """None for a generated one."""


class Registrar:
    def __init__(self, store: DocumentStore, register: Register, tokens: Tokens) -> None:
        self._store = store
        self._register = register
        self._tokens = tokens
        self._reserved_for_ms = round((CALLS_OF_A_RESERVATION * tokens.timeout + RESERVATION_MARGIN) * 1000)

    async def register(self, wanted: Registration) -> tuple[Endpoint, ProvisionedToken]:
        """Register an endpoint. Doing so again with the same id and token changes nothing and has the same answer.

        Raises Conflict when the id or the token is taken, BadRequest for a malformed token, PayloadTooLarge;
        Unavailable, DeadlineExceeded when the credentials service cannot be reached: nothing is registered then.
        """
        check_limits(wanted.metadata)
        endpoint_id = wanted.endpoint_id or str(uuid.uuid4())
        async with self._register.turn(endpoint_id):
            endpoint = await self._reserve(
                endpoint_id, lambda: _reservation(endpoint_id, wanted, self._reserved_for_ms)
            )
            if endpoint.state is State.REGISTERED:
                return endpoint, await self._repeat(wanted, endpoint)
            try:
                return await self._complete(endpoint, wanted)
            except Exception:
                # A write whose outcome is unknown may have registered it: then the revision says so, and it stays.
                await self._roll_back_or_leave(endpoint)
                raise

    async def unregister(self, endpoint_id: str, check: Callable[[Endpoint], None]) -> None:
        """Remove an endpoint unless `check` raises, and its tokens. Raises NotFound."""
        async with self._register.turn(endpoint_id):
            endpoint = await self._register.unregister(endpoint_id, check)
        try:
            await self._tokens.discard(endpoint)
        except KaaError as exc:
            # The credentials service also listens to the event, unless it is away.
            logger.warning("the tokens of an unregistered endpoint are not deleted yet: %s", exc)
            with contextlib.suppress(KaaError):  # somebody else has the id by now, and discards them
                await self._reserve(endpoint_id, lambda: _left_over(endpoint))

    async def keep_sweeping(self) -> None:
        """Roll back the reservations that were left behind."""
        while True:
            try:
                await self.sweep()
            except Unavailable as exc:
                logger.warning("reservations left behind are not rolled back: %s", exc)
            await asyncio.sleep(SWEEP_INTERVAL)

    async def sweep(self) -> None:
        """Roll back the reservations whose time is over. Raises Unavailable."""
        last: Document | None = None
        while page := await self._store.page(
            ENDPOINTS, BY_APPLICATION, equals=[State.RESERVED.value], after=last, limit=SWEEP_PAGE
        ):
            for endpoint in map(Endpoint.from_document, page):
                if _is_over(endpoint):
                    logger.warning("rolling back the registration of %s, which was left behind", endpoint.id)
                    await self._roll_back_or_leave(endpoint)
            last = page[-1]

    async def _complete(self, reservation: Endpoint, wanted: Registration) -> tuple[Endpoint, ProvisionedToken]:
        if wanted.endpoint_id is not None:
            # Whoever has a token of an endpoint that had this id before has none of this one.
            await self._tokens.discard(reservation)
        token = await self._tokens.provision(reservation, wanted.token)
        endpoint = await self._register.complete_registration(reservation, token.id)
        if endpoint is None:
            raise Unavailable("the registration took too long, try again")
        return endpoint, token

    async def _reserve(self, endpoint_id: str, make_reservation: Callable[[], Endpoint]) -> Endpoint:
        """The reservation, or the endpoint that is registered with this id already."""
        while True:
            reservation = make_reservation()
            try:
                await self._store.insert(ENDPOINTS, reservation.to_document())
            except DuplicateKey:
                pass
            else:
                return reservation
            document = (await self._store.get(ENDPOINTS, [endpoint_id])).get(endpoint_id)
            if document is None:
                continue
            existing = Endpoint.from_document(document)
            if existing.state is State.REGISTERED:
                return existing
            if existing.state is State.UNREGISTERED:
                successor = reservation._replace(
                    revision=max(reservation.revision, existing.document_revision + 1),
                    outbox=existing.outbox,
                    pending=existing.pending,
                )
                if await self._store.replace(ENDPOINTS, successor.to_document(), existing.document_revision):
                    return successor
            elif _is_over(existing):
                await self._roll_back(existing)
            else:
                raise Unavailable("this endpoint is being registered, try again")

    async def _repeat(self, wanted: Registration, endpoint: Endpoint) -> ProvisionedToken:
        """The token of a registered endpoint, if this is the registration that made it."""
        taken = Conflict("the endpoint id is taken")
        if wanted.token is None or wanted.app_version.app_name != endpoint.application:
            raise taken
        if not await self._tokens.exists(endpoint.application, wanted.token):
            raise taken  # and the endpoint shall not get this token besides
        try:
            token = await self._tokens.provision(endpoint, wanted.token)
        except Conflict:
            raise taken from None
        if token.id != endpoint.token_id:
            raise taken
        return token

    async def _roll_back_or_leave(self, reservation: Endpoint) -> None:
        try:
            await self._roll_back(reservation)
        except KaaError as exc:
            logger.warning("the registration of %s failed and is rolled back later: %s", reservation.id, exc)

    async def _roll_back(self, reservation: Endpoint) -> None:
        """Undo a reservation, unless it was registered or taken over meanwhile."""
        claimed = reservation.reserved_again(now_ms() + self._reserved_for_ms)
        if not await self._store.replace(ENDPOINTS, claimed.to_document(), reservation.revision):
            return
        try:
            await self._tokens.discard(claimed)
        except KaaError:
            given_up = claimed.reserved_again(now_ms())  # the next one may try at once
            await self._store.replace(ENDPOINTS, given_up.to_document(), claimed.revision)
            raise
        if claimed.outbox:
            # It stood in the place of an unregistered endpoint whose last event may still have to go out.
            await self._store.replace(ENDPOINTS, claimed.unregistered().to_document(), claimed.revision)
        else:
            await self._store.delete(ENDPOINTS, claimed.id, claimed.revision)


def _reservation(endpoint_id: str, wanted: Registration, reserved_for_ms: int) -> Endpoint:
    now = now_ms()
    return Endpoint(
        id=endpoint_id,
        revision=now,
        state=State.RESERVED,
        tenant=wanted.app_version.tenant_id,
        application=wanted.app_version.app_name,
        app_version=wanted.app_version.name,
        app_version_at=now,
        created_at=now,
        metadata=wanted.metadata,
        reserved_until=now + reserved_for_ms,
    )


def _left_over(endpoint: Endpoint) -> Endpoint:
    """A reservation in the place of an endpoint that is gone: rolling it back discards the tokens."""
    gone = endpoint.unregistered()
    return gone._replace(state=State.RESERVED, reserved_until=now_ms(), restamped=0, outbox=(), pending=None)


def _is_over(reservation: Endpoint) -> bool:
    return reservation.reserved_until is None or reservation.reserved_until <= now_ms()
