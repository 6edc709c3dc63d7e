import logging
from typing import Any

import httpx
import pytest

from creds.clients import basic
from creds.clients.app import Clients
from creds.clients.bus_api import ATTEMPTS
from creds.clients.lifecycle import Lifecycle
from creds.clients.model import State
from kaa_common.clock import Deadline
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientBasicAuthenticationResponse,
    ClientCertificateAuthenticationRequest,
    ClientCertificateAuthenticationResponse,
)
from kaa_common.messages.cop import ASK_USABLE_CREDENTIALS, UsableCredentialsRequest
from kaa_common.messages.ecap import (
    VALIDATE_CERTIFICATE,
    VALIDATE_USERNAME_PASSWORD,
    ClientCertificateValidationRequest,
    ClientCertificateValidationResponse,
    ClientUsernamePasswordValidationRequest,
    ClientUsernamePasswordValidationResponse,
)
from kaa_common.messages.tap import GET_CERTIFICATE_AUTHORITIES, CertificateAuthoritiesRequest
from kaa_common.rpc import Rpc, request_header

pytestmark = [
    pytest.mark.parametrize("store", ["sqlite"], indirect=True),
    pytest.mark.usefixtures("served_clients"),
]

PASSWORD = "correct horse"


class Asking:
    """Somebody who asks what a communication service asks, in the words of either protocol."""

    def __init__(self, rpc: Rpc, suffix: str) -> None:
        self._rpc = rpc
        self._ccm, self._cm = f"ccm-{suffix}", f"cm-{suffix}"

    async def cap_basic(self, tenant_id: str, username: str, password: str) -> ClientBasicAuthenticationResponse:
        request = ClientBasicAuthenticationRequest(
            **request_header(Deadline.after(5)), tenant_id=tenant_id, username=username, password=password
        )
        return (await self._rpc.call(AUTHENTICATE_BASIC, self._ccm, request)).message

    async def ecap_basic(self, username: str | None, password: str | None) -> ClientUsernamePasswordValidationResponse:
        request = ClientUsernamePasswordValidationRequest(
            **request_header(Deadline.after(5)), username=username, password=password
        )
        return (await self._rpc.call(VALIDATE_USERNAME_PASSWORD, self._cm, request)).message

    async def cap_certificate(self, issuer: str, serial_number: str) -> ClientCertificateAuthenticationResponse:
        request = ClientCertificateAuthenticationRequest(
            **request_header(Deadline.after(5)), issuer=issuer, serial_number=serial_number
        )
        return (await self._rpc.call(AUTHENTICATE_CERTIFICATE, self._ccm, request)).message

    async def ecap_certificate(self, issuer: str, serial_number: str) -> ClientCertificateValidationResponse:
        request = ClientCertificateValidationRequest(
            **request_header(Deadline.after(5)), issuer=issuer, serial_number=serial_number
        )
        return (await self._rpc.call(VALIDATE_CERTIFICATE, self._cm, request)).message


@pytest.fixture
def asking(rpc: Rpc, suffix: str) -> Asking:
    return Asking(rpc, suffix)


async def test_a_password_is_right_in_both_protocols(asking: Asking, clients: Clients) -> None:
    created = (await clients.basic.create("tenant", "user", PASSWORD)).credentials
    cap, ecap = await asking.cap_basic("tenant", "user", PASSWORD), await asking.ecap_basic("user@tenant", PASSWORD)
    assert (cap.status_code, cap.credentials_id, cap.client_id, cap.reason_phrase) == (200, created.id, None, None)
    assert (ecap.status_code, ecap.credential_id, ecap.client_id, ecap.reason_phrase) == (200, created.id, None, None)
    assert (await clients.basic.lifecycle.get("tenant", created.id)).state is State.ACTIVE


async def test_a_certificate_is_known_in_both_protocols(asking: Asking, clients: Clients) -> None:
    issued = (await clients.certificates.issue("tenant", "device", 60)).credentials
    cap = await asking.cap_certificate("CN=tenant", issued.serial_number)
    ecap = await asking.ecap_certificate("CN=tenant", issued.serial_number)
    assert (cap.status_code, cap.tenant_id, cap.credentials_id, cap.client_id) == (200, "tenant", issued.id, None)
    assert (ecap.status_code, ecap.credential_id, ecap.client_id) == (200, issued.id, None)
    assert (await clients.certificates.lifecycle.get("tenant", issued.id)).state is State.ACTIVE


async def test_what_is_wrong_with_a_password_is_said_in_both_protocols(asking: Asking, clients: Clients) -> None:
    for username, state in (("one", State.SUSPENDED), ("two", State.REVOKED)):
        created = (await clients.basic.create("tenant", username, PASSWORD)).credentials
        await clients.basic.lifecycle.move("tenant", created.id, state, lambda _: None)
    await clients.basic.create("tenant", "user", PASSWORD)
    cases = (
        ("one", PASSWORD, 403, "the credentials are suspended"),
        ("two", PASSWORD, 403, "the credentials are revoked"),
        ("user", "battery staple", 404, "unknown username or wrong password"),
        ("nobody", PASSWORD, 404, "unknown username or wrong password"),
        ("", PASSWORD, 400, "username: 1 to 64 letters, digits and . _ ~ -"),
        ("user", "", 400, "password: 8 to 128 characters other than control characters"),
    )
    for username, password, status_code, reason in cases:
        cap = await asking.cap_basic("tenant", username, password)
        ecap = await asking.ecap_basic(f"{username}@tenant", password)
        assert (cap.status_code, cap.reason_phrase, cap.credentials_id) == (status_code, reason, None)
        assert (ecap.status_code, ecap.reason_phrase, ecap.credential_id) == (status_code, reason, None)


@pytest.mark.parametrize(
    ("username", "password"), [(None, PASSWORD), ("user@tenant", None), ("user", PASSWORD), ("user@a b", PASSWORD)]
)
async def test_half_of_a_username_and_password_is_malformed(
    asking: Asking, username: str | None, password: str | None
) -> None:
    assert (await asking.ecap_basic(username, password)).status_code == 400


async def test_what_is_wrong_with_a_certificate_is_said_in_both_protocols(asking: Asking, clients: Clients) -> None:
    numbers = {}
    for state in (State.SUSPENDED, State.REVOKED):
        issued = (await clients.certificates.issue("tenant", "device", 60)).credentials
        await clients.certificates.lifecycle.move("tenant", issued.id, state, lambda _: None)
        numbers[state] = issued.serial_number
    cases = (
        ("CN=tenant", numbers[State.SUSPENDED], 403, "the credentials are suspended"),
        ("CN=tenant", numbers[State.REVOKED], 403, "the credentials are revoked"),
        ("CN=other", numbers[State.REVOKED], 404, "unknown certificate"),
        ("CN=tenant", "7", 404, "unknown certificate"),
        ("tenant", "7", 400, "issuer: CN=<common name> is expected"),
        ("CN=tenant", "0x7", 400, "serialNumber: a decimal number of at most 49 digits is expected"),
    )
    for issuer, number, status_code, reason in cases:
        cap, ecap = await asking.cap_certificate(issuer, number), await asking.ecap_certificate(issuer, number)
        assert (cap.status_code, cap.reason_phrase) == (status_code, reason)
        assert (cap.tenant_id, cap.credentials_id) == (None, None)
        assert (ecap.status_code, ecap.reason_phrase, ecap.credential_id) == (status_code, reason, None)


async def test_guessing_comes_to_an_end_in_both_protocols_together(asking: Asking, clients: Clients) -> None:
    await clients.basic.create("tenant", "user", PASSWORD)
    for number in range(basic.USERNAME_BURST):
        assert (await asking.cap_basic("tenant", "user", f"guess number {number}")).status_code == 404
    cap, ecap = await asking.cap_basic("tenant", "user", PASSWORD), await asking.ecap_basic("user@tenant", PASSWORD)
    assert (cap.status_code, ecap.status_code) == (429, 429)
    assert cap.reason_phrase == "too many failed attempts with this username; try again later"


async def test_attempts_are_counted_by_kind_and_status(asking: Asking, clients: Clients) -> None:
    def counted(kind: str, status: str) -> float:
        return float(ATTEMPTS.labels(kind, status)._value.get())

    labels = [("basic", "200"), ("basic", "404"), ("x509", "404"), ("x509", "400")]
    before = [counted(*label) for label in labels]
    await clients.basic.create("tenant", "user", PASSWORD)
    await asking.cap_basic("tenant", "user", PASSWORD)
    await asking.ecap_basic("user@tenant", PASSWORD)
    await asking.cap_basic("tenant", "nobody", PASSWORD)
    await asking.cap_certificate("CN=tenant", "7")
    await asking.ecap_certificate("tenant", "7")
    assert [counted(*label) - was for label, was in zip(labels, before, strict=True)] == [2, 1, 1, 1]


async def test_no_password_is_logged(asking: Asking, clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await clients.basic.create("tenant", "user", "s3cr3t s3cr3t")
    for password in ("s3cr3t s3cr3t", "s3cr3t s3cr3t s3cr3t", "s3cr3t"):
        await asking.cap_basic("tenant", "user", password)
        await asking.ecap_basic("user", password)
    assert "s3cr3t" not in caplog.text


async def test_the_credentials_that_may_be_used_are_told_from_the_others(
    clients: Clients, ccm: httpx.AsyncClient, rpc: Rpc, suffix: str
) -> None:
    ids = [(await ccm.post("/basic-credentials", json={})).json()["id"] for _ in range(3)]
    ids += [(await ccm.post("/x509-credentials", json={})).json()["id"] for _ in range(3)]
    for kind, suspended, deleted in (("basic", ids[0], ids[1]), ("x509", ids[3], ids[4])):
        await clients_of(clients, kind).move("tenant", suspended, State.SUSPENDED, lambda _: None)
        await clients_of(clients, kind).delete("tenant", deleted, lambda _: None)
    request = UsableCredentialsRequest(**request_header(Deadline.after(5)), credentials_ids=(*ids, "unknown"))
    response = (await rpc.call(ASK_USABLE_CREDENTIALS, f"ccm-{suffix}", request)).message
    assert (response.status_code, set(response.credentials_ids)) == (200, {ids[2], ids[5]})


def clients_of(clients: Clients, kind: str) -> Lifecycle[Any]:
    return clients.basic.lifecycle if kind == "basic" else clients.certificates.lifecycle


async def test_the_authorities_of_a_tenant_are_told_on_the_bus(ccm: httpx.AsyncClient, rpc: Rpc, suffix: str) -> None:
    for tenant_id, status_code in (("tenant", 200), ("no tenant", 400)):
        request = CertificateAuthoritiesRequest(**request_header(Deadline.after(5)), tenant_id=tenant_id)
        response = (await rpc.call(GET_CERTIFICATE_AUTHORITIES, f"ccm-{suffix}", request)).message
        expected = (await ccm.get("/ca-certificates")).text if status_code == 200 else None
        assert (response.status_code, response.certificates) == (status_code, expected)
