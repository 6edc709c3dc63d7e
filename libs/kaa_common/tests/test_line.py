import asyncio
import sys

import pytest

from kaa_common import line as module
from kaa_common.line import PATIENCE_OF_THREADS, Line


class Worker:
    def __init__(self, line: Line, name: str, turns: int, done: list[str]) -> None:
        self._line, self._name, self._turns, self._done = line, name, turns, done

    def take_turn(self) -> None:
        self._turns -= 1
        self._done.append(self._name)
        if self._turns:
            self._line.wait(self)


async def test_all_have_their_turns_one_after_the_other() -> None:
    line, done = Line(), list[str]()
    for name, turns in (("a", 3), ("b", 1), ("c", 2)):
        line.wait(Worker(line, name, turns, done))
    async with asyncio.timeout(5):
        while len(done) < 6:
            await asyncio.sleep(0)
    assert "".join(done) == "abcaca"


async def test_the_event_loop_goes_round_between_two_turns() -> None:
    line, done = Line(), list[str]()
    for name in "ab":
        line.wait(Worker(line, name, 1, done))
    asyncio.get_running_loop().call_soon(done.append, "others")
    async with asyncio.timeout(5):
        while len(done) < 3:
            await asyncio.sleep(0)
    assert done == ["a", "others", "b"]


async def test_who_waits_twice_has_one_turn() -> None:
    line, done = Line(), list[str]()
    worker = Worker(line, "a", 1, done)
    line.wait(worker)
    line.wait(worker)
    line.wait(Worker(line, "b", 1, done))
    async with asyncio.timeout(5):
        while len(done) < 2:
            await asyncio.sleep(0)
    assert done == ["a", "b"]


async def test_threads_are_given_the_interpreter_sooner_as_long_as_there_are_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CALM_AFTER", 0.001)
    usual, done = sys.getswitchinterval(), list[str]()
    line = Line()
    for _ in range(2):
        line.wait(Worker(line, "a", 50, done))
        while done.count("a") % 50 or not done:
            assert sys.getswitchinterval() == pytest.approx(PATIENCE_OF_THREADS)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while sys.getswitchinterval() != usual:
                await asyncio.sleep(0.001)
