"""An MQTT broker for tests: Mosquitto when it is installed (`apt-get install mosquitto`), and rumqttd out of a wheel.

The second is there wherever the tests are. It ends itself when the last member of a shared subscription goes away, so
it is for tests in which that does not happen before the end.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import iotcore

from support.ports import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
STARTED_WITHIN = 10.0

RUMQTTD = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""


class Mosquitto:
    """A Mosquitto that can be stopped and started again; it keeps nothing."""

    def __init__(self, directory: Path, *, password: str = "", certificate: tuple[Path, Path] | None = None) -> None:
        """With a password only the user `kpc` gets in; with a certificate and its key it speaks TLS alone."""
        self.port = free_port()
        self._log = directory / "mosquitto.log"
        self._file = directory / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if password else 'true'}"]
        lines.append("user root")  # who starts it: it would become a user who may not read these files
        if password:
            passwords = directory / "passwords"
            passwords.write_text(f"kpc:{password}\n")
            subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if certificate is not None:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", self._file], stdout=log, stderr=log)
        deadline = time.monotonic() + STARTED_WITHIN
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto does not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STARTED_WITHIN)
            self._process = None


@contextmanager
def running_rumqttd(directory: Path) -> Iterator[int]:
    """The port of a rumqttd that speaks MQTT 5."""
    port = free_port()
    configuration = directory / "rumqttd.toml"
    configuration.write_text(RUMQTTD.format(port=port))
    with iotcore.Broker(config_path=str(configuration)):
        yield port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
