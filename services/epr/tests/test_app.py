import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from epr.app import SERVICE
from kaa_common.access import hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.rpc import Rpc
from kaa_common.service import run
from support.nats_server import NatsServer
from support.ports import free_port
from support.waiting import until

from .conftest import Device, Events, FakeCreds, Names


@asynccontextmanager
async def running(nats_server: NatsServer, directory: Path, names: Names) -> AsyncIterator[httpx.AsyncClient]:
    """The service as a process runs it, until the context is left."""
    port, ready, stop = free_port(), asyncio.Event(), asyncio.Event()
    environ = {
        "NATS_URL": nats_server.url,
        "KAA_DATA_DIR": str(directory),
        "KAA_HTTP_PORT": str(port),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "EPR_INSTANCE": names.epr,
        "EPMX_INSTANCE": names.epmx,
        "CM_INSTANCE": names.cm,
        "TEKTON_INSTANCE": names.tekton,
    }
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(20):
            await ready.wait()
        base_url = f"http://127.0.0.1:{port}/epr/api/v1"
        async with httpx.AsyncClient(base_url=base_url, headers={"X-API-Key": "key"}) as client:
            yield client
        stop.set()


async def test_an_endpoint_lives_through_restarts_of_the_service(
    nats_server: NatsServer, tmp_path: Path, names: Names, rpc: Rpc, creds: FakeCreds, tekton: None, events: Events
) -> None:
    device = Device(rpc, names.epmx)
    async with running(nats_server, tmp_path, names) as client:
        answer = await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}, "endpointId": "id-1"})
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{client.base_url}endpoints/id-1"
        assert (await device.ask("id-1", "/update/keys", b'{"a":1.0}')).status_code == 200
    async with running(nats_server, tmp_path, names) as client:
        assert (await device.ask("id-1", "/get")).payload == b'{"a":1.0}'
        assert (await client.delete("/endpoints/id-1")).status_code == 204
    async with running(nats_server, tmp_path, names) as client:
        assert (await client.get("/endpoints/id-1")).status_code == 404
    await until(lambda: len(set(events.ids)) == 3)


async def test_nothing_acknowledged_is_lost_when_the_service_stops_under_load(
    nats_server: NatsServer, tmp_path: Path, names: Names, rpc: Rpc, creds: FakeCreds, tekton: None, bus: NatsBus
) -> None:
    device = Device(rpc, names.epmx)
    acknowledged: set[str] = set()

    async def update(number: int) -> None:
        answer = await device.ask("id-1", "/update/keys", b'{"k%d":1}' % number)
        if answer.status_code == 200:
            acknowledged.add(f"k{number}")

    async with asyncio.TaskGroup() as tasks:
        async with running(nats_server, tmp_path, names) as client:
            await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}, "endpointId": "id-1"})
            updates = [tasks.create_task(update(number)) for number in range(300)]
            await until(lambda: len(acknowledged) > 20)
        for unanswered in updates:
            unanswered.cancel()
    async with running(nats_server, tmp_path, names) as client:
        assert acknowledged <= (await client.get("/endpoints/id-1/metadata")).json().keys()
