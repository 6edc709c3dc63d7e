"""The service as a process runs it: which transports there are is a matter of settings."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from kaa_common.access import hash_api_key
from kaa_common.errors import StartError
from kaa_common.messages.tap import (
    GET_CERTIFICATE_AUTHORITIES,
    CertificateAuthoritiesRequest,
    CertificateAuthoritiesResponse,
)
from kaa_common.rpc import Reply, answer_header
from kaa_common.service import run
from kaa_common.settings import SettingsError, load
from kpc.app import SERVICE
from kpc.settings import KpcSettings
from support.certificates import make_certificate
from support.nats_server import NatsServer
from support.ports import free_port

from .conftest import Backend

PATIENCE = 20.0


@asynccontextmanager
async def running(nats_server: NatsServer, backend: Backend, **variables: str) -> AsyncIterator[httpx.AsyncClient]:
    port, ready, stop = free_port(), asyncio.Event(), asyncio.Event()
    environ = {
        "NATS_URL": nats_server.url,
        "KAA_HTTP_PORT": str(port),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "TEKTON_INSTANCE": backend.tekton,
        "CM_INSTANCE": backend.cm,
        "CCM_INSTANCE": backend.ccm,
        "KPC_INSTANCE": backend.kpc,
        "KPC_MQTT_PORT": "0",
        **variables,
    }
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(PATIENCE):
            await ready.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
        stop.set()


async def test_every_transport_is_served_when_it_is_enabled(
    nats_server: NatsServer, backend: Backend, tmp_path: Path
) -> None:
    authority, mqtt_port, tls_port = make_certificate("authority", is_authority=True), free_port(), free_port()
    certificate_file, key_file = make_certificate("server", authority).write(tmp_path, "server")
    asked = asyncio.Event()

    async def authorities(request: CertificateAuthoritiesRequest) -> Reply[CertificateAuthoritiesResponse]:
        asked.set()
        return Reply(
            CertificateAuthoritiesResponse(**answer_header(request), certificates=authority.pem, status_code=200)
        )

    await backend.rpc.serve(GET_CERTIFICATE_AUTHORITIES, backend.ccm, authorities)
    await backend.rpc.bus.flush(5)
    variables = {
        "KPC_MQTT_PORT": str(mqtt_port),
        "KPC_TLS_ENABLED": "true",
        "KPC_TLS_PORT": str(tls_port),
        "KPC_TLS_CERTIFICATE_FILE": str(certificate_file),
        "KPC_TLS_KEY_FILE": str(key_file),
        "KPC_WS_ENABLED": "true",
    }
    connect_packet = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
    async with running(nats_server, backend, **variables) as client, asyncio.timeout(PATIENCE):
        await asked.wait()
        trusting = ssl.create_default_context(cadata=authority.pem)
        trusting.load_cert_chain(*make_certificate("device", authority).write(tmp_path, "device"))
        for port, context in ((mqtt_port, None), (tls_port, ssl.create_default_context(cadata=authority.pem))):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(connect_packet)
            assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
            writer.transport.abort()
        # Its chain is trusted, but creds is not there to say that it may be used.
        reader, writer = await asyncio.open_connection("127.0.0.1", tls_port, ssl=trusting)
        writer.write(connect_packet)
        assert await reader.readexactly(4) == b"\x20\x02\x00\x03"
        writer.transport.abort()
        url = f"{client.base_url}/ws".replace("http:", "ws:")
        async with connect(url, subprotocols=[Subprotocol("mqtt")], proxy=None) as websocket:
            await websocket.send(connect_packet)
            assert await websocket.recv() == b"\x20\x02\x00\x00"
        assert (await client.post("/kp1/app-v2/x/y")).json()["statusCode"] == 404
        assert (await client.post("/kpc/kp1/app-v2/x/y")).json()["statusCode"] == 404
        assert (await client.get("/kpc/api/v1/root-certificate")).text == certificate_file.read_text()


async def test_no_transport_is_served_when_none_is_enabled(nats_server: NatsServer, backend: Backend) -> None:
    mqtt_port = free_port()
    variables = {"KPC_MQTT_PORT": str(mqtt_port), "KPC_MQTT_ENABLED": "false", "KPC_HTTP_ENABLED": "false"}
    async with running(nats_server, backend, **variables) as client:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", mqtt_port)
        with pytest.raises(InvalidStatus):
            await connect(
                f"{client.base_url}/ws".replace("http:", "ws:"), subprotocols=[Subprotocol("mqtt")], proxy=None
            )
        for path in ("/kp1/app-v2/x/y", "/kpc/kp1/app-v2/x/y"):
            assert (await client.post(path)).json() == {"message": "Not Found"}
        assert (await client.get("/kpc/api/v1/root-certificate")).status_code == 404
        replicas = (await client.get("/kpc/api/v1/replicas", headers={"X-API-Key": "key"})).json()
        assert [replica["connections"] for replica in replicas["content"]] == [{}]


async def test_tls_files_that_cannot_be_used_are_one_sentence(
    nats_server: NatsServer, backend: Backend, tmp_path: Path
) -> None:
    variables = {
        "KPC_TLS_ENABLED": "true",
        "KPC_TLS_CERTIFICATE_FILE": str(tmp_path / "missing.pem"),
        "KPC_TLS_KEY_FILE": str(tmp_path / "missing.key"),
    }
    with pytest.raises(ExceptionGroup) as failure:
        async with running(nats_server, backend, **variables):
            pass
    found = failure.group_contains(StartError, match=r"cannot use the TLS files .*missing\.pem", depth=None)
    assert found


def test_tls_needs_its_files() -> None:
    with pytest.raises(SettingsError, match="set KPC_TLS_CERTIFICATE_FILE and KPC_TLS_KEY_FILE too"):
        load(KpcSettings, {"KPC_TLS_ENABLED": "true"}, "KPC_")
