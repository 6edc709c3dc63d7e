import asyncio
import threading

import pytest

from creds.clients.workers import Workers
from kaa_common.errors import Unavailable
from support.waiting import until


async def test_work_is_done_in_another_thread() -> None:
    with Workers("a sum", 1, 0) as workers:
        assert await workers.run(lambda a, b: (a + b, threading.current_thread().name), 1, 2) == (3, "a sum_0")


async def test_more_than_fit_are_refused_at_once_and_there_is_room_again_afterwards() -> None:
    release, begun = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        release.wait(10)

    with Workers("a password", 2, 1) as workers:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(workers.run(work))
            await until(lambda: begun._value == 2)
            with pytest.raises(Unavailable, match="too many requests wait for a password"):
                await workers.run(work)
            release.set()
        await workers.run(work)


async def test_nobody_waiting_any_more_is_not_worked_for() -> None:
    release, done = threading.Event(), []
    with Workers("a password", 1, 5) as workers:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(workers.run(lambda: release.wait(10)))
            impatient = tasks.create_task(workers.run(lambda: done.append("x")))
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.sleep(0)
            release.set()
        await workers.run(lambda: done.append("y"))
    assert done == ["y"]


async def test_an_error_reaches_the_one_who_waits() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with Workers("a quotient", 1, 0) as workers:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await workers.run(fail)
