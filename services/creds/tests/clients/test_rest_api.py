import logging
import re

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from creds.clients import pki
from creds.clients.app import Clients
from kaa_common.errors import Forbidden, NotFound
from support.openapi import undocumented

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
BASIC, X509 = "/basic-credentials", "/x509-credentials"
SHOWN = {"id", "tenantId", "state", "createdDate", "updatedDate"}
OF_BASIC = {*SHOWN, "username"}
OF_X509 = {*SHOWN, "commonName", "serialNumber", "issuer", "validUntil"}
NOBODY: dict[str, list[object]] = {"confirmed": [], "pending": []}


async def create(ccm: httpx.AsyncClient, path: str, **body: object) -> httpx.Response:
    created = await ccm.post(path, json=body)
    assert created.status_code == 201
    return created


async def test_created_basic_credentials_are_shown_once(ccm: httpx.AsyncClient, clients: Clients) -> None:
    created = await create(ccm, BASIC)
    body = created.json()
    assert set(body) == {*OF_BASIC, "password"}
    assert body["state"] == "Inactive"
    assert TIMESTAMP.fullmatch(body["createdDate"])
    assert created.headers["Location"] == f"http://test/ccm/api/v1{BASIC}/{body['id']}"
    assert created.headers["ETag"] == '"1"'
    assert created.headers["Cache-Control"] == "no-store"
    assert (await clients.basic.authenticate("tenant", body["username"], body["password"])).id == body["id"]
    for path in (BASIC, created.headers["Location"]):
        assert body["password"] not in (await ccm.get(path)).text


async def test_given_basic_credentials_are_taken_once(ccm: httpx.AsyncClient) -> None:
    body = {"username": "user", "password": "correct horse"}
    assert body.items() <= (await create(ccm, BASIC, **body)).json().items()
    again = await ccm.post(BASIC, json=body)
    assert (again.status_code, again.json()) == (409, {"message": "username: it is taken"})


async def test_an_issued_certificate_is_shown_once(ccm: httpx.AsyncClient, clients: Clients) -> None:
    created = await create(ccm, X509, commonName="pump-7", ttl=3600)
    body = created.json()
    assert set(body) == {*OF_X509, "certificateChain", "privateKey"}
    assert (body["commonName"], body["issuer"], body["state"]) == ("pump-7", "CN=tenant", "Inactive")
    assert created.headers["Location"] == f"http://test/ccm/api/v1{X509}/{body['id']}"
    assert created.headers["ETag"] == '"1"'
    leaf, authority = x509.load_pem_x509_certificates(body["certificateChain"].encode())
    assert (body["serialNumber"], leaf.issuer) == (str(leaf.serial_number), authority.subject)
    key = serialization.load_pem_private_key(body["privateKey"].encode(), None)
    assert key.public_key() == leaf.public_key()
    assert (await clients.certificates.authenticate(body["issuer"], body["serialNumber"])).id == body["id"]
    for path in (X509, created.headers["Location"]):
        assert "BEGIN" not in (await ccm.get(path)).text


async def test_a_signing_request_is_answered_without_a_private_key(ccm: httpx.AsyncClient) -> None:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(pki.new_key(), hashes.SHA256())
    csr = request.public_bytes(serialization.Encoding.PEM).decode()
    body = (await create(ccm, X509, csr=csr, commonName="pump-7")).json()
    assert set(body) == {*OF_X509, "certificateChain"}
    assert x509.load_pem_x509_certificate(body["certificateChain"].encode()).public_key() == request.public_key()


async def test_the_authorities_are_downloaded_as_pem(ccm: httpx.AsyncClient) -> None:
    answer = await ccm.get("/ca-certificates")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-pem-file")
    assert 'filename="ca.pem"' in answer.headers["Content-Disposition"]
    chain = (await create(ccm, X509)).json()["certificateChain"]
    _, tenant = x509.load_pem_x509_certificates(chain.encode())
    root, same_tenant = x509.load_pem_x509_certificates(answer.content)
    assert tenant == same_tenant
    tenant.verify_directly_issued_by(root)
    assert (await ccm.get("/ca-certificates")).text == answer.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (BASIC, '{"username": "a b"}', "username"),
        (BASIC, '{"username": ""}', "username"),
        (BASIC, '{"username": 7}', "username"),
        (BASIC, '{"password": "short"}', "password"),
        (BASIC, '{"password": "with a \\u0000 in it"}', "password"),
        (BASIC, '{"user": "a"}', "user"),
        (X509, '{"commonName": "a b"}', "commonName"),
        (X509, '{"commonName": "a..b"}', "commonName"),
        (X509, '{"ttl": 0}', "ttl"),
        (X509, '{"ttl": "365d"}', "ttl"),
        (X509, '{"ttl": 999999999}', "ttl"),
        (X509, '{"csr": "x"}', "csr"),
        (BASIC, "[]", "body"),
        (X509, "{", ""),
    ],
)
async def test_bad_input_is_refused_naming_the_field(ccm: httpx.AsyncClient, path: str, body: str, field: str) -> None:
    answer = await ccm.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert field in answer.json()["message"]
    assert (await ccm.get(path)).json() == []


@pytest.mark.parametrize(("path", "fields"), [(BASIC, OF_BASIC), (X509, OF_X509)])
async def test_credentials_are_listed_in_the_order_of_creation_page_by_page(
    ccm: httpx.AsyncClient, path: str, fields: set[str]
) -> None:
    assert (await ccm.get(path)).json() == []
    created = [(await create(ccm, path)).json()["id"] for _ in range(5)]
    whole = await ccm.get(path)
    assert "Link" not in whole.headers
    listed = whole.json()
    assert {item["id"] for item in listed} == set(created)
    assert [item["createdDate"] for item in listed] == sorted(item["createdDate"] for item in listed)
    assert all(set(item) == fields for item in listed)
    pages, following = [], f"{path}?limit=2"
    while following:
        page = await ccm.get(following)
        pages.append(page.json())
        following = page.links.get("next", {}).get("url", "")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item for page in pages for item in page] == listed


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "limit=x"])
async def test_a_bad_query_is_refused(ccm: httpx.AsyncClient, query: str) -> None:
    assert (await ccm.get(f"{BASIC}?{query}")).status_code == 400


@pytest.mark.parametrize("path", [BASIC, X509])
async def test_credentials_are_shown_with_their_etag(ccm: httpx.AsyncClient, path: str) -> None:
    created = await create(ccm, path)
    shown = await ccm.get(created.headers["Location"])
    assert (shown.status_code, shown.headers["ETag"]) == (200, '"1"')
    assert shown.json().items() <= created.json().items()
    unchanged = await ccm.get(created.headers["Location"], headers={"If-None-Match": '"1"'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", '"1"')
    assert (await ccm.get(f"{path}/unknown")).status_code == 404


@pytest.mark.parametrize("path", [BASIC, X509])
async def test_the_state_is_changed(ccm: httpx.AsyncClient, path: str) -> None:
    one = (await create(ccm, path)).headers["Location"]
    changed = await ccm.put(f"{one}/status", json={"status": "Suspended"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["state"], changed.headers["ETag"]) == (200, "Suspended", '"2"')
    assert NOBODY.items() <= changed.json()["cutOff"].items()
    stale = await ccm.put(f"{one}/status", json={"status": "Revoked"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    active = await ccm.put(f"{one}/status", json={"status": "Active"})
    assert (active.status_code, active.json()["state"], "cutOff" in active.json()) == (200, "Active", False)
    illegal = await ccm.put(f"{one}/status", json={"status": "Inactive"})
    assert (illegal.status_code, illegal.json()) == (409, {"message": "credentials cannot go from Active to Inactive"})
    unknown = await ccm.put(f"{one}/status", json={"status": "Gone"})
    assert (unknown.status_code, unknown.json()["message"].partition(":")[0]) == (400, "body.status")
    assert (await ccm.put(f"{path}/other/status", json={"status": "Active"})).status_code == 404
    assert (await ccm.get(one)).json() == {key: value for key, value in active.json().items() if key != "cutOff"}


@pytest.mark.parametrize("path", [BASIC, X509])
async def test_credentials_are_deleted(ccm: httpx.AsyncClient, path: str) -> None:
    one = (await create(ccm, path)).headers["Location"]
    assert (await ccm.delete(one, headers={"If-Match": '"9"'})).status_code == 412
    deleted = await ccm.delete(one)
    assert deleted.status_code == 200
    assert NOBODY.items() <= deleted.json()["cutOff"].items()
    assert (await ccm.delete(one)).status_code == 404
    assert (await ccm.get(path)).json() == []


async def test_the_last_use_is_shown_once_there_was_one(ccm: httpx.AsyncClient, clients: Clients) -> None:
    created = (await create(ccm, BASIC)).json()
    await clients.basic.authenticate("tenant", created["username"], created["password"])
    [listed] = (await ccm.get(BASIC)).json()
    assert TIMESTAMP.fullmatch(listed["lastUseDate"])
    assert listed["lastUseDate"] >= listed["createdDate"]
    assert (await ccm.get(f"{BASIC}/{created['id']}")).json() == listed


async def test_the_two_kinds_are_apart(ccm: httpx.AsyncClient) -> None:
    basic, certificate = (await create(ccm, BASIC)).json(), (await create(ccm, X509)).json()
    assert (await ccm.get(f"{X509}/{basic['id']}")).status_code == 404
    assert (await ccm.delete(f"{BASIC}/{certificate['id']}")).status_code == 404


async def test_a_suspension_is_in_force_when_it_is_answered(ccm: httpx.AsyncClient, clients: Clients) -> None:
    created = (await create(ccm, BASIC)).json()
    user = (created["username"], created["password"])
    await clients.basic.authenticate("tenant", *user)
    await ccm.put(f"{BASIC}/{created['id']}/status", json={"status": "Suspended"})
    with pytest.raises(Forbidden):
        await clients.basic.authenticate("tenant", *user)
    await ccm.delete(f"{BASIC}/{created['id']}")
    with pytest.raises(NotFound):
        await clients.basic.authenticate("tenant", *user)


async def test_no_secret_is_logged(ccm: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for password in ("s3cr3t s3cr3t", "s3cr3t", "s3cr3t\0s3cr3t"):
        await ccm.post(BASIC, json={"username": "user", "password": password})
    await ccm.post(BASIC, content=b'{"password": "s3cr3t s3cr3t"', headers={"Content-Type": "application/json"})
    key = (await create(ccm, X509)).json()["privateKey"].splitlines()[1]
    assert "s3cr3t" not in caplog.text
    assert key not in caplog.text


async def test_an_api_key_is_required(ccm: httpx.AsyncClient) -> None:
    del ccm.headers["X-API-Key"]
    for path in (BASIC, X509, "/ca-certificates"):
        assert (await ccm.get(path)).status_code == 401


async def test_the_openapi_document_is_complete(ccm: httpx.AsyncClient) -> None:
    document = (await ccm.get("/openapi.json")).json()
    operations = {
        (method.upper(), path.removeprefix("/ccm/api/v1")): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    one = "/{id}"
    assert set(operations) == {
        *((method, path) for method in ("GET", "POST") for path in (BASIC, X509)),
        *((method, path + one) for method in ("GET", "DELETE") for path in (BASIC, X509)),
        *(("PUT", f"{path}{one}/status") for path in (BASIC, X509)),
        ("GET", "/ca-certificates"),
    }
    for (method, path), operation in operations.items():
        assert {"400", "401", "500", "503"} <= operation["responses"].keys()
        assert ("404" in operation["responses"]) == (one in path), path
        assert ("409" in operation["responses"]) == (method == "PUT" or (method, path) == ("POST", BASIC))
    assert list(operations["GET", "/ca-certificates"]["responses"]["200"]["content"]) == ["application/x-pem-file"]
    assert undocumented(document) == []
