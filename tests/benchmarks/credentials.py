"""What the credentials service promises, measured: `make bench-credentials`.

- Cut-off: three KPC replicas, a device on each with the same token. The token is suspended over REST, again and again;
  how long after the request did a device on any replica still get an answer?
- Validation: 16/ECAP against a bare NATS request and reply plus the look-up in the store that it needs, one after the
  other in the same run.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import gmqtt
import httpx

from kaa_common.bus import connect
from kaa_common.clock import Deadline
from kaa_common.messages.ecap import VALIDATE_TOKEN, EndpointTokenValidationRequest
from kaa_common.rpc import Rpc, request_header
from kaa_common.store import Collection, DocumentStore, Index
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.sqlite import SqliteStore
from support.mongo_server import mongodb_uri
from support.ports import free_port
from support.stack import SeparateStack, running_separate_stack

REVOCATIONS = 100
VALIDATIONS = 1000
PACE = 0.01
"""Seconds between two requests of a device."""

ECHO = """
import asyncio, sys, nats
async def main():
    client = await nats.connect(sys.argv[1])
    async def answer(message):
        await client.publish(message.reply, message.data)
    await client.subscribe("echo", cb=answer)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

VALUES = Collection("values", (Index("by_value", ("app", "hash"), unique=True),))


class Device:
    """Asks for its metadata all the time, and notes when it last got it."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._client = gmqtt.Client(f"device-{id(self)}")
        self._client.on_message = self._answered
        self.last_success = 0.0
        self.refused = False

    async def run(self, port: int) -> None:
        await self._client.connect("127.0.0.1", port, version=gmqtt.constants.MQTTv311)
        try:
            while True:
                self._client.publish(f"{self._topic}/get/1", b"", qos=0)
                await asyncio.sleep(PACE)
        finally:
            await self._client.disconnect()

    def _answered(self, _client: object, topic: str, _payload: bytes, _qos: int, _properties: object) -> int:
        if topic.endswith("/status"):
            self.last_success, self.refused = time.monotonic(), False
        else:
            self.refused = True
        return 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def rest(stack: SeparateStack, service: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=stack.url_of(service), headers=dict(stack.headers), timeout=30)


async def register(stack: SeparateStack) -> tuple[str, str]:
    """A new endpoint's id and token."""
    async with rest(stack, "tekton") as tekton, rest(stack, "epr") as epr:
        await tekton.post("/tekton/api/v1/applications", json={"name": "bench"})
        await tekton.post("/tekton/api/v1/applications/bench/app-versions", json={"nameSuffix": "v1"})
        made = await epr.post("/epr/api/v1/endpoints", json={"appVersion": {"name": "bench-v1"}})
        return made.json()["endpointId"], made.json()["token"]


async def measure_cut_off(stack: SeparateStack, mqtt_ports: list[int]) -> None:
    endpoint_id, token = await register(stack)
    silent_after: list[float] = []
    confirmed_after: list[float] = []
    async with rest(stack, "creds") as creds:
        tokens = f"/cm/api/v1/endpoints/{endpoint_id}/tokens"
        token_id = (await creds.get(tokens)).json()["content"][0]["endpointTokenId"]
        status = f"{tokens}/{token_id}/status"
        for _ in range(REVOCATIONS):
            async with working_devices(f"kp1/bench-v1/epmx/{token}", mqtt_ports) as devices:
                started = time.monotonic()
                receipt = (await creds.put(status, json={"status": "Suspended"})).raise_for_status().json()["cutOff"]
                assert len(receipt["confirmed"]) == len(mqtt_ports), receipt
                confirmed_after.append(receipt["milliseconds"])
                await until(lambda: all(device.refused for device in devices))  # called at once
                silent_after.append(max(0.0, *((device.last_success - started) * 1000 for device in devices)))
            (await creds.put(status, json={"status": "Active"})).raise_for_status()
    print(f"cut-off on {len(mqtt_ports)} replicas, {REVOCATIONS} suspensions (milliseconds)")
    show("last answer to a device after the request", silent_after)
    show("until every replica had confirmed", confirmed_after)


@asynccontextmanager
async def working_devices(topic: str, mqtt_ports: list[int]) -> AsyncIterator[list[Device]]:
    """A device on each port that gets its answers; new connections, as each may get only so many tokens wrong."""
    devices = [Device(topic) for _ in mqtt_ports]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(device.run(port)) for device, port in zip(devices, mqtt_ports, strict=True)]
        await until(lambda: all(device.last_success for device in devices))
        yield devices
        for task in running:
            task.cancel()


def show(name: str, values: list[float]) -> None:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"  {name:44} p50 {statistics.median(ordered):8.2f}   p99 {p99:8.2f}   max {ordered[-1]:8.2f}")


@asynccontextmanager
async def echo(nats_url: str) -> AsyncIterator[None]:
    """A responder in a process of its own, as a service is."""
    responder = subprocess.Popen([sys.executable, "-c", ECHO, nats_url], stdout=subprocess.PIPE)
    try:
        assert responder.stdout is not None
        await asyncio.to_thread(responder.stdout.readline)
        yield
    finally:
        responder.terminate()
        responder.wait()


async def measure_validation(stack: SeparateStack, store: DocumentStore) -> None:
    _, token = await register(stack)
    await store.ensure([VALUES])
    await store.insert(VALUES, {"_id": "1", "revision": 1, "app": "bench", "hash": "x"})
    async with connect(stack.nats_url, "bench") as bus, echo(stack.nats_url):
        rpc = Rpc(bus, "bench")
        await rpc.start()

        async def validate() -> None:
            request = EndpointTokenValidationRequest(**request_header(Deadline.after(5)), app_name="bench", token=token)
            assert (await rpc.call(VALIDATE_TOKEN, "cm", request)).message.status_code == 200

        async def bare() -> None:
            await bus._client.request("echo", b"x" * 60, timeout=5)

        async def look_up() -> None:
            assert await store.page(VALUES, VALUES.indexes[0], equals=("bench", "x"), limit=1)

        medians = await interleaved(validate, bare, look_up)
    bound = medians[1] + medians[2]
    print(f"validation: p50 {medians[0]:.3f} ms; bare NATS {medians[1]:.3f} ms + look-up {medians[2]:.3f} ms")
    print(f"  ratio {medians[0] / bound:.2f} (at most 1.5 is promised)")


async def interleaved(*exchanges: Callable[[], Awaitable[None]]) -> list[float]:
    """The median milliseconds of each, taken in turns."""
    taken: list[list[float]] = [[] for _ in exchanges]
    for _ in range(VALIDATIONS):
        for times, exchange in zip(taken, exchanges, strict=True):
            started = time.perf_counter()
            await exchange()
            times.append((time.perf_counter() - started) * 1000)
    return [statistics.median(times) for times in taken]


async def main() -> None:
    with tempfile.TemporaryDirectory() as name, mongodb_uri(Path(name)) as uri:
        for kind in ("SQLite", "MongoDB protocol"):
            directory = Path(name) / kind.split()[0]
            directory.mkdir()
            environ = {} if kind == "SQLite" else {"MONGODB_URI": uri, "MONGODB_DATABASE": "bench"}
            print(f"== {kind}")
            with running_separate_stack(directory, environ) as stack:
                ports = [stack.mqtt_port, free_port(), free_port()]
                more = [stack.process_of("kpc", environ={"KPC_MQTT_PORT": str(port)}) for port in ports[1:]]
                try:
                    for replica in more:
                        replica.start()
                    await measure_cut_off(stack, ports)
                finally:
                    for replica in more:
                        replica.stop()
                own = SqliteStore(directory / "own.db") if kind == "SQLite" else MongoStore(uri, "bench_own")
                async with own as store:
                    await measure_validation(stack, store)


if __name__ == "__main__":
    asyncio.run(main())
