import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.outbox import Outbox
from kaa_common.rest import rest_api
from kaa_common.service import run
from kaa_common.store.sqlite import SqliteStore
from support.issuer import AUDIENCE, running_issuer
from support.nats_server import NatsServer
from support.ports import free_port
from tekton.app import SERVICE
from tekton.applications import Applications
from tekton.documents import APPLICATIONS
from tekton.rest_api import RestApi
from tekton.service_instances import ServiceInstances
from tekton.tenants import Tenants


@asynccontextmanager
async def running(
    nats_server: NatsServer, directory: Path, instance: str, **variables: str
) -> AsyncIterator[httpx.AsyncClient]:
    """The service as a process runs it, until the context is left."""
    port, ready, stop = free_port(), asyncio.Event(), asyncio.Event()
    environ = {
        "NATS_URL": nats_server.url,
        "KAA_DATA_DIR": str(directory),
        "KAA_HTTP_PORT": str(port),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "TEKTON_INSTANCE": instance,
        **variables,
    }
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(20):
            await ready.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": "key"}) as client:
            yield client
        stop.set()


async def test_the_service_starts_serves_stops_and_keeps_its_documents(
    nats_server: NatsServer, tmp_path: Path, instance: str
) -> None:
    async with running(nats_server, tmp_path, instance) as client:
        assert (await client.get("/readyz")).status_code == 200
        created = await client.post("/tekton/api/v1/applications", json={"name": "meters"})
        assert created.status_code == 201
    async with running(nats_server, tmp_path, instance) as client:
        assert (await client.get("/tekton/api/v1/applications")).json() == [created.json()]


async def test_a_token_of_the_issuer_may_do_what_its_scopes_say(
    nats_server: NatsServer, tmp_path: Path, instance: str
) -> None:
    url = "/tekton/api/v1/applications"
    with running_issuer() as issuer:
        variables = {"KAA_OIDC_ISSUER": issuer.url, "KAA_OIDC_AUDIENCE": AUDIENCE}
        async with running(nats_server, tmp_path, instance, **variables) as client:
            del client.headers["X-API-Key"]
            for scope, expected in (("kaa:application:create", [201, 403, 404]), ("application:read", [403, 200, 200])):
                headers = {"Authorization": f"Bearer {issuer.token(scope=scope)}"}
                answers = [
                    await client.post(url, json={"name": "meters"}, headers=headers),
                    await client.get(url, headers=headers),
                    await client.get(f"{url}/meters", headers=headers),
                ]
                assert [answer.status_code for answer in answers] == expected
            expired = {"Authorization": f"Bearer {issuer.token(scope='application:read', exp=0)}"}
            assert (await client.get(url, headers=expired)).status_code == 401
            assert (await client.get(url, headers={"X-API-Key": "key"})).status_code == 200


async def test_a_store_that_cannot_be_reached_is_503(bus: NatsBus, tmp_path: Path, instance: str) -> None:
    async with SqliteStore(tmp_path / "closed.db") as store:
        await store.ensure([APPLICATIONS])
    outbox = Outbox(store, bus, APPLICATIONS)
    applications = Applications(store, outbox, instance=instance, replica_id="replica", tenant_id="tenant")
    router = RestApi(applications, Tenants(store, outbox, "tenant"), ServiceInstances({})).router()
    api = rest_api("Tekton", "", "/tekton", router, Access(hash_api_key("key")))
    base_url = "http://test/tekton/api/v1"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url=base_url, headers={"X-API-Key": "key"}
    ) as client:
        for answer in (
            await client.get("/applications"),
            await client.get("/applications/meters"),
            await client.post("/applications", json={}),
            await client.patch("/applications/meters", json={}),
            await client.get("/tenant-configs"),
        ):
            assert answer.status_code == 503


async def test_the_interface_is_described(nats_server: NatsServer, tmp_path: Path, instance: str) -> None:
    async with running(nats_server, tmp_path, instance) as client:
        paths = (await client.get("/tekton/api/v1/openapi.json")).json()["paths"]
    assert set(paths["/tekton/api/v1/applications/{app_name}"]) == {"get", "patch", "delete"}
