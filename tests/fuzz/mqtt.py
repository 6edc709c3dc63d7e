"""Coverage-guided fuzzing of the MQTT core: `make fuzz`, or `make fuzz ARGS=-max_total_time=600`.

The first byte of an input says in which pieces the rest is fed to a session; support.mqtt_driver says what must hold.
It starts from streams of valid packets of every version. A failure leaves its input in `.venv/crash-...`, and
`make fuzz ARGS=crash-...` repeats it; all arguments are those of libFuzzer.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kpc.mqtt"]):
    from support.mqtt_driver import drive

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kpc.mqtt.packets import ClientPacket, Connect
from kpc.mqtt.versions import VERSIONS, Version
from support import mqtt_codec
from support.mqtt_strategies import client_packets, connects

SEEDS = 200
"""For each version."""
FUZZER_OPTIONS = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=4096", "-max_total_time=60"]


def one_input(data: bytes) -> None:
    if data:
        drive(data[1:], data[0] or 256)


def write_seeds(directory: Path, version: Version) -> None:
    """Streams of valid packets, as files."""

    numbers = itertools.count()

    @settings(max_examples=SEEDS, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(connects(version), st.lists(client_packets(version), max_size=6))
    def write(connect: Connect, packets: list[ClientPacket]) -> None:
        stream = b"".join(mqtt_codec.encode(packet, version) for packet in (connect, *packets))
        (directory / f"{version.level}-{next(numbers)}").write_bytes(b"\x00" + stream)

    write()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for version in VERSIONS.values():
            write_seeds(Path(directory), version)
        inputs = [] if any(not argument.startswith("-") for argument in sys.argv[1:]) else [directory]
        atheris.Setup([sys.argv[0], *FUZZER_OPTIONS, *sys.argv[1:], *inputs], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
