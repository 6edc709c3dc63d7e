"""A program under test as a child process: started, waited for, stopped as an operator does or killed as a crash does.

A test's processes see nothing of the tester's own configuration, and write what they print into a file.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

READY_WITHIN = 30.0
"""Seconds: a start takes one or two, more on a busy machine."""
STOP_WITHIN = 30.0
CONFIGURATION = ("KAA_", "KPC_", "EPR_", "EPMX_", "CREDS_", "CM_", "TEKTON_", "TSX_", "NATS_", "MONGODB_")
"""How the variables start that our programs read."""


class ChildProcess:
    """A program that serves HTTP, ready when its `/readyz` says so."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path, http_port: int) -> None:
        self._command = command
        self._environ = {**clean_environ(), **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.http_port = http_port
        self.http_url = f"http://127.0.0.1:{http_port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    def start(self, *, wait: bool = True) -> None:
        """Return when it is ready, or at once."""
        assert self._process is None, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, cwd=self.log.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not self.is_ready():
            if self._running.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{' '.join(self._command)} is not ready:\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.http_url}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def wait_end(self) -> int:
        """The exit code, once it has ended by itself; it is killed when that takes too long."""
        process, self._process = self._running, None
        try:
            return process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            process.wait()
            raise RuntimeError(f"{' '.join(self._command)} did not end:\n{self.output()[-4000:]}") from exc

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator does; the exit code. One that is stopped already stays so."""
        if self._process is None:
            return 0
        self._process.send_signal(signal_number)
        return self.wait_end()

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self.wait_end()

    def restart(self) -> None:
        self.stop()
        self.start()

    def output(self) -> str:
        """All that it has printed and logged."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process


def clean_environ() -> dict[str, str]:
    """The environment without what configures our programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURATION)}
