"""What a gathering thread does with work that was submitted while it was busy."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import pytest

from kaa_common.store import StoreUnavailable
from kaa_common.store.gathering import GatheringThread, Process, Work


class Recorder:
    """Runs work and remembers the sizes of the batches; the first batch waits for `release`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started = threading.Event()
        self.release = threading.Event()
        self.closed = False

    @contextmanager
    def open(self) -> Iterator[Process["Recorder"]]:
        yield self.process
        self.closed = True

    def process(self, batch: Sequence[Work["Recorder"]]) -> list[object]:
        self.started.set()
        assert self.release.wait(5)
        self.sizes.append(len(batch))
        return [work(self) for work in batch]


@asynccontextmanager
async def running(
    recorder: Recorder, *, capacity: int = 100, batch: int = 100, deadline: float = 10.0
) -> AsyncIterator[GatheringThread[Recorder]]:
    thread = GatheringThread("test", recorder.open, capacity=capacity, batch=batch, deadline=deadline)
    await thread.start()
    try:
        yield thread
    finally:
        recorder.release.set()
        await thread.stop()


def answer(value: int) -> Callable[[Recorder], int]:
    return lambda _: value


async def test_work_submitted_meanwhile_is_the_next_batch() -> None:
    recorder = Recorder()
    async with running(recorder, batch=4) as thread, asyncio.TaskGroup() as group:
        tasks = [group.create_task(thread.submit(answer(i))) for i in range(9)]
        await asyncio.sleep(0)
        recorder.release.set()

    assert [task.result() for task in tasks] == list(range(9))
    assert sum(recorder.sizes) == 9
    assert max(recorder.sizes) == 4


async def test_callers_beyond_the_capacity_are_held_back() -> None:
    recorder = Recorder()
    async with running(recorder, capacity=3) as thread, asyncio.TaskGroup() as group:
        tasks = [group.create_task(thread.submit(answer(i))) for i in range(9)]
        await asyncio.sleep(0)
        recorder.release.set()

    assert [task.result() for task in tasks] == list(range(9))
    assert max(recorder.sizes) <= 3


async def test_work_whose_caller_gave_up_is_never_done() -> None:
    recorder = Recorder()
    done: list[str] = []
    async with running(recorder) as thread, asyncio.TaskGroup() as group:
        group.create_task(thread.submit(lambda _: done.append("first")))
        assert await asyncio.to_thread(recorder.started.wait, 5)
        given_up = group.create_task(thread.submit(lambda _: done.append("given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        recorder.release.set()

    assert done == ["first"]


async def test_who_waits_too_long_for_an_answer_or_a_place_is_told_and_its_work_is_never_done() -> None:
    recorder = Recorder()
    done: list[str] = []

    async def give_up(name: str) -> None:
        with pytest.raises(StoreUnavailable, match=r"test did not answer within 0.1 s"):
            await thread.submit(lambda _: done.append(name))

    async with running(recorder, capacity=2, deadline=0.1) as thread, asyncio.TaskGroup() as group:
        group.create_task(give_up("under way"))
        assert await asyncio.to_thread(recorder.started.wait, 5)
        group.create_task(give_up("waits for its turn"))
        group.create_task(give_up("waits for a place"))

    assert done == ["under way"]


async def test_an_exception_of_the_batch_reaches_every_caller() -> None:
    recorder = Recorder()
    recorder.release.set()

    def fail(_: Recorder) -> None:
        raise KeyError("all")

    async with running(recorder) as thread:
        with pytest.raises(KeyError):
            await thread.submit(fail)
        assert await thread.submit(answer(1)) == 1


async def test_stopping_finishes_what_was_submitted_and_closes() -> None:
    recorder = Recorder()
    async with running(recorder) as thread, asyncio.TaskGroup() as group:
        task = group.create_task(thread.submit(answer(1)))
        await asyncio.sleep(0)
        recorder.release.set()

    assert task.result() == 1
    assert recorder.closed
    with pytest.raises(StoreUnavailable, match="closed"):
        await thread.submit(answer(1))


async def test_what_opening_raises_is_raised_by_start() -> None:
    def broken() -> AbstractContextManager[Process[Recorder]]:
        raise StoreUnavailable("no disk")

    with pytest.raises(StoreUnavailable, match="no disk"):
        await GatheringThread("test", broken, capacity=1, batch=1, deadline=1.0).start()
