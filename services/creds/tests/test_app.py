import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from creds.app import SERVICE
from creds.bus_api import BusApi
from creds.cut_off import CutOff
from creds.documents import TOKENS
from creds.hashing import TokenKeys
from creds.register import Register
from creds.rest_api import RestApi
from creds.tokens import Tokens
from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.clock import Deadline
from kaa_common.messages.ecap import VALIDATE_TOKEN, EndpointTokenValidationRequest
from kaa_common.messages.etp import PROVISION_TOKEN, EndpointTokenProvisionRequest
from kaa_common.outbox import Outbox
from kaa_common.rest import rest_api
from kaa_common.rpc import Rpc, request_header
from kaa_common.service import run
from kaa_common.store.sqlite import SqliteStore
from support.nats_server import NatsServer
from support.ports import free_port


def environ(nats_server: NatsServer, directory: Path, suffix: str) -> dict[str, str]:
    return {
        "NATS_URL": nats_server.url,
        "KAA_DATA_DIR": str(directory),
        "KAA_HTTP_PORT": str(free_port()),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "CM_INSTANCE": f"cm-{suffix}",
        "EPR_INSTANCE": f"epr-{suffix}",
        "CREDS_TOKEN_KEYS": "k1:0123456789abcdef",
        "CREDS_TOKEN_LENGTH": "12",
    }


@asynccontextmanager
async def running(environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The service as a process runs it, until the context is left."""
    ready, stop = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(20):
            await ready.wait()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{environ['KAA_HTTP_PORT']}", headers={"X-API-Key": "key"}
        ) as client:
            yield client
        stop.set()


async def test_the_service_starts_serves_stops_and_keeps_its_documents(
    nats_server: NatsServer, tmp_path: Path, rpc: Rpc, suffix: str
) -> None:
    async with running(environ(nats_server, tmp_path, suffix)):
        request = EndpointTokenProvisionRequest(
            **request_header(Deadline.after(5)), tenant_id="tenant", app_name="app", endpoint_id="endpoint"
        )
        provisioned = (await rpc.call(PROVISION_TOKEN, f"cm-{suffix}", request)).message
    assert provisioned.token is not None
    assert len(provisioned.token) == 12
    async with running(environ(nats_server, tmp_path, suffix)) as client:
        listed = (await client.get("/cm/api/v1/endpoints/endpoint/tokens")).json()
    assert [token["endpointTokenId"] for token in listed["content"]] == [provisioned.token_id]
    assert not any(provisioned.token.encode() in path.read_bytes() for path in tmp_path.glob("creds.db*"))


async def test_a_store_that_cannot_be_reached_is_503(bus: NatsBus, rpc: Rpc, tmp_path: Path, suffix: str) -> None:
    async with SqliteStore(tmp_path / "closed.db") as store:
        await store.ensure([TOKENS])
    keys = TokenKeys.parse("k1:0123456789abcdef")
    tokens = Tokens(
        store, Outbox(store, bus, TOKENS), keys, instance=f"cm-{suffix}", replica_id="replica", generated_length=10
    )
    await BusApi(tokens).serve(rpc, f"cm-{suffix}", f"epr-{suffix}")
    request = EndpointTokenValidationRequest(**request_header(Deadline.after(5)), app_name="app", token="t0ken")
    assert (await rpc.call(VALIDATE_TOKEN, f"cm-{suffix}", request)).message.status_code == 503
    router = RestApi(tokens, Register(rpc, f"epr-{suffix}"), CutOff(rpc, f"kpc-{suffix}"), "tenant").router()
    api = rest_api("Credentials", "", "/cm", router, Access(hash_api_key("key")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), headers={"X-API-Key": "key"}) as client:
        tokens_of_endpoint = "http://test/cm/api/v1/endpoints/endpoint/tokens"
        for answer in (
            await client.get(tokens_of_endpoint),
            await client.delete(f"{tokens_of_endpoint}/id"),
            await client.post(tokens_of_endpoint, json={"applicationName": "app"}),  # nobody serves the register
        ):
            assert answer.status_code == 503


def test_without_keys_the_process_says_so_and_ends(nats_server: NatsServer, tmp_path: Path, suffix: str) -> None:
    without = {**environ(nats_server, tmp_path, suffix), "CREDS_TOKEN_KEYS": ""}
    ended = subprocess.run(
        [sys.executable, "-m", "creds"], env=without, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert "kaa: CREDS_TOKEN_KEYS: Field required\n" in ended.stderr
    assert "Traceback" not in ended.stderr
