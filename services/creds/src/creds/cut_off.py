"""Cut-off with a receipt: which communication replicas confirmed that a withdrawn token or credential is out of use.

Each replica gives signs of life all the time (COP). After a withdrawal every known one is asked to confirm; who does
not within the bound is named as pending. A pending replica cannot let the token in for long: without the bus it
believes nothing that it kept, and when it is back it asks what is still usable.

A frozen replica is silent, yet the bus takes questions to it; one that was killed is not there any more. So the former
is named for as long as nats-server keeps its connection, the latter for a minute, as it might only be cut off.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from kaa_common.clock import Deadline
from kaa_common.errors import KaaError, Unavailable
from kaa_common.messages.cop import CUT_OFF, REPLICA_ALIVE, REPLICA_LEFT, CutOffRequest, ReplicaEvent
from kaa_common.rpc import Rpc, request_header

CONFIRMED_WITHIN = 1.0
"""Seconds for every replica to confirm."""
SIGNS_WITHIN = 1.5
"""Seconds in which every replica that is there gives a sign of life."""
GONE_AFTER = 60.0
"""Seconds without a sign of life after which a replica that the bus does not reach either is taken for gone."""
SILENT_FOR = 600.0
"""Seconds without one after which it is in any case: nats-server ends a frozen connection within six minutes."""
MAX_REPLICAS = 1000
"""Replicas remembered: far more than an installation has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    replica_id: str
    ended_sessions: int
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How far a withdrawal has got."""

    confirmed: tuple[Confirmation, ...]
    pending: tuple[str, ...]
    """Ids of the replicas that did not confirm."""
    milliseconds: float


class CutOff:
    """The communication replicas, and the question to them. `start` before use."""

    def __init__(self, rpc: Rpc, kpc_instance: str) -> None:
        self._rpc = rpc
        self._kpc_instance = kpc_instance
        self._replicas: LRUCache[str, float] = LRUCache(MAX_REPLICAS)
        """When each gave its last sign of life."""
        self._all_known_at = 0.0
        rpc.bus.on_connection_lost(self._may_have_missed_signs)

    async def start(self) -> None:
        await self._rpc.listen(REPLICA_ALIVE, self._kpc_instance, self._seen)
        await self._rpc.listen(REPLICA_LEFT, self._kpc_instance, self._left)
        self._all_known_at = time.monotonic() + SIGNS_WITHIN

    async def of_tokens(self, endpoint_id: str, token_ids: Sequence[str]) -> Receipt:
        """Have the withdrawal of tokens of an endpoint confirmed."""
        return await self._confirm(endpoint_id, token_ids, ())

    async def of_credentials(self, credentials_id: str) -> Receipt:
        """Have the withdrawal of client credentials confirmed."""
        return await self._confirm(None, (), (credentials_id,))

    async def _confirm(
        self, endpoint_id: str | None, token_ids: Sequence[str], credentials_ids: Sequence[str]
    ) -> Receipt:
        started = time.monotonic()
        # Right after the start, or a loss of the bus, not every replica has been heard of.
        await asyncio.sleep(max(0.0, self._all_known_at - started))
        deadline = Deadline.after(CONFIRMED_WITHIN)

        async def ask(replica_id: str) -> Confirmation | None:
            request = CutOffRequest(
                **request_header(deadline),
                token_ids=tuple(token_ids),
                endpoint_id=endpoint_id,
                credentials_ids=tuple(credentials_ids),
            )
            asked = time.monotonic()
            try:
                response = (await self._rpc.call(CUT_OFF, replica_id, request)).message
            except KaaError as exc:
                self._forget_if_gone(replica_id, GONE_AFTER if isinstance(exc, Unavailable) else SILENT_FOR)
                return None
            if response.status_code != 200:
                return None
            return Confirmation(
                replica_id=replica_id,
                ended_sessions=response.ended_sessions,
                milliseconds=_milliseconds_since(asked),
            )

        replicas = sorted(self._replicas)
        async with asyncio.TaskGroup() as tasks:
            questions = [tasks.create_task(ask(replica_id), name=f"cut-off on {replica_id}") for replica_id in replicas]
        confirmed = tuple(answer for question in questions if (answer := question.result()) is not None)
        silent = set(replicas) - {confirmation.replica_id for confirmation in confirmed}
        return Receipt(
            confirmed=confirmed,
            pending=tuple(name for name in replicas if name in silent and name in self._replicas),
            milliseconds=_milliseconds_since(started),
        )

    def _forget_if_gone(self, replica_id: str, after: float) -> None:
        """Forget the replica if it has been silent for longer; without the bus nobody can tell."""
        is_gone = time.monotonic() - self._replicas.get(replica_id, 0.0) > after
        if is_gone and self._rpc.bus.connected:
            self._replicas.pop(replica_id, None)

    def _may_have_missed_signs(self) -> None:
        """Called when the bus is lost and when it is back: nobody was silent meanwhile, only not heard."""
        now = time.monotonic()
        self._all_known_at = now + SIGNS_WITHIN
        self._replicas.update(dict.fromkeys(self._replicas, now))

    async def _seen(self, event: ReplicaEvent) -> None:
        self._replicas[event.originator_replica_id] = time.monotonic()

    async def _left(self, event: ReplicaEvent) -> None:
        self._replicas.pop(event.originator_replica_id, None)


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
