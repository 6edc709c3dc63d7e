"""A server that speaks MongoDB's protocol, for tests: the one at MONGODB_URI, else a SecantusDB process of our own.

SecantusDB is not MongoDB: it is faithful in what our adapter relies on, and slow. It never runs inside the tests'
process, so it can be killed like a real database.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pymongo
from pymongo.errors import PyMongoError

START_DEADLINE = 30.0


class MongoServer:
    """A SecantusDB process on a port and directory of its own, both of which survive a kill and a new start."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.uri = f"mongodb://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start the server; return when it answers (or at once)."""
        command = [str(Path(sys.executable).with_name("secantusd-py")), "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--storage-path", str(self._directory / "data"), "--standalone", "--sync-on-commit"]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        if wait:
            self._wait_until_it_answers(self._process)

    def kill(self) -> None:
        """End the server as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the server keep its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # it may answer once more until then
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        limit = monotonic() + START_DEADLINE
        with pymongo.MongoClient[dict[str, object]](self.uri, serverSelectionTimeoutMS=500) as client:
            while True:
                try:
                    client.admin.command("ping")
                except PyMongoError:
                    if process.poll() is not None or monotonic() > limit:
                        log = (self._directory / "log").read_text(errors="replace")
                        raise RuntimeError(f"the MongoDB server did not start:\n{log[-2000:]}") from None
                else:
                    return


@contextmanager
def mongo_server(directory: Path) -> Iterator[MongoServer]:
    """A running server of our own; killed at the end, because nobody needs its data then."""
    server = MongoServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def mongodb_uri(directory: Path) -> Iterator[str]:
    """The URI of a server to test against: MONGODB_URI if that is set. Give each test a database of its own there."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
    else:
        with mongo_server(directory) as server:
            yield server.uri
