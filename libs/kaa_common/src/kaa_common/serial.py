"""Work that must be done in order for each key: one at a time, first come first served."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class SerialByKey:
    """A queue for each key in use, nothing for the others."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}

    def users(self, key: Hashable) -> int:
        """How many have their turn, or wait for it."""
        queue = self._queues.get(key)
        return 0 if queue is None else queue.users

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for one's turn, which comes in the order of the calls."""
        queue = self._queues.setdefault(key, _Queue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if queue.users == 0:
                del self._queues[key]
