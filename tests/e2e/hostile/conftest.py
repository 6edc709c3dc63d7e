"""A device that goes on beside every attack, over a connection that was there before, and how long it waits.

Beside every attack its requests must be answered as ever, none of them more than a tenth of a second late, and no part
of the platform may have logged an unexpected error. How long it waited is told at the end of the run.

A tenth of a second is what the platform may take. Other tests, and whoever attacks, keep the same processors busy, and
for as long as they do an answer is late that could have been there. So a request may take that much longer as threads
on its way were kept from running (`neighbour` has how that is known). A service that is at work for somebody else
meanwhile, or waits for what it should not, is not excused. The store makes no difference to any of this, so one of them
is enough.
"""

import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from .attacks import PATIENCE, Endpoint, Platform

NO_STALL = 0.1
"""Seconds that an answer may take of those in which everybody who had something to do could run."""
NO_STALL_AT_ALL = 2.0
"""Seconds that it may take where it cannot be known who could not: the kernel does not tell, or it is a database."""

WAITED = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True)
class Wait:
    """How long one request took, in seconds."""

    whole: float
    for_processors: float | None
    """What the machine may have added to it, if that is known."""

    @property
    def own(self) -> float:
        """What the platform has to answer for."""
        return max(0.0, self.whole - (self.for_processors or 0.0))

    @property
    def is_stall(self) -> bool:
        return self.own > (NO_STALL_AT_ALL if self.for_processors is None else NO_STALL)

    def __str__(self) -> str:
        if self.for_processors is None:
            return f"{self.whole * 1000:.1f} ms"
        return f"{self.whole * 1000:.1f} ms, {self.own * 1000:.1f} ms of it its own"


class Neighbour:
    """The device, and what it tells."""

    def __init__(self, port: int, endpoint: Endpoint, pids: list[int]) -> None:
        self.waits: list[Wait] = []
        topics = [endpoint.path("/update/1"), endpoint.path("/get/2")]
        program = Path(__file__).with_name("neighbour.py")
        self._command = [sys.executable, str(program), str(port), *topics, *map(str, pids)]
        self._told = threading.Condition()
        self._has_ended = False

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) as process:
            listening = threading.Thread(target=self._listen, args=[process], name="neighbour")
            listening.start()
            try:
                yield
            finally:
                process.kill()
                listening.join()

    def goes_on(self) -> None:
        """Return when two requests from now on are answered: the first of them may have been on its way."""
        with self._told:
            enough = len(self.waits) + 2
            self._told.wait_for(lambda: self._has_ended or len(self.waits) >= enough, PATIENCE)
            assert not self._has_ended, "it has met an error, which it has printed"
            assert len(self.waits) >= enough, "it is not answered"

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            whole, for_processors = map(float, line.split())
            with self._told:
                self.waits.append(Wait(whole, None if for_processors < 0 else for_processors))
                self._told.notify_all()
        with self._told:
            self._has_ended = True
            self._told.notify_all()


@pytest.fixture(scope="module")
def neighbour(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Neighbour]:
    """The device beside all attacks of a module."""
    neighbour = Neighbour(platform.stack.mqtt_port, platform.register(), platform.stack.pids)
    with neighbour.going_on():
        neighbour.goes_on()
        yield neighbour
    assert platform.stack.is_ready()
    usual = statistics.median(wait.whole for wait in neighbour.waits)
    slowest = max(neighbour.waits, key=lambda wait: wait.own)
    request.config.stash.setdefault(WAITED, []).append(
        f"{request.node.name}: {len(neighbour.waits)} requests of the device beside, usually {usual * 1000:.1f} ms,"
        f" at most {slowest}"
    )


@pytest.fixture(autouse=True)
def nothing_else_happens(platform: Platform, neighbour: Neighbour) -> Iterator[None]:
    """The device goes on without a stall, and no part of the platform is surprised."""
    surprises, waits = surprises_of(platform), len(neighbour.waits)
    yield
    neighbour.goes_on()
    slowest = max(neighbour.waits[waits:], key=lambda wait: wait.own)
    assert not slowest.is_stall, f"the device beside waited {slowest}"
    assert surprises_of(platform) == surprises


def surprises_of(platform: Platform) -> list[str]:
    """What should not be logged, whatever happens."""
    return [line for line in platform.stack.output().splitlines() if "Traceback" in line or " ERROR " in line]


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(WAITED, []):
        terminalreporter.write_line(line)
