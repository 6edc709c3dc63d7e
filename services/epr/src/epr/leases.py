"""Endpoints of a communication replica that died without a goodbye become disconnected, as if it had said so (COP).

A replica gives signs of life all the time. Each is a lease on the endpoints that it holds: when none comes for the time
of the lease, one replica of the register announces its endpoints as disconnected in its name, page by page, which is
then handled as any such event. Who was away itself, or cannot be sure that it hears, waits for a whole lease first.

What was announced while nobody heard it is asked for: a replica that shows up, comes back after a silence, or whose
announcement could not be recorded, is compared with what is known here (`comparison.py`).
"""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from cachetools import LRUCache

from epr.comparison import Comparison
from epr.connections import holder
from epr.model import Endpoint
from epr.register import Register
from kaa_common.clock import now_ms
from kaa_common.errors import KaaError
from kaa_common.messages.cop import REPLICA_ALIVE, REPLICA_LEFT, ReplicaEvent
from kaa_common.messages.elce import DISCONNECTED, DisconnectedEvent
from kaa_common.rpc import Rpc, event_header
from kaa_common.store import Collection, DocumentStore, DuplicateKey, Index
from kaa_common.subjects import checked_name

logger = logging.getLogger(__name__)

BY_INSTANCE = Index("by_instance", ("instance",))
REPLICAS = Collection("communication_replicas", (BY_INSTANCE,))
"""Every replica that may hold endpoints, so that none is forgotten when the whole platform dies at once."""

SIGNS_WITHIN: Final = 2.0
"""Seconds without a sign of life after which something else may have been missed too; one comes every 0.3 s."""
LEFT_LEASE: Final = 2.0
"""Seconds after a goodbye in which the last events of the replica are handled."""
WATCH_INTERVAL: Final = 0.5
AWAY: Final = 2.0
"""Seconds between two looks that mean that this process was frozen."""
FLUSH_TIMEOUT: Final = 2.0
COMPARE_PAUSE: Final = 5.0
"""Seconds until a replica is asked again that did not answer."""
PAGE: Final = 500
"""Endpoints in an event that is sent in the name of a dead replica."""
RECORDED_WITHIN: Final = 5.0
"""Seconds for an event to be recorded before it is sent once more."""
RECORDED_POLL: Final = 0.05
CLAIM_MS: Final = 15_000
"""How long one replica of the register has to go on with a dead replica, before another does."""
NEVER_HEARD: Final = -math.inf
"""When a replica that gave no sign of life yet was heard: it is not asked what it holds, as it may be dead for long."""
MAX_GONE: Final = 1000
"""Dead replicas whose late events are ignored."""


@dataclass(slots=True)
class _Replica:
    """A communication replica; times are seconds of the clock."""

    heard_at: float
    has_left: bool = False
    is_kept: bool = False
    """There is a document of it."""
    is_doubted: bool = True
    compare_at: float = 0.0
    is_suspect: bool = False
    is_busy: bool = False


class Leases:
    """`start` before use."""

    def __init__(
        self,
        rpc: Rpc,
        store: DocumentStore,
        register: Register,
        comparison: Comparison,
        *,
        kpc_instance: str,
        lease: float,
        clock: Callable[[], float],
    ) -> None:
        """`lease` is in seconds of the `clock`, which never goes back."""
        self._rpc = rpc
        self._store = store
        self._register = register
        self._comparison = comparison
        self._kpc_instance = kpc_instance
        self._lease = lease
        self._clock = clock
        self._replicas: dict[str, _Replica] = {}
        self._gone: LRUCache[str, bool] = LRUCache(MAX_GONE)
        self._watched_at = self._listening_since = clock()
        self._is_loaded = False

    async def start(self) -> None:
        self._rpc.bus.on_connection_lost(self._interrupted)
        await self._rpc.listen(REPLICA_ALIVE, self._kpc_instance, self._alive)
        await self._rpc.listen(REPLICA_LEFT, self._kpc_instance, self._left)

    def doubt(self, replica_id: str) -> None:
        """What the replica said was not recorded: compare."""
        if replica_id in self._replicas:
            self._replicas[replica_id].is_doubted = True

    def doubt_all(self) -> None:
        """Something may have changed for the endpoints of all replicas."""
        for replica in self._replicas.values():
            replica.is_doubted = True

    def is_gone(self, replica_id: str) -> bool:
        """Whether the replica's endpoints were disconnected in its name, and it gave no sign of life since."""
        return replica_id in self._gone

    async def keep_watching(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(WATCH_INTERVAL)
                try:
                    await self._watch(tasks)
                except KaaError as exc:
                    logger.debug("communication replicas are looked after later: %s", exc)

    async def _alive(self, event: ReplicaEvent) -> None:
        now = self._clock()
        replica = self._replica(event)
        if now - replica.heard_at > SIGNS_WITHIN:
            # Other replicas of the register may have given it up.
            replica.is_doubted, replica.is_kept = True, False
        self._gone.pop(event.originator_replica_id, None)
        replica.heard_at, replica.has_left, replica.is_suspect = now, False, False

    async def _left(self, event: ReplicaEvent) -> None:
        replica = self._replica(event)
        replica.heard_at, replica.has_left, replica.is_doubted = self._clock(), True, False

    def _replica(self, event: ReplicaEvent) -> _Replica:
        """Raises InvalidName when it is none: such an id must neither be kept nor asked."""
        return self._replicas.setdefault(checked_name(event.originator_replica_id), _Replica(self._clock()))

    def _interrupted(self) -> None:
        self._listening_since = self._clock()
        self._is_loaded = False
        self.doubt_all()

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        now = self._clock()
        if now - self._watched_at > AWAY or not self._rpc.bus.connected:
            self._listening_since = now
        self._watched_at = now
        if not self._rpc.bus.connected:
            return
        await self._load()
        idle = {name: replica for name, replica in self._replicas.items() if not replica.is_busy}
        for replica_id, replica in idle.items():
            if not replica.is_kept:
                await self._keep(replica_id)
                replica.is_kept = True
            if replica.is_doubted and now - replica.heard_at < SIGNS_WITHIN and now >= replica.compare_at:
                replica.is_busy = True
                tasks.create_task(self._compare(replica_id, replica), name=f"compare {replica_id}")
        silent = {name: replica for name, replica in idle.items() if self._is_silent(replica, now)}
        if silent:
            # With the answer to this comes every sign of life that was sent before: they are heard by the next look.
            await self._rpc.bus.flush(FLUSH_TIMEOUT)
        for replica_id, replica in silent.items():
            if replica.is_suspect:
                replica.is_busy = True
                tasks.create_task(self._end(replica_id, replica), name=f"end of {replica_id}")
            replica.is_suspect = True

    def _is_silent(self, replica: _Replica, now: float) -> bool:
        lease = LEFT_LEASE if replica.has_left else self._lease
        return not replica.is_busy and now - max(replica.heard_at, self._listening_since) > lease

    async def _compare(self, replica_id: str, replica: _Replica) -> None:
        # Cleared first: there may be a new reason to doubt meanwhile.
        replica.is_doubted = False
        try:
            await self._comparison.compare(replica_id)
        except* KaaError as group:
            logger.debug("%s is compared later: %s", replica_id, group.exceptions[0])
            replica.is_doubted, replica.compare_at = True, self._clock() + COMPARE_PAUSE
        finally:
            replica.is_busy = False

    async def _end(self, replica_id: str, replica: _Replica) -> None:
        """Announce the endpoints of a dead replica as disconnected, unless another replica of the register does."""
        heard_at, count = replica.heard_at, 0
        try:
            while (document := await self._claimed(replica_id)) is not None:
                endpoints = await self._register.held_by(replica_id, limit=PAGE)
                if replica.heard_at != heard_at:
                    return  # it is back
                if not endpoints:
                    await self._store.delete(REPLICAS, replica_id, document["revision"])
                    self._forget(replica_id)
                    if count:
                        logger.warning("%s is gone: %d endpoints are disconnected", replica_id, count)
                    return
                await self._disconnect(replica_id, endpoints)
                count += len(endpoints)
        except KaaError as exc:
            logger.debug("the endpoints of %s are disconnected later: %s", replica_id, exc)
        finally:
            replica.is_busy = False

    async def _disconnect(self, replica_id: str, endpoints: list[Endpoint]) -> None:
        event = DisconnectedEvent(
            **event_header(),
            endpoints={endpoint.id: endpoint.app_version for endpoint in endpoints},
            originator_replica_id=replica_id,
        )
        await self._rpc.emit(DISCONNECTED, self._kpc_instance, event)
        names = [endpoint.id for endpoint in endpoints]
        try:
            async with asyncio.timeout(RECORDED_WITHIN):
                while names:
                    await asyncio.sleep(RECORDED_POLL)
                    found = await self._register.get_many(names)
                    names = [endpoint.id for endpoint in found if holder(endpoint.connections) == replica_id]
        except TimeoutError:
            logger.warning("%d endpoints of %s are not disconnected yet", len(names), replica_id)

    async def _claimed(self, replica_id: str) -> dict[str, Any] | None:
        """The document of a dead replica, ours for a while; None when it is somebody else's or gone."""
        document = (await self._store.get(REPLICAS, [replica_id])).get(replica_id)
        if document is None:
            self._forget(replica_id)
            return None
        if document["judge"] != self._rpc.replica_id and document["judged_until"] > now_ms():
            return None
        claimed = {
            **document,
            "revision": document["revision"] + 1,
            "judge": self._rpc.replica_id,
            "judged_until": now_ms() + CLAIM_MS,
        }
        return claimed if await self._store.replace(REPLICAS, claimed, document["revision"]) else None

    def _forget(self, replica_id: str) -> None:
        self._replicas.pop(replica_id, None)
        self._gone[replica_id] = True

    async def _keep(self, replica_id: str) -> None:
        document = {"_id": replica_id, "revision": 1, "instance": self._kpc_instance, "judge": None, "judged_until": 0}
        with suppress(DuplicateKey):  # another replica of the register has heard it, too
            await self._store.insert(REPLICAS, document)

    async def _load(self) -> None:
        """Those that were heard by others, or before this process: from when it listens they have a whole lease."""
        if self._is_loaded:
            return
        self._is_loaded = True
        after: dict[str, Any] | None = None
        try:
            while page := await self._store.page(
                REPLICAS, BY_INSTANCE, equals=[self._kpc_instance], after=after, limit=PAGE
            ):
                after = page[-1]
                for document in page:
                    self._replicas.setdefault(document["_id"], _Replica(NEVER_HEARD, is_kept=True))
        except KaaError:
            self._is_loaded = False
            raise
