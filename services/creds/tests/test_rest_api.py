import logging
import re

import httpx
import pytest

from creds.model import TokenStatus
from creds.tokens import Tokens
from kaa_common.errors import NotFound
from kaa_common.messages.ecap import EndpointTokenRevokedEvent
from kaa_common.messages.epmmp import GET_METADATA, EndpointMetadataGetRequest, EndpointMetadataGetResponse
from kaa_common.rpc import Reply, Rpc, answer_header
from support.openapi import undocumented

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PATH = "/endpoints/endpoint/tokens"


@pytest.fixture(autouse=True)
async def register(rpc: Rpc, suffix: str) -> None:
    """A register that knows one endpoint, of the application `app`."""

    async def get_metadata(request: EndpointMetadataGetRequest) -> Reply[EndpointMetadataGetResponse]:
        if request.endpoint_id != "endpoint":
            raise NotFound("unknown endpoint")
        return Reply(
            EndpointMetadataGetResponse(
                **answer_header(request), endpoint_id="endpoint", status_code=200, app_version_name="app-v1"
            )
        )

    await rpc.serve(GET_METADATA, f"epr-{suffix}", get_metadata)


async def provision(client: httpx.AsyncClient, **token: str) -> httpx.Response:
    return await client.post(PATH, json={"applicationName": "app", **token})


async def test_a_provisioned_token_is_shown_once(client: httpx.AsyncClient, tokens: Tokens) -> None:
    created = await provision(client)
    assert created.status_code == 201
    body = created.json()
    assert created.headers["Cache-Control"] == "no-store"
    assert set(body) == {"token", "endpointTokenId", "applicationName", "status", "createdDate"}
    assert (body["applicationName"], body["status"]) == ("app", "Inactive")
    assert TIMESTAMP.fullmatch(body["createdDate"])
    assert created.headers["Location"] == f"http://test/cm/api/v1{PATH}/{body['endpointTokenId']}"
    assert created.headers["ETag"] == '"1"'
    assert (await tokens.validate("app", body["token"])).id == body["endpointTokenId"]
    assert body["token"] not in (await client.get(PATH)).text


async def test_a_token_is_shown_without_its_value(client: httpx.AsyncClient) -> None:
    created = await provision(client, token="t0ken")
    shown = await client.get(created.headers["Location"])
    assert (shown.status_code, shown.headers["ETag"]) == (200, '"1"')
    assert shown.json() == {key: value for key, value in created.json().items() if key != "token"}
    unchanged = await client.get(created.headers["Location"], headers={"If-None-Match": '"1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await client.get(f"{PATH}/unknown")).status_code == 404


async def test_a_provided_token_is_taken_once(client: httpx.AsyncClient) -> None:
    assert (await provision(client, token="t0ken")).json()["token"] == "t0ken"
    again = await provision(client, token="t0ken")
    assert (again.status_code, again.json()) == (409, {"message": "the endpoint has this token already"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"applicationName": "app", "token": ""}', "token: "),
        ('{"applicationName": "app", "token": "a/b"}', "token: "),
        ('{"applicationName": "app", "token": "a\\u0000"}', "token: "),
        ('{"applicationName": "app", "token": 7}', "token: "),
        ('{"applicationName": "other"}', "applicationName: "),
        ('{"applicationName": "app", "x": 1}', "x: "),
        ("{}", "applicationName: "),
        ("[]", "body: "),
        ("{", "JSON"),
    ],
)
async def test_a_bad_request_for_a_token_is_refused_naming_the_field(
    client: httpx.AsyncClient, body: str, field: str
) -> None:
    answer = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert field in answer.json()["message"]


async def test_a_token_for_an_unknown_endpoint_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post("/endpoints/other/tokens", json={"applicationName": "app"})
    assert (answer.status_code, answer.json()) == (404, {"message": "no endpoint with this id"})


async def test_tokens_are_listed_the_newest_first(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).json() == {"content": [], "totalElements": 0}
    created = [(await provision(client)).json() for _ in range(3)]
    listed = (await client.get(PATH)).json()
    assert listed["totalElements"] == 3
    dates = [item["createdDate"] for item in listed["content"]]
    assert dates == sorted(dates, reverse=True)
    for item in listed["content"]:
        assert set(item) == {"endpointTokenId", "applicationName", "status", "createdDate"}
    assert {item["endpointTokenId"] for item in listed["content"]} == {body["endpointTokenId"] for body in created}


async def test_a_page_of_the_tokens_is_listed(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await provision(client)
    ascending = (await client.get(PATH, params={"order": "ASC"})).json()["content"]
    page = (await client.get(PATH, params={"order": "ASC", "offset": 1, "limit": 1})).json()
    assert page == {"content": ascending[1:2], "totalElements": 3}
    assert (await client.get(PATH)).json()["content"] == ascending[::-1]


async def test_tokens_are_listed_by_status(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for token in ("one", "two", "three"):
        await provision(client, token=token)
    await tokens.validate("app", "one")
    await tokens.move("app", "two", TokenStatus.SUSPENDED)
    answer = await client.get(PATH, params=[("status", "Active"), ("status", "Suspended")])
    assert {item["status"] for item in answer.json()["content"]} == {"Active", "Suspended"}
    assert answer.json()["totalElements"] == 2


@pytest.mark.parametrize("query", ["status=Gone", "status=", "limit=0", "limit=1001", "offset=-1", "order=UP"])
async def test_a_bad_query_is_refused_naming_the_parameter(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"query.{query.partition('=')[0]}")


async def test_a_path_that_no_endpoint_has_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/endpoints/a%20b/tokens")
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("path.endpointId: ")


async def test_a_reader_who_has_the_list_gets_304(client: httpx.AsyncClient, tokens: Tokens) -> None:
    await provision(client, token="t0ken")
    first = await client.get(PATH)
    etag = first.headers["ETag"]
    unchanged = await client.get(PATH, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    await tokens.validate("app", "t0ken")
    changed = await client.get(PATH, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
    assert TIMESTAMP.fullmatch(changed.json()["content"][0]["updateDate"])


async def test_a_status_is_changed(
    client: httpx.AsyncClient, tokens: Tokens, revoked: list[EndpointTokenRevokedEvent]
) -> None:
    created = await provision(client, token="t0ken")
    path = f"{PATH}/{created.json()['endpointTokenId']}/status"
    changed = await client.put(path, json={"status": "Suspended"}, headers={"If-Match": created.headers["ETag"]})
    assert (changed.status_code, changed.json()["status"], changed.headers["ETag"]) == (200, "Suspended", '"2"')
    stale = await client.put(path, json={"status": "Revoked"}, headers={"If-Match": created.headers["ETag"]})
    assert stale.status_code == 412
    assert (await client.put(path, json={"status": "Inactive"})).status_code == 409
    assert (await client.put(path, json={"status": "Gone"})).status_code == 400
    assert (await client.put(path, json={"status": "Active"})).status_code == 200
    assert (await client.put(f"{PATH}/other/status", json={"status": "Active"})).status_code == 404
    assert (await client.put(path.replace("endpoint/", "other/"), json={"status": "Active"})).status_code == 404


async def test_a_token_is_deleted(client: httpx.AsyncClient, tokens: Tokens) -> None:
    created = await provision(client, token="t0ken")
    path = f"{PATH}/{created.json()['endpointTokenId']}"
    assert (await client.delete(path, headers={"If-Match": '"9"'})).status_code == 412
    deleted = await client.delete(path)
    assert deleted.status_code == 200
    assert deleted.json()["cutOff"]["pending"] == []
    assert (await client.delete(path)).status_code == 404
    with pytest.raises(NotFound):
        await tokens.validate("app", "t0ken")


async def test_no_token_is_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    created = await provision(client, token="s3cr3t")
    await provision(client, token="s3cr3t")
    await provision(client, token="s3cr3t/malformed")
    await client.post(PATH, content=b'{"token": "s3cr3t"', headers={"Content-Type": "application/json"})
    await client.delete(f"{PATH}/{created.json()['endpointTokenId']}")
    assert "s3cr3t" not in caplog.text


async def test_an_api_key_is_required(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    assert (await client.get(PATH)).status_code == 401


async def test_the_openapi_document_is_complete(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    tokens = "/cm/api/v1/endpoints/{endpointId}/tokens"
    codes = {
        (method, path): set(operation["responses"]) - {"400", "401", "403", "500", "503"}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert codes == {
        ("get", tokens): {"200", "304", "404"},
        ("post", tokens): {"201", "404", "409", "413", "504"},
        ("get", f"{tokens}/{{tokenId}}"): {"200", "304", "404"},
        ("put", f"{tokens}/{{tokenId}}/status"): {"200", "404", "409", "412", "413"},
        ("delete", f"{tokens}/{{tokenId}}"): {"200", "404", "412"},
    }
    assert undocumented(document) == []
