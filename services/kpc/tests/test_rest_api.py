"""The REST interface in memory, with two replicas on a real bus behind it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from kaa_common.access import Access, hash_api_key
from kaa_common.bus import connect
from kaa_common.messages.cop import REPLICA_ALIVE, REPLICA_LEFT, ReplicaEvent
from kaa_common.rest import rest_api
from kaa_common.rpc import Rpc, event_header
from kpc import status
from kpc.certificates import Certificates
from kpc.client_auth import ClientAuth
from kpc.mqtt.events import Disconnected
from kpc.mqtt.packets import Publish, Subscribe
from kpc.mqtt.reasons import PublishResult
from kpc.mqtt_connection import Connection
from kpc.mqtt_listeners import TcpListener
from kpc.mqtt_server import MqttServer
from kpc.presence import Presence, Session
from kpc.rest_api import KpcPaths, RestApi
from kpc.status import Status
from kpc.tenants import Tenants
from support.certificates import make_certificate
from support.nats_server import NatsServer
from support.scopes import all_but, answers, declared_scopes, refusal
from support.waiting import until

from .conftest import ENDPOINT, TOKEN, TOKEN_ID, Backend
from .mqtt_device import mqtt_device

SCOPES = {
    "GET /endpoints/{endpoint_id}/sessions": "endpoint:read",
    "GET /replicas": "kaa:communication:read",
}
KEY = {"X-API-Key": "key"}


class Handler:
    """Lets everybody in, and notes who is where."""

    def __init__(self, client_auth: ClientAuth, presence: Presence) -> None:
        self._client_auth = client_auth
        self._presence = presence
        self.connected = client_auth.connected

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        raise NotImplementedError

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        session = Session(
            connection_id=connection.id,
            app_version_name="app-v1",
            tenant_id="default",
            app_name="app",
            token=TOKEN,
            token_id=TOKEN_ID,
            qos=0,
        )
        self._presence.identified(ENDPOINT, session, 1)

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        self._client_auth.disconnected(connection)


@asynccontextmanager
async def replica(nats_server: NatsServer, backend: Backend) -> AsyncIterator[tuple[Status, MqttServer, str]]:
    async with connect(nats_server.url, "replica") as bus:
        rpc = Rpc(bus, f"kpc-{secrets.token_hex(4)}")
        await rpc.start()
        tenants = Tenants(rpc, backend.tekton, backend.kpc)
        client_auth, presence = ClientAuth(rpc, backend.ccm, tenants, "default"), Presence(rpc.replica_id)
        async with MqttServer(Handler(client_auth, presence), [TcpListener("127.0.0.1", 0)]) as server:
            its_status = Status(rpc, backend.kpc, server, client_auth, presence)
            await its_status.start()
            await bus.flush(5)
            yield its_status, server, rpc.replica_id


@asynccontextmanager
async def client_of(its_status: Status, certificates: Certificates | None = None) -> AsyncIterator[httpx.AsyncClient]:
    router = RestApi(its_status, certificates).router()
    api = rest_api("Communication", "", "/kpc", router, Access(hash_api_key("key")))
    paths = KpcPaths(api, PlainTextResponse("a device"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(paths), base_url="http://test/kpc") as client:
        yield client


async def sign(backend: Backend, replica_id: str, *, leaves: bool = False) -> None:
    event = ReplicaEvent(**event_header(), originator_replica_id=replica_id)
    await backend.rpc.emit(REPLICA_LEFT if leaves else REPLICA_ALIVE, backend.kpc, event)
    await backend.rpc.bus.flush(5)


async def test_sessions_and_statistics_come_from_all_replicas(
    nats_server: NatsServer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "ANSWERED_WITHIN", 0.3)
    async with (
        replica(nats_server, backend) as (asked, _, asked_id),
        replica(nats_server, backend) as (_, server, other_id),
        client_of(asked) as client,
        mqtt_device(server.port, client_id="station-7") as device,
    ):
        for replica_id in (other_id, "silent"):
            await sign(backend, replica_id)
        await until(lambda: len(asked._replicas) == 2)
        await device.subscribe("a")
        sessions = (await client.get(f"/api/v1/endpoints/{ENDPOINT}/sessions", headers=KEY)).json()
        replicas = (await client.get("/api/v1/replicas", headers=KEY)).json()
        await sign(backend, "silent", leaves=True)
        await until(lambda: len(asked._replicas) == 1)
        nobody = (await client.get("/api/v1/endpoints/unknown/sessions", headers=KEY)).json()
    (session,) = sessions["content"]
    assert session.pop("connectedDate").endswith("Z")
    assert session.pop("address").startswith("127.0.0.1:")
    assert session == {
        "replicaId": other_id,
        "connectionId": 1,
        "appVersionName": "app-v1",
        "clientId": "station-7",
        "transport": "tcp",
        "mqttVersion": "3.1.1",
        "credentialsIds": [],
    }
    assert (sessions["missing"], replicas["missing"]) == (["silent"], ["silent"])
    told = {one["replicaId"]: (one["connections"], one["endpoints"], one["turnedAway"]) for one in replicas["content"]}
    assert told == {asked_id: ({}, 0, 0), other_id: ({"tcp": 1}, 1, 0)}
    assert nobody == {"content": [], "missing": []}


async def test_the_certificate_is_for_everybody_and_never_with_a_key(
    nats_server: NatsServer, backend: Backend, tmp_path: Path
) -> None:
    pair = make_certificate("server")
    certificate_file, key_file = pair.write(tmp_path, "server")
    certificate_file.write_text(pair.key_pem + pair.pem)
    async with replica(nats_server, backend) as (its_status, _, _):
        async with client_of(its_status, Certificates(certificate_file, key_file)) as client:
            for path in ("root-certificate", "plugins/transports/mqtt/tls/support/certificates"):
                answer = await client.get(f"/api/v1/{path}")
                assert (answer.status_code, answer.text) == (200, pair.pem)
                assert answer.headers["Content-Type"].startswith("application/x-pem-file")
        async with client_of(its_status) as client:
            without_tls = await client.get("/api/v1/root-certificate")
    assert (without_tls.status_code, without_tls.json()) == (404, {"message": "MQTT over TLS is not enabled"})


async def test_devices_and_the_interface_share_the_path(nats_server: NatsServer, backend: Backend) -> None:
    async with replica(nats_server, backend) as (its_status, _, _), client_of(its_status) as client:
        assert (await client.post("/kp1/app-v1/epmx/token/get")).text == "a device"
        assert (await client.get("/api/v1/replicas")).status_code == 401
        assert set((await client.get("/api/v1/openapi.json")).json()["paths"]) == {
            "/kpc/api/v1/root-certificate",
            "/kpc/api/v1/plugins/transports/mqtt/tls/support/certificates",
            "/kpc/api/v1/endpoints/{endpoint_id}/sessions",
            "/kpc/api/v1/replicas",
        }


async def test_every_route_demands_its_scope(nats_server: NatsServer, backend: Backend) -> None:
    async with replica(nats_server, backend) as (its_status, _, _):
        router = RestApi(its_status, None).router()
        refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
        accepted = await answers(router, SCOPES)
    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert {status_code for status_code, _ in accepted.values()} == {200}
