"""A device that goes on beside every attack, over a connection that was there before, and how long it waits.

It works in a thread of its own, so that it goes on while a test waits. After each attack its next request must be
answered as ever, and no part of the platform may have logged an unexpected error. How long it waited is told at the
end of the run. The store makes no difference to any of this, so one of them is enough.
"""

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from _pytest.terminal import TerminalReporter

from .attacks import CONNACK, PATIENCE, PUBACK, PUBLISH, Endpoint, Platform, connect_packet, publish_packet, text

PAUSE = 0.005
"""Seconds between two requests of the device."""
NO_STALL = 2.0
"""Seconds that one may take on a busy machine; the aim is a tenth."""

WAITED = pytest.StashKey[list[str]]()


class Neighbour:
    """A device that updates and reads its own metadata, one request at a time."""

    def __init__(self, port: int, endpoint: Endpoint) -> None:
        self.waited: list[float] = []
        self._endpoint = endpoint
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        self._failure: Exception | None = None
        self._answered = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neighbour")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        try:
            self._socket.sendall(connect_packet("neighbour"))
            assert self._receive() == (CONNACK, b"\x00\x00")
            self._thread.start()
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._stream.close()
            self._socket.close()

    def goes_on(self) -> None:
        """Return when two requests from now on are answered: the first of them may have been on its way."""
        with self._answered:
            enough = len(self.waited) + 2
            self._answered.wait_for(lambda: self._failure is not None or len(self.waited) >= enough, PATIENCE)
            if self._failure is not None:
                raise self._failure
            assert len(self.waited) >= enough, "it is not answered"

    def _run(self) -> None:
        number = 0
        try:
            while not self._stop.wait(PAUSE):
                number += 1
                self._ask(self._endpoint.path("/update/1"), b'{"n":%d}' % number, b"")
                self._ask(self._endpoint.path("/get/2"), b"", b'{"n":%d}' % number)
        except Exception as exc:  # whatever it is, the test is to fail with it
            with self._answered:
                self._failure = exc
                self._answered.notify_all()

    def _ask(self, topic: str, payload: bytes, answer: bytes) -> None:
        began = time.monotonic()
        self._socket.sendall(publish_packet(topic, payload, 1))
        header, body = self._receive()
        packet_id = body[len(body) - len(answer) - 2 :][:2]
        assert (header, body) == (PUBLISH | 0x02, text(f"{topic}/status") + packet_id + answer)
        assert self._receive() == (PUBACK, b"\x00\x01")
        with self._answered:
            self.waited.append(time.monotonic() - began)
            self._answered.notify_all()
        self._socket.sendall(bytes([PUBACK, 2]) + packet_id)

    def _receive(self) -> tuple[int, bytes]:
        header, size = self._stream.read(2)
        assert size < 0x80
        return header, self._stream.read(size)


@pytest.fixture(scope="module")
def neighbour(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Neighbour]:
    """The device beside all attacks of a module."""
    neighbour = Neighbour(platform.stack.mqtt_port, platform.register())
    with neighbour.going_on():
        yield neighbour
    assert platform.stack.is_ready()
    slowest = max(neighbour.waited)
    usual = statistics.median(neighbour.waited)
    request.config.stash.setdefault(WAITED, []).append(
        f"{request.node.name}: {len(neighbour.waited)} requests of the device beside,"
        f" usually {usual * 1000:.1f} ms, at most {slowest * 1000:.1f} ms"
    )
    assert slowest < NO_STALL


@pytest.fixture(autouse=True)
def nothing_else_happens(platform: Platform, neighbour: Neighbour) -> Iterator[None]:
    """The device goes on, and no part of the platform is surprised."""
    before = len(platform.stack.output())
    yield
    neighbour.goes_on()
    logged = platform.stack.output()[before:]
    assert "Traceback" not in logged
    assert " ERROR " not in logged


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(WAITED, []):
        terminalreporter.write_line(line)
