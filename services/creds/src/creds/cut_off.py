"""Cut-off with a receipt: which communication replicas confirmed that a withdrawn token or credential is out of use.

Each replica gives signs of life all the time (COP). After a withdrawal every known one is asked to confirm; who does
not within the bound is named as pending. A pending replica cannot let the token in for long: without the bus it
believes nothing that it kept, and when it is back it asks what is still usable.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cachetools import TTLCache

from kaa_common.clock import Deadline
from kaa_common.errors import KaaError
from kaa_common.messages.cop import CUT_OFF, REPLICA_ALIVE, REPLICA_LEFT, CutOffRequest, ReplicaEvent
from kaa_common.rpc import Rpc, request_header

CONFIRMED_WITHIN = 1.0
"""Seconds for every replica to confirm."""
SIGNS_WITHIN = 1.5
"""Seconds in which every replica that is there gives a sign of life."""
REMEMBERED_FOR = 60.0
"""Seconds that a silent replica is still waited for; one that was killed is forgotten then."""
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
        self._replicas: TTLCache[str, bool] = TTLCache(MAX_REPLICAS, REMEMBERED_FOR)
        self._all_known_at = 0.0

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
        # Right after the start not every replica has been heard of; the receipt would leave them out.
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
            except KaaError:
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
        answers = [question.result() for question in questions]
        return Receipt(
            confirmed=tuple(answer for answer in answers if answer is not None),
            pending=tuple(name for name, answer in zip(replicas, answers, strict=True) if answer is None),
            milliseconds=_milliseconds_since(started),
        )

    async def _seen(self, event: ReplicaEvent) -> None:
        self._replicas[event.originator_replica_id] = True

    async def _left(self, event: ReplicaEvent) -> None:
        self._replicas.pop(event.originator_replica_id, None)


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
