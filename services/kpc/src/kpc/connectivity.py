"""Says which endpoints came and went (9/ELCE), and hears from other replicas what they say (docs/adr/0024).

What came and went is said at once. The bus may be away then, or lose what it has not passed on yet: so it stays open
until the bus has confirmed, and is said again, as it stands by then. After the connection was lost all endpoints that
are held here are announced again, as whoever listens may have given them up.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import Counter

from kaa_common.clock import now_ms
from kaa_common.errors import KaaError, Unavailable
from kaa_common.messages.declared import EventHeader
from kaa_common.messages.elce import CONNECTED, DISCONNECTED, ConnectedEvent, DisconnectedEvent
from kaa_common.rpc import Rpc, event_header
from kpc.presence import Change, Presence, Session

logger = logging.getLogger(__name__)

SETTLE_INTERVAL = 0.5
"""Seconds between two looks at what is open."""
FLUSH_TIMEOUT = 1.0
"""Seconds for the bus to confirm."""
MAX_OPEN = 100_000
"""Endpoints whose last change the bus has not confirmed: all of several replicas, which came while it was away."""
MAX_IN_EVENT = 2000
"""Endpoints in one event, so that it fits into a message of the bus."""

NOT_ANNOUNCED = Counter("kpc_connectivity_not_announced", "Endpoints whose last change was never announced")


@dataclass(frozen=True, slots=True)
class _Open:
    """The last change of an endpoint, of which it is not certain that it was heard."""

    app_version_name: str
    was_said: bool


class Connectivity:
    """The presence of endpoints on this replica, shared with whoever listens. `start` before use."""

    def __init__(self, rpc: Rpc, kpc_instance: str) -> None:
        self.presence = Presence(rpc.replica_id)
        self._rpc = rpc
        self._kpc_instance = kpc_instance
        self._open: dict[str, _Open] = {}
        self._was_away = False
        self._losses = 0
        rpc.bus.on_connection_lost(self._may_have_lost_something)

    async def start(self) -> None:
        await self._rpc.listen(CONNECTED, self._kpc_instance, self._connected_elsewhere)
        await self._rpc.listen(DISCONNECTED, self._kpc_instance, self._disconnected_elsewhere)

    async def identified(self, endpoint_id: str, session: Session) -> Change:
        """Raises TooManyRequests when there are too many endpoints on the connection."""
        now = now_ms()
        change = self.presence.identified(endpoint_id, session, now)
        if change.connected:
            await self._say(change, now)
        return change

    async def connection_ended(self, connection_id: int) -> None:
        await self._say(self.presence.connection_ended(connection_id), now_ms())

    async def revoked(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        """How many sessions ended."""
        change = self.presence.revoked(endpoint_id, token_ids)
        await self._say(change, now_ms())
        return change.ended_sessions

    async def announce_again(self) -> None:
        """Say of all endpoints that are held here that they are. Raises Unavailable."""
        now = now_ms()
        await self._emit(Change(connected=self.presence.claim_again(self.presence.held(), now)), now)

    async def settle(self) -> None:
        """Say again what may not have been heard, and have the bus confirm it. Raises Unavailable."""
        if self._was_away:
            # Cleared first: the connection may be lost again meanwhile.
            self._was_away = False
            try:
                await self.announce_again()
            except Unavailable:
                self._was_away = True
                raise
        unsaid = {name: change for name, change in self._open.items() if not change.was_said}
        if unsaid:
            now = now_ms()
            gone = {name: it.app_version_name for name, it in unsaid.items() if not self.presence.sessions_of(name)}
            await self._say_and_note(Change(self.presence.claim_again(unsaid, now), gone), now, unsaid)
        if self._open:
            said = dict(self._open)
            await self._rpc.bus.flush(FLUSH_TIMEOUT)
            for name, change in said.items():
                if change.was_said and self._open.get(name) is change:
                    del self._open[name]

    async def keep_settling(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_INTERVAL)
            try:
                await self.settle()
            except KaaError as exc:
                logger.debug("%d changes of connectivity are still open: %s", len(self._open), exc)

    async def _say(self, change: Change, now: int) -> None:
        versions = {**change.disconnected, **change.connected}
        if versions:
            opened = {name: _Open(version, False) for name, version in versions.items()}
            self._keep_open(opened)
            try:
                await self._say_and_note(change, now, opened)
            except Unavailable as exc:
                logger.debug("%d changes of connectivity will be announced later: %s", len(opened), exc)

    async def _say_and_note(self, change: Change, now: int, opened: Mapping[str, _Open]) -> None:
        losses = self._losses
        await self._emit(change, now)
        if losses == self._losses:
            for name, it in opened.items():
                if self._open.get(name) is it:
                    self._open[name] = _Open(it.app_version_name, True)

    async def _emit(self, change: Change, now: int) -> None:
        # The time of the claim itself: other replicas compare it with theirs.
        header: EventHeader = {**event_header(), "timestamp": now}
        for some in _in_parts(change.disconnected):
            gone = DisconnectedEvent(**header, endpoints=some, originator_replica_id=self._rpc.replica_id)
            await self._rpc.emit(DISCONNECTED, self._kpc_instance, gone)
        for some in _in_parts(change.connected):
            came = ConnectedEvent(**header, endpoints=some, originator_replica_id=self._rpc.replica_id)
            await self._rpc.emit(CONNECTED, self._kpc_instance, came)

    def _keep_open(self, changes: Mapping[str, _Open]) -> None:
        self._open |= changes
        too_many = len(self._open) - MAX_OPEN
        if too_many > 0:
            for name in list(self._open)[:too_many]:
                del self._open[name]
            NOT_ANNOUNCED.inc(too_many)
            logger.error("the bus is away for too long: %d changes of connectivity are never announced", too_many)

    def _may_have_lost_something(self) -> None:
        self._was_away = True
        self._losses += 1
        self._open = {name: _Open(it.app_version_name, False) for name, it in self._open.items()}

    async def _connected_elsewhere(self, event: ConnectedEvent) -> None:
        if event.originator_replica_id == self._rpc.replica_id:
            return
        self.presence.connected_elsewhere(event.endpoints, event.originator_replica_id, event.timestamp, now_ms())
        for name in event.endpoints:
            if name in self._open and not self.presence.routes(name):
                del self._open[name]

    async def _disconnected_elsewhere(self, event: DisconnectedEvent) -> None:
        if event.originator_replica_id != self._rpc.replica_id:
            now = now_ms()
            await self._say(self.presence.disconnected_elsewhere(event.endpoints, now), now)


def _in_parts(endpoints: Mapping[str, str]) -> Iterable[dict[str, str]]:
    items = list(endpoints.items())
    return (dict(items[first : first + MAX_IN_EVENT]) for first in range(0, len(items), MAX_IN_EVENT))


@asynccontextmanager
async def announcing(connectivity: Connectivity) -> AsyncIterator[None]:
    """What comes and goes is heard by others until the context is left, the last of it then."""
    await connectivity.start()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(connectivity.keep_settling(), name="connectivity")
        try:
            yield
        finally:
            task.cancel()
            try:
                await connectivity.settle()
            except KaaError as exc:
                logger.warning("the last changes of connectivity may not have been heard: %s", exc)
