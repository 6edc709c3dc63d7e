"""Who may come in, who may speak, and who is ended: against providers of the test on a real bus."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from cryptography import x509

from kaa_common.app_versions import AppVersion
from kaa_common.clock import Deadline
from kaa_common.errors import Forbidden, KaaError, Unavailable
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientBasicAuthenticationResponse,
    ClientCertificateAuthenticationRequest,
    ClientCertificateAuthenticationResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header
from kpc.client_auth import ClientAuth
from kpc.mqtt.packets import Connect
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import MQTT_3_1_1
from kpc.mqtt_connection import Connection, TransportName
from kpc.tenants import Tenants
from support.certificates import KeyPair, make_certificate

from .conftest import Backend

TENANT = "default"
REQUIRED = {"required": True}


@dataclass
class FakeConnection:
    id: int
    transport_name: TransportName = "tcp"
    certificate: bytes | None = None
    is_open: bool = True
    closed: list[tuple[str, ReasonCode]] = field(default_factory=list)

    def close(self, detail: str, reason_code: ReasonCode) -> None:
        self.closed.append((detail, reason_code))
        self.is_open = False

    @property
    def real(self) -> Connection:
        return cast("Connection", self)  # what is used of one is here


@dataclass
class Provider:
    """The credentials service: everybody's password is right, unless it says otherwise."""

    status_code: int = 200
    tenant_of_certificates: str = TENANT
    basic: list[tuple[str, str, str]] = field(default_factory=list)
    certificates: list[tuple[str, str]] = field(default_factory=list)
    before_answer: Callable[[], None] | None = None

    async def authenticate_basic(
        self, request: ClientBasicAuthenticationRequest
    ) -> Reply[ClientBasicAuthenticationResponse]:
        self.basic.append((request.tenant_id, request.username, request.password))
        return Reply(ClientBasicAuthenticationResponse(**self._answer(request), client_id=None))

    async def authenticate_certificate(
        self, request: ClientCertificateAuthenticationRequest
    ) -> Reply[ClientCertificateAuthenticationResponse]:
        self.certificates.append((request.issuer, request.serial_number))
        tenant_id = self.tenant_of_certificates
        return Reply(
            ClientCertificateAuthenticationResponse(**self._answer(request), tenant_id=tenant_id, client_id=None)
        )

    def _answer(self, request: Any) -> dict[str, Any]:
        if self.before_answer is not None:
            self.before_answer()
        credentials_id = f"of {request.username}" if hasattr(request, "username") else f"of {request.serial_number}"
        return {**answer_header(request), "credentials_id": credentials_id, "status_code": self.status_code}


@pytest.fixture
async def provider(backend: Backend) -> Provider:
    provider = Provider()
    await backend.rpc.serve(AUTHENTICATE_BASIC, backend.ccm, provider.authenticate_basic)
    await backend.rpc.serve(AUTHENTICATE_CERTIFICATE, backend.ccm, provider.authenticate_certificate)
    await backend.rpc.bus.flush(5)
    return provider


@pytest.fixture
async def tenants(edge_rpc: Rpc, backend: Backend) -> Tenants:
    tenants = Tenants(edge_rpc, backend.tekton, backend.kpc)
    await tenants.start()
    return tenants


@pytest.fixture
async def auth(edge_rpc: Rpc, backend: Backend, tenants: Tenants) -> ClientAuth:
    return ClientAuth(edge_rpc, backend.ccm, tenants, TENANT)


@pytest.fixture(scope="module")
def own() -> KeyPair:
    return make_certificate("device", make_certificate("default", is_authority=True))


def connect(username: str | None = None, password: bytes | None = None) -> Connect:
    return Connect(version=MQTT_3_1_1, client_id="device", username=username, password=password)


def der(pair: KeyPair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.pem)


def version_of(tenant_id: str) -> AppVersion:
    return AppVersion(name="app-v1", app_name="app", tenant_id=tenant_id, config={})


def require(backend: Backend, tenants: Tenants, tenant_id: str = TENANT, **transports: dict[str, Any]) -> None:
    backend.tenants[tenant_id] = {"transports": {"mqtt": transports}}
    tenants._forget()


async def speak(auth: ClientAuth, connection: FakeConnection, tenant_id: str = TENANT) -> str:
    """What it is told; empty when it may."""
    try:
        await auth.check(connection.real, version_of(tenant_id), Deadline.after(2))
    except Forbidden as exc:
        return str(exc)
    finally:
        auth.close_refused(connection.real)
    return ""


async def test_an_anonymous_client_costs_nobody_a_question(auth: ClientAuth, provider: Provider) -> None:
    connection = FakeConnection(1)
    assert await auth.connected(connection.real, connect()) is ReasonCode.SUCCESS
    assert await speak(auth, connection) == ""
    assert await speak(auth, connection, "other") == ""
    assert (provider.basic, provider.certificates, connection.closed) == ([], [], [])


@pytest.mark.parametrize(
    ("username", "asked"),
    [("ann@acme", ("acme", "ann")), ("ann@home@acme", ("acme", "ann@home")), ("ann", (TENANT, "ann"))],
)
async def test_a_username_has_its_tenant_behind_the_last_at(
    auth: ClientAuth, provider: Provider, username: str, asked: tuple[str, str]
) -> None:
    reason_code = await auth.connected(FakeConnection(1).real, connect(username, b"secret"))
    assert (reason_code, provider.basic) == (ReasonCode.SUCCESS, [(*asked, "secret")])


@pytest.mark.parametrize(
    ("status_code", "basic", "certificate"),
    [
        (400, ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED),
        (404, ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED),
        (403, ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED),
        (429, ReasonCode.SERVER_BUSY, ReasonCode.SERVER_BUSY),
        (500, ReasonCode.SERVER_UNAVAILABLE, ReasonCode.SERVER_UNAVAILABLE),
        (503, ReasonCode.SERVER_UNAVAILABLE, ReasonCode.SERVER_UNAVAILABLE),
    ],
)
async def test_what_a_client_shows_is_refused_when_it_is_no_good_though_nothing_is_required(
    auth: ClientAuth, provider: Provider, own: KeyPair, status_code: int, basic: ReasonCode, certificate: ReasonCode
) -> None:
    provider.status_code = status_code
    assert await auth.connected(FakeConnection(1).real, connect("ann@acme", b"secret")) is basic
    assert await auth.connected(FakeConnection(2, "tls", der(own)).real, connect()) is certificate
    assert not auth._clients


@pytest.mark.parametrize(("username", "password"), [(None, b"x"), ("ann@acme", b"\xff\xfe")])
async def test_half_of_credentials_or_no_text_is_no_password(
    auth: ClientAuth, provider: Provider, username: str | None, password: bytes
) -> None:
    provider.status_code = 400
    reason_code = await auth.connected(FakeConnection(1).real, connect(username, password))
    assert reason_code is ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_without_the_credentials_service_only_who_shows_something_is_turned_away(
    auth: ClientAuth, backend: Backend, tenants: Tenants
) -> None:
    assert await auth.connected(FakeConnection(1).real, connect()) is ReasonCode.SUCCESS
    assert await auth.connected(FakeConnection(2).real, connect("a@b", b"c")) is ReasonCode.SERVER_UNAVAILABLE


async def test_without_tekton_a_client_comes_in_but_is_not_heard(
    edge_rpc: Rpc, backend: Backend, provider: Provider
) -> None:
    auth = ClientAuth(edge_rpc, backend.ccm, Tenants(edge_rpc, f"nobody-{backend.suffix}", backend.kpc), TENANT)
    connection = FakeConnection(1)
    assert await auth.connected(connection.real, connect()) is ReasonCode.SUCCESS
    with pytest.raises(KaaError):
        await speak(auth, connection)
    assert connection.is_open


async def test_a_certificate_is_asked_for_by_issuer_and_decimal_serial_number(
    auth: ClientAuth, provider: Provider, own: KeyPair
) -> None:
    connection = FakeConnection(1, "tls", der(own))
    assert await auth.connected(connection.real, connect()) is ReasonCode.SUCCESS
    assert provider.certificates == [("CN=default", own.serial_number)]


async def test_credentials_of_two_tenants_do_not_go_together(
    auth: ClientAuth, provider: Provider, own: KeyPair
) -> None:
    connection = FakeConnection(1, "tls", der(own))
    assert await auth.connected(connection.real, connect("ann@acme", b"secret")) is ReasonCode.NOT_AUTHORIZED
    provider.tenant_of_certificates = "acme"
    assert await auth.connected(connection.real, connect("ann@acme", b"secret")) is ReasonCode.SUCCESS


@pytest.mark.parametrize("is_required", [False, True])
async def test_credentials_of_one_tenant_do_not_speak_for_another(
    auth: ClientAuth, provider: Provider, backend: Backend, tenants: Tenants, is_required: bool
) -> None:
    if is_required:
        require(backend, tenants, "other", tcp={"basic-auth": REQUIRED})
    connection = FakeConnection(1)
    await auth.connected(connection.real, connect("ann@acme", b"secret"))
    assert await speak(auth, connection, "acme") == ""
    assert await speak(auth, connection, "other") == "the client's credentials are those of another tenant"
    assert connection.is_open is not is_required


async def test_a_required_password_is_asked_for_when_the_client_connects(
    auth: ClientAuth, provider: Provider, backend: Backend, tenants: Tenants, own: KeyPair
) -> None:
    require(backend, tenants, tcp={"basic-auth": REQUIRED}, tls={"basic-auth": REQUIRED})
    assert await auth.connected(FakeConnection(1).real, connect()) is ReasonCode.NOT_AUTHORIZED
    assert await auth.connected(FakeConnection(2, "tls", der(own)).real, connect()) is ReasonCode.NOT_AUTHORIZED
    assert await auth.connected(FakeConnection(3, "ws").real, connect()) is ReasonCode.SUCCESS
    assert await auth.connected(FakeConnection(4).real, connect("ann@default", b"x")) is ReasonCode.SUCCESS


async def test_what_another_tenant_requires_is_asked_for_when_the_client_speaks_for_it(
    auth: ClientAuth, provider: Provider, backend: Backend, tenants: Tenants
) -> None:
    require(backend, tenants, "acme", tcp={"basic-auth": REQUIRED})
    connection = FakeConnection(1)
    assert await auth.connected(connection.real, connect()) is ReasonCode.SUCCESS
    assert await speak(auth, connection, "acme") == "a username and a password are required"
    assert connection.closed == [("a username and a password are required", ReasonCode.NOT_AUTHORIZED)]


async def test_what_is_required_from_now_on_ends_those_who_have_not_shown_it(
    auth: ClientAuth, provider: Provider, backend: Backend, tenants: Tenants, own: KeyPair
) -> None:
    anonymous, known, other = FakeConnection(1), FakeConnection(2), FakeConnection(3, "ws")
    certified, quiet, active = (FakeConnection(n, "tls", der(own) if n == 4 else None) for n in (4, 5, 6))
    deciding = FakeConnection(7, is_open=False)
    for connection in (anonymous, other, certified, quiet, active, deciding):
        await auth.connected(connection.real, connect())
    await auth.connected(known.real, connect("ann@default", b"secret"))
    await speak(auth, active)
    require(backend, tenants, tcp={"basic-auth": REQUIRED}, tls={"x509-auth": REQUIRED})
    await auth.enforce()
    every = (anonymous, known, other, certified, quiet, active, deciding)
    assert [connection.id for connection in every if connection.closed] == [anonymous.id, active.id]


async def test_requirements_are_enforced_as_soon_as_they_change(
    auth: ClientAuth, provider: Provider, backend: Backend, tenants: Tenants
) -> None:
    connection = FakeConnection(1)
    await auth.connected(connection.real, connect())
    failures = iter([True, False])

    def fail_once() -> None:
        if next(failures, False):
            raise Unavailable("not now")

    backend.on_tenant_lookup = fail_once
    async with asyncio.TaskGroup() as tasks:
        enforcing = tasks.create_task(auth.keep_enforcing())
        require(backend, tenants, tcp={"basic-auth": REQUIRED})
        async with asyncio.timeout(10):
            while connection.is_open:
                await asyncio.sleep(0.01)
        enforcing.cancel()


async def test_withdrawn_credentials_end_their_connections_and_no_other(auth: ClientAuth, provider: Provider) -> None:
    first, second, other = FakeConnection(1), FakeConnection(2), FakeConnection(3)
    for connection, name in ((first, "ann"), (second, "ann"), (other, "bob")):
        await auth.connected(connection.real, connect(f"{name}@acme", b"secret"))
    assert sorted(auth.credentials_in_use()) == ["of ann", "of bob"]
    assert [auth.end_clients("of ann"), auth.end_clients("of ann")] == [2, 0]
    assert (first.is_open, second.is_open, other.is_open) == (False, False, True)
    for connection in (first, second):
        auth.disconnected(connection.real)
    assert list(auth.credentials_in_use()) == ["of bob"]


@pytest.mark.parametrize("how", ["the same", "another", "so many", "a lost connection"])
async def test_an_answer_that_a_withdrawal_has_overtaken_is_refused(
    auth: ClientAuth, provider: Provider, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("kpc.client_auth.MAX_WITHDRAWN", 2)

    def withdraw() -> None:
        if how == "a lost connection":
            auth._withdrawals.add_everything()
        names = {"the same": ["of ann"], "another": ["of bob"], "so many": ["of ann", "x", "y", "z"]}
        for name in names.get(how, ()):
            auth.end_clients(name)

    provider.before_answer = withdraw
    reason_code = await auth.connected(FakeConnection(1).real, connect("ann@acme", b"secret"))
    assert reason_code is (ReasonCode.SUCCESS if how == "another" else ReasonCode.NOT_AUTHORIZED)
    provider.before_answer = None
    again = await auth.connected(FakeConnection(2).real, connect("ann@acme", b"secret"))
    assert again is ReasonCode.SUCCESS  # they were made active again meanwhile


async def test_a_certificate_that_expires_ends_its_connection(
    auth: ClientAuth, provider: Provider, own: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, speaking = (FakeConnection(number, "tls", certificate=der(own)) for number in (1, 2))
    for connection in (silent, speaking):
        assert await auth.connected(connection.real, connect()) is ReasonCode.SUCCESS
    await auth.enforce()
    assert await speak(auth, speaking) == ""
    ends = x509.load_der_x509_certificate(der(own)).not_valid_after_utc.timestamp() * 1000
    monkeypatch.setattr("kpc.client_auth.now_ms", lambda: ends)
    assert await speak(auth, speaking) == "the certificate has expired"
    await auth.enforce()
    assert [connection.closed for connection in (silent, speaking)] == [
        [("the certificate has expired", ReasonCode.NOT_AUTHORIZED)]
    ] * 2


async def test_the_same_credentials_are_recognised_on_another_connection(auth: ClientAuth, provider: Provider) -> None:
    anonymous = [FakeConnection(number) for number in (1, 2)]
    for connection in anonymous:
        await auth.connected(connection.real, connect())
    known = [FakeConnection(number) for number in (3, 4, 5)]
    for connection, name in zip(known, ("ann", "ann", "bob"), strict=True):
        await auth.connected(connection.real, connect(f"{name}@acme", b"secret"))
    assert auth.are_the_same(known[0].real, known[1].real)
    assert not auth.are_the_same(known[0].real, known[2].real)
    assert not auth.are_the_same(anonymous[0].real, anonymous[1].real)
