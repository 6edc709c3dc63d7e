"""A thread that gathers: whatever was submitted while it was busy is its next batch.

The SQLite adapter has one for writes (a batch is a commit) and a few for reads. Work is a function of what the thread
works on, which is opened, used and closed in the thread. The event loop only ever puts work into a queue and awaits a
future, which is resolved on the loop after the whole batch is done. What is submitted in one turn of the loop is handed
over in one piece: waking the thread for the first of it would make two batches, and two threads that want to run.

All work has the same time for it, so the first to be late is the first in a row, and one timer does for all.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from kaa_common.store.port import StoreUnavailable

Subject = TypeVar("Subject")
Answer = TypeVar("Answer")

# Any: every piece of work has its own type of answer, which `submit` gives back to its caller.
Work = Callable[[Subject], Any]
# The answers in the order of the work; an exception among them is raised to its caller alone.
Process = Callable[[Sequence[Work[Subject]]], Sequence[Any]]


class GatheringThread(Generic[Subject]):
    """Runs the opened process on batches; at most `capacity` pieces of work wait, the callers of more are held back."""

    def __init__(
        self,
        name: str,
        process: Callable[[], AbstractContextManager[Process[Subject]]],
        *,
        capacity: int,
        batch: int,
        deadline: float,
    ) -> None:
        self._name = name
        self._open_process = process
        self._batch = batch
        self._deadline = deadline
        self._due: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._slots = asyncio.Semaphore(capacity)
        self._submitted: list[tuple[Work[Subject], asyncio.Future[Any]]] = []
        self._inbox: SimpleQueue[list[tuple[Work[Subject], asyncio.Future[Any]]] | None] = SimpleQueue()
        self._backlog: deque[tuple[Work[Subject], asyncio.Future[Any]]] = deque()
        self._is_open = False

    async def start(self) -> None:
        """Start the thread; return when its process is open, raise what opening it raised."""
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # A daemon: should the loop crash, the process can end; a batch is committed whole or not at all.
        Thread(target=self._run, name=self._name, daemon=True).start()
        try:
            await self._opened
        except BaseException:
            await self.stop()  # the thread reports its end to a loop that must still be there
            raise
        self._is_open = True

    async def stop(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._is_open = False
        self._hand_over()
        self._inbox.put(None)
        await self._ended
        if self._timer is not None:
            self._timer.cancel()

    async def submit(self, work: Callable[[Subject], Answer]) -> Answer:
        """Wait for a free place, then for the answer. Work whose caller gave up before its turn is never done.

        Raises StoreUnavailable when there is no place, or then no answer, within the deadline.
        """
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        try:
            if not self._is_open:
                raise StoreUnavailable("the store is closed")
            future: asyncio.Future[Answer] = self._loop.create_future()
            self._due.append((self._loop.time() + self._deadline, future))
            if self._timer is None:
                self._timer = self._loop.call_at(self._due[0][0], self._give_up_late)
            if not self._submitted:
                self._loop.call_soon(self._hand_over)
            self._submitted.append((work, future))
            return await future
        finally:
            self._slots.release()

    def _hand_over(self) -> None:
        submitted, self._submitted = self._submitted, []
        self._inbox.put(submitted)

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise self._too_late() from None

    def _too_late(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._name} did not answer within {self._deadline:g} s")

    def _give_up_late(self) -> None:
        now = self._loop.time()
        while self._due and (self._due[0][0] <= now or self._due[0][1].done()):
            _, future = self._due.popleft()
            if not future.done():
                future.set_exception(self._too_late())
        self._timer = self._loop.call_at(self._due[0][0], self._give_up_late) if self._due else None

    def _answer(self, futures: Sequence[asyncio.Future[Any]], outcomes: Sequence[Any]) -> None:
        _resolve(futures, outcomes)
        while self._due and self._due[0][1].done():
            self._due.popleft()

    def _run(self) -> None:
        try:
            with self._open_process() as process:
                self._loop.call_soon_threadsafe(_resolve, [self._opened], [None])
                while batch := self._next_batch():
                    outcomes = _outcomes(process, [work for work, _ in batch])
                    self._loop.call_soon_threadsafe(self._answer, [future for _, future in batch], outcomes)
        except Exception as exc:
            self._loop.call_soon_threadsafe(_resolve, [self._opened], [exc])
        finally:
            self._loop.call_soon_threadsafe(_resolve, [self._ended], [None])

    def _next_batch(self) -> list[tuple[Work[Subject], asyncio.Future[Any]]]:
        """Wait for work, then take all there is; an empty batch means that the thread shall end."""
        batch: list[tuple[Work[Subject], asyncio.Future[Any]]] = []
        while len(batch) < self._batch:
            if not self._backlog and not self._receive(wait=not batch):
                break
            while self._backlog and len(batch) < self._batch:
                item = self._backlog.popleft()
                if not item[1].done():
                    batch.append(item)
        return batch

    def _receive(self, *, wait: bool) -> bool:
        try:
            handed_over = self._inbox.get(block=wait)
        except Empty:
            return False
        if handed_over is None:
            self._inbox.put(None)  # found again by the next call, when this batch is done
            return False
        self._backlog.extend(handed_over)
        return True


def _outcomes(process: Process[Subject], batch: Sequence[Work[Subject]]) -> Sequence[Any]:
    try:
        return process(batch)
    except Exception as exc:
        return [exc] * len(batch)


def _resolve(futures: Sequence[asyncio.Future[Any]], outcomes: Sequence[Any]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if future.done():
            continue  # its caller gave up
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
