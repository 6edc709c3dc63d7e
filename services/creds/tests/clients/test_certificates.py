import asyncio
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from creds.clients import pki
from creds.clients.app import Clients, ClientsOptions
from creds.clients.certificates import DEFAULT_TTL, CertificateClients, Issued
from creds.clients.documents import X509_CREDENTIALS
from creds.clients.model import State
from kaa_common.clock import now_ms
from kaa_common.errors import BadRequest, Forbidden, NotFound
from kaa_common.store import DocumentStore

from .conftest import Opened


@pytest.fixture
def certificates(clients: Clients) -> CertificateClients:
    return clients.certificates


def signing_request(common_name: str | None) -> tuple[str, bytes]:
    """A signing request and its public key."""
    key = pki.new_key()
    names = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode(), public_bytes(key.public_key())


def public_bytes(key: object) -> bytes:
    assert isinstance(key, pki.ClientKey)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


async def issue(certificates: CertificateClients, common_name: str | None = "device") -> Issued:
    return await certificates.issue("tenant", common_name, None)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_an_issued_chain_verifies_against_what_can_be_downloaded(certificates: CertificateClients) -> None:
    issued = await issue(certificates)
    leaf, *intermediates = x509.load_pem_x509_certificates(issued.chain.encode())
    authorities = x509.load_pem_x509_certificates((await certificates.authorities_of("tenant")).encode())
    roots = [certificate for certificate in authorities if certificate.subject == certificate.issuer]
    assert len(PolicyBuilder().store(Store(roots)).build_client_verifier().verify(leaf, intermediates).chain) == 3
    assert issued.credentials.serial_number == str(leaf.serial_number)
    assert leaf.issuer.rfc4514_string() == f"CN={issued.credentials.issuer}" == "CN=tenant"
    assert issued.credentials.valid_until_ms == leaf.not_valid_after_utc.timestamp() * 1000
    assert 0 <= now_ms() + DEFAULT_TTL * 1000 - issued.credentials.valid_until_ms < 60_000


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_below_an_authority_that_ends_soon_certificates_end_with_it(
    opened: Opened, make_options: Callable[..., ClientsOptions]
) -> None:
    left = timedelta(days=30)
    ends_soon = pki.new_instance_authority(pki.utc(now_ms()) - pki.INSTANCE_LIFETIME + left)
    async with opened(make_options(authority=ends_soon)) as clients:
        issued = await clients.certificates.issue("tenant", None, None)
        signed = await clients.certificates.sign("tenant", signing_request("pump-7")[0], None, None)
        with pytest.raises(BadRequest, match="ttl: "):
            await clients.certificates.issue("tenant", None, DEFAULT_TTL)
    for one in (issued, signed):
        assert one.credentials.valid_until_ms == pki.unix_ms(ends_soon.ends)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_the_private_key_is_that_of_the_certificate_and_kept_nowhere(
    certificates: CertificateClients, store: DocumentStore
) -> None:
    issued = await issue(certificates)
    assert issued.private_key is not None
    key = serialization.load_pem_private_key(issued.private_key.encode(), None)
    leaf = x509.load_pem_x509_certificate(issued.chain.encode())
    assert key.public_key() == leaf.public_key()
    assert "PRIVATE KEY" not in repr(issued)
    documents = await store.get(X509_CREDENTIALS, [issued.credentials.id])
    assert "PRIVATE KEY" not in repr(documents)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_signing_request_keeps_the_private_key_with_the_client(certificates: CertificateClients) -> None:
    for in_request, given, expected in (("pump-7", None, "pump-7"), ("pump-7", "pump-8", "pump-8")):
        csr, key = signing_request(in_request)
        issued = await certificates.sign("tenant", csr, given, 60)
        leaf = x509.load_pem_x509_certificate(issued.chain.encode())
        assert issued.private_key is None
        assert (issued.credentials.common_name, public_bytes(leaf.public_key())) == (expected, key)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_name_is_generated_when_there_is_none(certificates: CertificateClients) -> None:
    issued = [await issue(certificates, None), await certificates.sign("tenant", signing_request(None)[0], None, 60)]
    for one in issued:
        assert re.fullmatch("[a-z]+-[a-z]+", one.credentials.common_name)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_name_that_cannot_be_one_is_refused(certificates: CertificateClients) -> None:
    for attempt in (
        issue(certificates, "a b"),
        certificates.sign("tenant", signing_request("a b")[0], None, 60),
        certificates.sign("tenant", "x", None, 60),
    ):
        with pytest.raises(BadRequest):
            await attempt


async def test_a_certificate_is_found_by_issuer_and_serial_number(certificates: CertificateClients) -> None:
    credentials = (await issue(certificates)).credentials
    used = await certificates.authenticate("CN=tenant", credentials.serial_number)
    assert (used.id, used.tenant_id, used.state) == (credentials.id, "tenant", State.ACTIVE)
    assert await certificates.authenticate("cn=tenant", f"0{credentials.serial_number}") == used
    for issuer, number in (("CN=other", credentials.serial_number), ("CN=tenant", "7")):
        with pytest.raises(NotFound):
            await certificates.authenticate(issuer, number)
    for issuer, number in (("tenant", "7"), ("CN=tenant", "x")):
        with pytest.raises(BadRequest):
            await certificates.authenticate(issuer, number)


async def test_many_first_uses_at_once_are_one_activation(certificates: CertificateClients) -> None:
    number = (await issue(certificates)).credentials.serial_number
    async with asyncio.TaskGroup() as tasks:
        uses = [tasks.create_task(certificates.authenticate("CN=tenant", number)) for _ in range(20)]
    assert {use.result().revision for use in uses} == {2}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [State.SUSPENDED, State.REVOKED])
async def test_a_suspended_or_revoked_certificate_is_refused_saying_which(
    certificates: CertificateClients, state: State
) -> None:
    credentials = (await issue(certificates)).credentials
    await certificates.lifecycle.move("tenant", credentials.id, state, lambda _: None)
    with pytest.raises(Forbidden, match=state.lower()):
        await certificates.authenticate("CN=tenant", credentials.serial_number)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_an_expired_certificate_is_refused(
    certificates: CertificateClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = (await issue(certificates)).credentials
    monkeypatch.setattr("creds.clients.certificates.now_ms", lambda: credentials.valid_until_ms)
    with pytest.raises(Forbidden, match="expired"):
        await certificates.authenticate("CN=tenant", credentials.serial_number)
    monkeypatch.setattr("creds.clients.certificates.now_ms", lambda: credentials.valid_until_ms - 1)
    await certificates.authenticate("CN=tenant", credentials.serial_number)


async def test_the_certificates_of_two_tenants_are_apart(certificates: CertificateClients) -> None:
    issued = await certificates.issue("other", "device", 60)
    assert (await certificates.authenticate("CN=other", issued.credentials.serial_number)).tenant_id == "other"
    with pytest.raises(NotFound):
        await certificates.lifecycle.get("tenant", issued.credentials.id)
