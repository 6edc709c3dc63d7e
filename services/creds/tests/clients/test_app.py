import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from creds.app import SERVICE
from creds.clients import pki
from creds.settings import CredsSettings
from kaa_common.access import hash_api_key
from kaa_common.clock import Deadline
from kaa_common.errors import StartError
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientCertificateAuthenticationRequest,
)
from kaa_common.rpc import Rpc, request_header
from kaa_common.service import run
from kaa_common.settings import SettingsError, load
from support.nats_server import NatsServer
from support.ports import free_port

KEYS = {"CREDS_TOKEN_KEYS": "k1:0123456789abcdef"}


@pytest.fixture
def environ(nats_server: NatsServer, tmp_path: Path, suffix: str) -> dict[str, str]:
    return {
        **KEYS,
        "NATS_URL": nats_server.url,
        "KAA_DATA_DIR": str(tmp_path),
        "KAA_HTTP_PORT": str(free_port()),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "CM_INSTANCE": f"cm-{suffix}",
        "CCM_INSTANCE": f"ccm-{suffix}",
        "EPR_INSTANCE": f"epr-{suffix}",
        "KPC_INSTANCE": f"kpc-{suffix}",
    }


@asynccontextmanager
async def running(environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The service as a process runs it, until the context is left."""
    ready, stop = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(20):
            await ready.wait()
        url = f"http://127.0.0.1:{environ['KAA_HTTP_PORT']}/ccm/api/v1"
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": "key"}) as client:
            yield client
        stop.set()


async def test_credentials_outlive_the_process_and_no_file_has_their_secrets(
    environ: dict[str, str], rpc: Rpc, suffix: str, tmp_path: Path
) -> None:
    async with running(environ) as client:
        user = (await client.post("/basic-credentials", json={})).json()
        device = (await client.post("/x509-credentials", json={})).json()
        authorities = (await client.get("/ca-certificates")).text
        basic = ClientBasicAuthenticationRequest(
            **request_header(Deadline.after(5)),
            tenant_id="default",
            username=user["username"],
            password=user["password"],
        )
        assert (await rpc.call(AUTHENTICATE_BASIC, f"ccm-{suffix}", basic)).message.credentials_id == user["id"]
    async with running(environ) as client:
        assert (await client.get("/ca-certificates")).text == authorities
        [listed] = (await client.get("/basic-credentials")).json()
        assert (listed["id"], listed["state"], "lastUseDate" in listed) == (user["id"], "Active", True)
        certificate = ClientCertificateAuthenticationRequest(
            **request_header(Deadline.after(5)), issuer=device["issuer"], serial_number=device["serialNumber"]
        )
        answer = (await rpc.call(AUTHENTICATE_CERTIFICATE, f"ccm-{suffix}", certificate)).message
        assert (answer.status_code, answer.credentials_id) == (200, device["id"])
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("creds.db*"))
    assert kept
    for secret in (user["password"], "PRIVATE KEY"):
        assert secret.encode() not in kept


async def test_an_authority_can_be_brought_along(environ: dict[str, str], tmp_path: Path) -> None:
    brought = pki.new_instance_authority(datetime.now(UTC).replace(microsecond=0))
    environ |= write(tmp_path, brought)
    async with running(environ) as client:
        chain = (await client.post("/x509-credentials", json={})).json()["certificateChain"]
        _, tenant = x509.load_pem_x509_certificates(chain.encode())
        tenant.verify_directly_issued_by(brought.certificate)


async def test_an_authority_that_cannot_be_used_is_one_sentence(environ: dict[str, str], tmp_path: Path) -> None:
    tenant = pki.new_tenant_authority(pki.new_instance_authority(datetime.now(UTC)), "tenant", datetime.now(UTC))
    for files in (write(tmp_path, tenant), {"CREDS_CA_CERTIFICATE_FILE": "missing", "CREDS_CA_KEY_FILE": "missing"}):
        with pytest.RaisesGroup(pytest.RaisesExc(StartError, match="CREDS_CA_"), flatten_subgroups=True):
            async with running(environ | files):
                pass


def write(directory: Path, authority: pki.Authority) -> dict[str, str]:
    certificate, key = directory / "ca.pem", directory / "ca.key"
    certificate.write_text(pki.certificate_pem(authority.certificate))
    key.write_bytes(
        authority.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"CREDS_CA_CERTIFICATE_FILE": str(certificate), "CREDS_CA_KEY_FILE": str(key)}


def test_half_an_authority_is_refused() -> None:
    for half in ("CREDS_CA_CERTIFICATE_FILE", "CREDS_CA_KEY_FILE"):
        with pytest.raises(SettingsError, match=r"CREDS_CA_CERTIFICATE_FILE and CREDS_CA_KEY_FILE: .* both or none"):
            load(CredsSettings, KEYS | {half: "file"}, "CREDS_")
