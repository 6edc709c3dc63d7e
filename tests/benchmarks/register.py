"""What the register's speed rests on, measured: `make bench-register`.

64 devices change their metadata (`update/keys`), each one after the other, on endpoints of their own. What that is
compared with takes turns with it in one run, so a busy machine slows both; a ratio is that of the medians.

- on SQLite with a bare NATS request and reply, answered by a process of its own: by 64 clients, each on a connection
  of its own, and by one client for all, whose requests share reads and writes of one socket
- on MongoDB with the driver's own `update_one` on documents of the same collection, by id and as a compare-and-set
- over NATS: 4/ESP requests to a process of the service, as KPC sends them
- in this process: `Register.change_metadata`, which reads, decides, writes, and publishes the event

At the end, what the memory of the process does while many more endpoints are changed than it remembers.
"""

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import uvloop
from pymongo import AsyncMongoClient

from epr import metadata
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.model import Endpoint, State
from epr.register import ENDPOINTS, Register
from kaa_common.bus import connect
from kaa_common.clock import Deadline, now_ms
from kaa_common.messages.acp import GET_APP_VERSION_CONFIG, AppVersionConfigRequest, AppVersionConfigResponse
from kaa_common.messages.esp import CLIENT_DATA, ClientData
from kaa_common.outbox import open_outbox
from kaa_common.rpc import Reply, Rpc, answer_header, request_header
from kaa_common.store import DocumentStore
from kaa_common.store.mongodb import POOL_SIZE, MongoStore
from kaa_common.store.sqlite import SqliteStore
from support.mongo_server import mongodb_uri
from support.nats_server import NatsServer
from support.ports import free_port
from support.process import ChildProcess

IN_FLIGHT = 64
TURNS = 4
TURN = 1.5
"""Seconds."""
MEMORY_ENDPOINTS = 20_000
DATABASE = "kaa_bench"
KEYS = 5
"""Of an endpoint's metadata, one of which a request changes."""

ECHO = """
import asyncio, sys, nats, uvloop
async def main():
    client = await nats.connect(sys.argv[1])
    async def answer(message):
        await client.publish(message.reply, message.data)
    await client.subscribe("echo", cb=answer)
    print("ready", flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""

Exchange = Callable[[int, int], Coroutine[Any, Any, None]]
"""One request and its answer; the arguments are the number of the device, and that of its request."""
Rest = Callable[[], Coroutine[Any, Any, None]]
"""What exchanges have put off, done at the end of their turn and as part of it."""


def endpoint(number: int) -> Endpoint:
    return Endpoint(
        id=f"endpoint-{number}",
        revision=now_ms(),
        state=State.REGISTERED,
        tenant="kaa",
        application="bench",
        app_version="bench-v1",
        app_version_at=now_ms(),
        created_at=now_ms(),
        metadata={f"key_{key}": f"value {number}" for key in range(KEYS)},
    )


async def insert_endpoints(store: DocumentStore, numbers: Iterable[int] = range(IN_FLIGHT)) -> None:
    await store.ensure([ENDPOINTS, FILTERS, FILTER_SETS])
    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(store.insert(ENDPOINTS, endpoint(number).to_document()))


async def rate_of(exchange: Exchange, counts: list[int], rest: Rest | None = None) -> float:
    """Exchanges a second of all devices together in one turn."""
    started = time.perf_counter()
    before = sum(counts)

    async def device(number: int) -> None:
        while time.perf_counter() < started + TURN:
            counts[number] += 1
            await exchange(number, counts[number])

    async with asyncio.TaskGroup() as tasks:
        for number in range(IN_FLIGHT):
            tasks.create_task(device(number))
    if rest is not None:
        await rest()
    return (sum(counts) - before) / (time.perf_counter() - started)


Exchanges = Mapping[str, Exchange]


async def compare(measured: Exchanges, bare: Exchanges, promised: float, rest: Rest | None = None) -> None:
    """Print the rates of all, and the ratios of what is measured to each bare exchange; the first has a promise."""
    rates: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * IN_FLIGHT)
    for turn in range(TURNS + 1):
        for name, exchange in [*bare.items(), *measured.items()]:
            rate = await rate_of(exchange, counts[name], rest if name in measured else None)
            if turn:  # in the first one caches are filled
                rates[name].append(rate)
    medians = {name: statistics.median(of_turns) for name, of_turns in rates.items()}
    for name, rate in medians.items():
        ratios = ", ".join(f"{rate / medians[other]:.2f}" for other in bare) if name in measured else ""
        print(f"  {name:44}{rate:8,.0f} a second{f'   ratios {ratios}' if ratios else ''}")
    print(f"  at least {promised:g} of the first is promised")


@asynccontextmanager
async def bare_nats(nats_url: str) -> AsyncIterator[Exchanges]:
    """A responder in a process of its own, as a service is."""
    responder = subprocess.Popen([sys.executable, "-c", ECHO, nats_url], stdout=subprocess.PIPE)
    clients = [await nats.connect(nats_url) for _ in range(IN_FLIGHT)]

    async def on_its_own(device: int, _number: int) -> None:
        await clients[device].request("echo", b"x" * 200, timeout=5)

    async def shared(_device: int, _number: int) -> None:
        await clients[0].request("echo", b"x" * 200, timeout=5)

    try:
        assert responder.stdout is not None
        await asyncio.to_thread(responder.stdout.readline)
        yield {"NATS request and reply, 64 clients": on_its_own, "NATS request and reply, one client": shared}
    finally:
        for client in clients:
            await client.close()
        responder.terminate()
        responder.wait()


@asynccontextmanager
async def register_of(store: DocumentStore, rpc: Rpc) -> AsyncIterator[tuple[Exchange, Rest]]:
    """The register in this process; at rest no event waits in a document any more."""
    async with open_outbox(store, rpc.bus, ENDPOINTS) as outbox:
        register = Register(store, outbox, tenant="kaa", instance="epr", replica_id=rpc.replica_id)

        async def exchange(device: int, number: int) -> None:
            operation = metadata.merge(metadata.parse_object(b'{"key_0":%d}' % number))
            async with register.turn(f"endpoint-{device}"):
                await register.change_metadata(f"endpoint-{device}", lambda found: operation(found.metadata))

        yield exchange, outbox.settle


async def extension(rpc: Rpc) -> Exchange:
    """The register as devices reach it; what it asks tekton is answered here."""

    async def answer(request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=request.app_version_name,
                tenant_id="kaa",
                app_name="bench",
                status_code=200,
            )
        )

    await rpc.serve(GET_APP_VERSION_CONFIG, "tekton", answer)

    async def exchange(device: int, number: int) -> None:
        request = ClientData(
            **request_header(Deadline.after(5)),
            app_version_name="bench-v1",
            endpoint_id=f"endpoint-{device}",
            resource_path="/update/keys",
            request_id=number,
            payload=b'{"key_0":%d}' % number,
        )
        answered = (await rpc.call(CLIENT_DATA, "epmx", request)).message
        assert answered.status_code == 200, answered

    return exchange


async def measure_sqlite(directory: Path, rpc: Rpc, nats_url: str) -> None:
    async with SqliteStore(directory / "epr.db") as store:
        await insert_endpoints(store)
    http_port = free_port()
    environ = {"NATS_URL": nats_url, "KAA_DATA_DIR": str(directory), "KAA_HTTP_PORT": str(http_port)}
    service = ChildProcess([sys.executable, "-m", "epr"], environ, directory / "epr.log", http_port)
    async with bare_nats(nats_url) as bare:
        try:
            await asyncio.to_thread(service.start)
            await compare({"update/keys over NATS": await extension(rpc)}, bare, 0.5)
        finally:
            service.stop()
        async with SqliteStore(directory / "epr.db") as store, register_of(store, rpc) as (exchange, rest):
            await compare({"update/keys in this process": exchange}, bare, 0.5, rest)


async def measure_mongodb(uri: str, rpc: Rpc) -> None:
    async with (
        AsyncMongoClient[dict[str, Any]](uri, w="majority", journal=True, maxPoolSize=POOL_SIZE) as client,
        MongoStore(uri, DATABASE) as store,
    ):
        await client.drop_database(DATABASE)
        await insert_endpoints(store)
        documents = client[DATABASE][ENDPOINTS.name]
        plain = [{**endpoint(number).to_document(), "_id": f"plain-{number}", "revision": 0} for number in range(64)]
        await documents.insert_many(plain)
        revisions = [0] * IN_FLIGHT

        async def update(device: int, number: int) -> None:
            change = {"$set": {"metadata.0.value": number}}
            assert (await documents.update_one({"_id": f"plain-{device}"}, change)).matched_count == 1

        async def compare_and_set(device: int, number: int) -> None:
            expected = {"_id": f"plain-{device}", "revision": revisions[device]}
            revisions[device] += 1
            change = {"$set": {"metadata.0.value": -number, "revision": revisions[device]}}
            assert (await documents.update_one(expected, change)).matched_count == 1

        bare = {"update_one, a compare-and-set": compare_and_set, "update_one by id alone": update}
        async with register_of(store, rpc) as (exchange, rest):
            await compare({"update/keys in this process": exchange}, bare, 1, rest)
        await client.drop_database(DATABASE)


async def measure_memory(directory: Path, rpc: Rpc) -> None:
    """Change endpoints by the thousand, each once or twice."""
    async with SqliteStore(directory / "memory.db") as store, register_of(store, rpc) as (exchange, _):
        for thousands in range(0, MEMORY_ENDPOINTS, 1000):
            await insert_endpoints(store, range(thousands, thousands + 1000))
            for _ in range(2):
                async with asyncio.TaskGroup() as tasks:
                    for number in range(thousands, thousands + 1000):
                        tasks.create_task(exchange(number, number))
            if (thousands + 1000) % (MEMORY_ENDPOINTS // 4) == 0:
                print(f"  after {thousands + 1000:7,} endpoints: {resident_mib():4.0f} MiB")


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def main(wanted: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        server = NatsServer(Path(name))
        server.start()
        try:
            async with connect(server.url, "bench") as bus:
                rpc = Rpc(bus, "bench")
                await rpc.start()
                print(f"{IN_FLIGHT} in flight, {TURNS} turns of {TURN:g} s each")
                if "sqlite" in wanted:
                    print("SQLite")
                    await measure_sqlite(Path(name), rpc, server.url)
                if "mongodb" in wanted:
                    print("MongoDB")
                    with mongodb_uri(Path(name)) as uri:
                        await measure_mongodb(uri, rpc)
                if "memory" in wanted:
                    print("Memory")
                    await measure_memory(Path(name), rpc)
        finally:
            server.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:] or ["sqlite", "mongodb", "memory"]))
