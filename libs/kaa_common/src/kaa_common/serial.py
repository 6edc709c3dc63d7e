"""Work that must be done in order for each key: one at a time, first come first served."""

import asyncio
from collections import deque
from collections.abc import Hashable
from types import TracebackType

Waiting = deque[asyncio.Future[object]]
"""Those who wait for their turn, behind the one who has it."""


class SerialByKey:
    """A queue for each key in use, nothing for the others."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, Waiting] = {}

    def users(self, key: Hashable) -> int:
        """How many have their turn, or wait for it."""
        queue = self._queues.get(key)
        return 0 if queue is None else 1 + len(queue)

    def turn(self, key: Hashable) -> "Turn":
        """Wait for one's turn, which comes in the order of the calls."""
        return Turn(self._queues, key)


class Turn:
    """An asynchronous context, entered when the turn comes. Mostly nobody has it, and then it costs next to nothing.

    Entered it gives what the one before has left for it: None, unless that was waited for and left something.
    """

    __slots__ = ("_key", "_queues", "leaves")

    def __init__(self, queues: dict[Hashable, Waiting], key: Hashable) -> None:
        self.leaves: object = None
        self._queues = queues
        self._key = key

    async def __aenter__(self) -> object:
        queue = self._queues.get(self._key)
        if queue is None:
            self._queues[self._key] = deque()
            return None
        mine: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self.leaves = mine.result()
                self._pass_on()  # the turn came together with the cancellation
            elif mine in queue:
                queue.remove(mine)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        queue = self._queues[self._key]
        while queue:
            waiting = queue.popleft()
            if not waiting.cancelled():
                waiting.set_result(self.leaves)
                return
        del self._queues[self._key]
