"""What the register's speed rests on, measured: `make bench-register`.

64 devices change their metadata (`update/keys`), each one after the other, on endpoints of their own. On SQLite that is
compared with a bare NATS request and reply, on MongoDB with the driver's own `update_one` on the same documents. What
is compared takes turns of a second in one run, so a busy machine slows both; the ratio is that of the medians.

- over NATS: 4/ESP requests to a process of the service, as KPC sends them; what answers a bare request is a process too
- in this process: `Register.change_metadata`, which reads, decides, writes and publishes the event
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from pymongo import AsyncMongoClient

from epr import metadata
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.model import Endpoint, State
from epr.register import ENDPOINTS, Register
from kaa_common.bus import NatsBus, connect
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
TURNS = 5
TURN = 1.0
"""Seconds."""
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

Exchange = Callable[[int, int], Awaitable[None]]
"""One request and its answer; the arguments are the number of the device, and that of its request."""


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


async def insert_endpoints(store: DocumentStore) -> None:
    await store.ensure([ENDPOINTS, FILTERS, FILTER_SETS])
    async with asyncio.TaskGroup() as tasks:
        for number in range(IN_FLIGHT):
            tasks.create_task(store.insert(ENDPOINTS, endpoint(number).to_document()))


async def rate_of(exchange: Exchange, counts: list[int]) -> float:
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
    return (sum(counts) - before) / (time.perf_counter() - started)


async def compare(measured: str, exchange: Exchange, bare: str, bare_exchange: Exchange, promised: float) -> None:
    counts, bare_counts = [0] * IN_FLIGHT, [0] * IN_FLIGHT
    await rate_of(exchange, counts)  # caches fill, prepared statements are made
    rates, bare_rates = [], []
    for _ in range(TURNS):
        bare_rates.append(await rate_of(bare_exchange, bare_counts))
        rates.append(await rate_of(exchange, counts))
    rate, bare_rate = statistics.median(rates), statistics.median(bare_rates)
    print(f"  {bare:44}{bare_rate:8,.0f} a second")
    print(f"  {measured:44}{rate:8,.0f} a second, ratio {rate / bare_rate:.2f} (at least {promised:g} is promised)")


@asynccontextmanager
async def echo(bus: NatsBus, nats_url: str) -> AsyncIterator[Exchange]:
    """A responder in a process of its own, as a service is."""
    responder = subprocess.Popen([sys.executable, "-c", ECHO, nats_url], stdout=subprocess.PIPE)

    async def exchange(_device: int, _number: int) -> None:
        await bus._client.request("echo", b"x" * 200, timeout=5)

    try:
        assert responder.stdout is not None
        await asyncio.to_thread(responder.stdout.readline)
        yield exchange
    finally:
        responder.terminate()
        responder.wait()


@asynccontextmanager
async def register_of(store: DocumentStore, rpc: Rpc) -> AsyncIterator[Exchange]:
    """The register in this process."""
    async with open_outbox(store, rpc.bus, ENDPOINTS) as outbox:
        register = Register(store, outbox, tenant="kaa", instance="epr", replica_id=rpc.replica_id)

        async def exchange(device: int, number: int) -> None:
            operation = metadata.merge(metadata.parse_object(b'{"key_0":%d}' % number))
            async with register.turn(f"endpoint-{device}"):
                await register.change_metadata(f"endpoint-{device}", lambda found: operation(found.metadata))

        yield exchange


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


async def measure_sqlite(directory: Path, bus: NatsBus, rpc: Rpc, nats_url: str) -> None:
    async with SqliteStore(directory / "epr.db") as store:
        await insert_endpoints(store)
    http_port = free_port()
    environ = {"NATS_URL": nats_url, "KAA_DATA_DIR": str(directory), "KAA_HTTP_PORT": str(http_port)}
    service = ChildProcess([sys.executable, "-m", "epr"], environ, directory / "epr.log", http_port)
    async with echo(bus, nats_url) as bare:
        try:
            await asyncio.to_thread(service.start)
            await compare("update/keys over NATS", await extension(rpc), "NATS request and reply", bare, 0.5)
        finally:
            service.stop()
        async with SqliteStore(directory / "epr.db") as store, register_of(store, rpc) as exchange:
            await compare("update/keys in this process", exchange, "NATS request and reply", bare, 0.5)


async def measure_mongodb(directory: Path, rpc: Rpc) -> None:
    with mongodb_uri(directory) as uri:
        async with (
            AsyncMongoClient[dict[str, Any]](uri, w="majority", journal=True, maxPoolSize=POOL_SIZE) as client,
            MongoStore(uri, "kaa_bench") as store,
        ):
            await client.drop_database("kaa_bench")
            await insert_endpoints(store)
            documents = client["kaa_bench"][ENDPOINTS.name]

            async def bare(device: int, number: int) -> None:
                """The same change, of another endpoint; the driver need not even read it, nor keep an event."""
                change = {"$set": {"metadata.0.value": number}, "$inc": {"revision": 1}}
                assert (await documents.update_one({"_id": f"plain-{device}"}, change)).matched_count == 1

            await documents.insert_many(
                [{**endpoint(number).to_document(), "_id": f"plain-{number}"} for number in range(IN_FLIGHT)]
            )
            async with register_of(store, rpc) as exchange:
                await compare("update/keys in this process", exchange, "driver's update_one", bare, 1)
            await client.drop_database("kaa_bench")


async def main(stores: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        nats = NatsServer(Path(name))
        nats.start()
        try:
            async with connect(nats.url, "bench") as bus:
                rpc = Rpc(bus, "bench")
                await rpc.start()
                print(f"{IN_FLIGHT} in flight, {TURNS} turns of {TURN:g} s each")
                if "sqlite" in stores:
                    print("SQLite")
                    await measure_sqlite(Path(name), bus, rpc, nats.url)
                if "mongodb" in stores:
                    print("MongoDB")
                    await measure_mongodb(Path(name), rpc)
        finally:
            nats.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:] or ["sqlite", "mongodb"]))
