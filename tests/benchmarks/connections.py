"""What many idle devices cost, measured: `make bench-connections`.

10,000 devices connect to one KPC, half in MQTT 3.1.1 and half in MQTT 5, subscribe as Kaa's clients do, and say nothing
more. How much larger does the process become for each, and how much later does a device that works get its answers?
"""

import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from kpc.mqtt.packets import Connack, Connect, Publish, Suback, Subscribe, Subscription
from kpc.mqtt.versions import MQTT_3_1_1, MQTT_5, Version
from support import mqtt_codec
from support.stack import SeparateStack, running_separate_stack

CONNECTIONS = 10_000
REQUESTS = 2000
SPARE_DESCRIPTORS = 500
SUBSCRIBE = Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="kp1/bench-v1/epmx/+/#", qos=1),))


def allow_descriptors(count: int) -> None:
    """For this process and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        sys.exit(f"{count} file descriptors are needed, {hard} are allowed: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else count, hard))


def resident(pid: int) -> int:
    """Bytes of memory that a process takes."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout) * 1024


def ask(connection: socket.socket, version: Version, *packets: Connect | Subscribe | Publish) -> list[object]:
    """Send packets, and wait for as many."""
    connection.sendall(b"".join(mqtt_codec.encode(packet, version) for packet in packets))
    answers: list[object] = []
    while len(answers) < len(packets):
        answers += mqtt_codec.decode_all(connection.recv(65536), version)
    return answers


@contextmanager
def connected(port: int, version: Version, client_id: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connack, suback = ask(connection, version, Connect(version=version, client_id=client_id), SUBSCRIBE)
        assert isinstance(connack, Connack)
        assert isinstance(suback, Suback)
        yield connection


def register(stack: SeparateStack) -> str:
    """The token of a new endpoint."""
    headers = dict(stack.headers)
    tekton, epr = stack.url_of("tekton"), stack.url_of("epr")
    httpx.post(f"{tekton}/tekton/api/v1/applications", json={"name": "bench"}, headers=headers).raise_for_status()
    versions = f"{tekton}/tekton/api/v1/applications/bench/app-versions"
    httpx.post(versions, json={"nameSuffix": "v1"}, headers=headers).raise_for_status()
    made = httpx.post(f"{epr}/epr/api/v1/endpoints", json={"appVersion": {"name": "bench-v1"}}, headers=headers)
    return str(made.raise_for_status().json()["token"])


def measure(device: socket.socket, token: str, when: str) -> None:
    """How long a device waits for its metadata."""
    taken = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        (answer,) = ask(device, MQTT_3_1_1, Publish(topic=f"kp1/bench-v1/epmx/{token}/get/1", payload=b""))
        taken.append((time.perf_counter() - started) * 1000)
        assert isinstance(answer, Publish)
        assert answer.topic.endswith("/status")
    taken.sort()
    median, p99 = statistics.median(taken), taken[int(REQUESTS * 0.99)]
    print(f"  an active device {when:16} p50 {median:6.2f} ms   p99 {p99:6.2f} ms   max {taken[-1]:6.2f} ms")


def main() -> None:
    allow_descriptors(CONNECTIONS + SPARE_DESCRIPTORS)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as devices:
        stack = devices.enter_context(running_separate_stack(Path(directory)))
        token = register(stack)
        device = devices.enter_context(connected(stack.mqtt_port, MQTT_3_1_1, "active"))
        measure(device, token, "alone")
        pid = stack.services["kpc"].pid
        before, started = resident(pid), time.perf_counter()
        for number in range(CONNECTIONS):
            version = MQTT_5 if number % 2 else MQTT_3_1_1
            devices.enter_context(connected(stack.mqtt_port, version, f"idle-{number}"))
        took = time.perf_counter() - started
        print(f"  {CONNECTIONS:,} devices connected and subscribed in {took:.1f} s, one after the other")
        after = resident(pid)
        print(
            f"  memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB with them, "
            f"{(after - before) / CONNECTIONS / 1024:.1f} KiB for each (at most 20 is aimed at)"
        )
        measure(device, token, "among the idle")


if __name__ == "__main__":
    main()
