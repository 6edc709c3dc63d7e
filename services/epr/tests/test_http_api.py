import asyncio
from typing import Any
from uuid import UUID

import httpx

from kaa_common import jsontext
from kaa_common.errors import Unavailable

from .conftest import API_KEY, NASTY, FakeCreds, on_one_store

JSON = {"Content-Type": "application/json"}


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


async def registered(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}, **body})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["endpointId"])


async def test_an_endpoint_is_registered(client: httpx.AsyncClient, creds: FakeCreds) -> None:
    answer = await client.post(
        "/endpoints", json={"appVersion": {"name": "kettle-v1"}, "metadata": {"level": 3, "room": 234}}
    )
    body = answer.json()
    assert answer.status_code == 201
    assert body.keys() == {"token", "status", "endpointId"}
    assert body["status"] == "Inactive"
    assert str(UUID(body["endpointId"])) == body["endpointId"]
    assert creds.tokens[("kettle", body["token"])][0] == body["endpointId"]
    assert answer.headers["Location"] == f"http://test/epr/api/v1/endpoints/{body['endpointId']}"
    found = await client.get(answer.headers["Location"], params={"include": "metadata"})
    assert found.json()["metadata"] == {"level": 3, "room": 234}
    assert found.headers["ETag"] == answer.headers["ETag"]


async def test_a_repeated_registration_has_the_same_answer(client: httpx.AsyncClient) -> None:
    body = {"appVersion": {"name": "kettle-v1"}, "endpointId": "A.b_c~d-1", "endpointToken": "token 1"}
    first, second = [await client.post("/endpoints", json=body) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json() == {"token": "token 1", "status": "Inactive", "endpointId": "A.b_c~d-1"}


async def test_a_taken_id_or_token_is_a_conflict(client: httpx.AsyncClient) -> None:
    await registered(client, endpointId="id-1", endpointToken="token1")
    for body in ({"endpointId": "id-1"}, {"endpointToken": "token1"}, {"endpointId": "id-1", "endpointToken": "t2"}):
        answer = await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}, **body})
        assert answer.status_code == 409
        assert "taken" in answer.json()["message"]


REFUSED_REGISTRATIONS = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 400),
    (b"{}", 400),
    (b'{"appVersion":"kettle-v1"}', 400),
    (b'{"appVersion":{}}', 400),
    (b'{"appVersion":{"name":7}}', 400),
    (b'{"appVersion":{"name":"unknown-v1"}}', 404),
    (b'{"appVersion":{"name":"no.name"}}', 404),
    (b'{"appVersion":{"name":"kettle-v1"},"more":1}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":[]}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":{"a-b":1}}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":{"a":18446744073709551616}}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":{"a":' + nested(32) + b"}}", 400),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":{"a":"' + b"x" * 262_144 + b'"}}', 413),
    (b'{"appVersion":{"name":"kettle-v1"},"metadata":{"a":"' + b"x" * 1_100_000 + b'"}}', 413),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointId":""}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointId":"a/b"}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointId":"a\\n"}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointId":"' + b"x" * 129 + b'"}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointToken":""}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointToken":"a/b"}', 400),
    (b'{"appVersion":{"name":"kettle-v1"},"endpointToken":"a+b"}', 400),
]


@on_one_store
async def test_a_registration_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    for body, status_code in REFUSED_REGISTRATIONS:
        answer = await client.post("/endpoints", content=body, headers=JSON)
        assert answer.status_code == status_code, body[:80]
        assert answer.json()["message"]
    assert (await client.get("/endpoints")).json() == {"totalElements": 0, "content": []}


@on_one_store
async def test_metadata_nests_32_levels(client: httpx.AsyncClient) -> None:
    body = b'{"appVersion":{"name":"kettle-v1"},"endpointId":"id-1","metadata":{"a":' + nested(31) + b"}}"
    assert (await client.post("/endpoints", content=body)).status_code == 201
    assert (await client.put("/endpoints/id-1/metadata", content=b'{"a":' + nested(31) + b"}")).status_code == 204
    assert (await client.put("/endpoints/id-1/metadata", content=b'{"a":' + nested(32) + b"}")).status_code == 400
    assert (await client.put("/endpoints/id-1/metadata/a", content=nested(31))).status_code == 204
    assert (await client.put("/endpoints/id-1/metadata/a", content=nested(32))).status_code == 400


@on_one_store
async def test_a_registration_without_creds_is_503(client: httpx.AsyncClient, creds: FakeCreds) -> None:
    creds.failure = Unavailable("down")
    answer = await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}})
    assert answer.status_code == 503
    assert (await client.get("/endpoints")).json()["totalElements"] == 0


async def test_endpoints_are_listed_by_page_and_filter(client: httpx.AsyncClient) -> None:
    one, two = [await registered(client, metadata={"n": n}) for n in (1, 2)]
    three = await registered(client, appVersion={"name": "toaster-v1"})

    async def listed(**params: Any) -> tuple[int, list[str]]:
        page = (await client.get("/endpoints", params=params)).json()
        return page["totalElements"], [endpoint["endpointId"] for endpoint in page["content"]]

    assert await listed() == (3, [one, two, three])
    assert await listed(offset=1, limit=1) == (3, [two])
    assert await listed(offset=9) == (3, [])
    assert await listed(applicationName="kettle") == (2, [one, two])
    assert await listed(applicationVersionName="toaster-v1") == (1, [three])
    assert await listed(applicationName="kettle", applicationVersionName="toaster-v1") == (0, [])
    assert await listed(endpointId=f"{three},unknown,{one},{three}") == (2, [three, one])
    assert await listed(endpointId=f"{three},{one}", applicationName="kettle") == (1, [one])
    assert await listed(endpointId=f"{three},{one}", limit=1, offset=1) == (2, [one])
    assert await listed(endpointId="") == (0, [])


async def test_a_listed_endpoint_shows_its_metadata_on_demand(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client, metadata={"a": 1})
    [without] = (await client.get("/endpoints")).json()["content"]
    [with_metadata] = (await client.get("/endpoints", params={"include": "metadata"})).json()["content"]
    assert without.keys() == {"endpointId", "createdDate", "appVersion", "metadataUpdatedDate"}
    assert with_metadata == {**without, "metadata": {"a": 1}}
    assert without["appVersion"] == {"name": "kettle-v1", "registeredDate": without["createdDate"]}
    assert (await client.get(f"/endpoints/{endpoint_id}")).json() == without


@on_one_store
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    too_many = ",".join(map(str, range(1001)))
    for query in ("limit=0", "limit=1001", "limit=x", "offset=-1", f"endpointId={too_many}"):
        assert (await client.get(f"/endpoints?{query}")).status_code == 400, query


async def test_an_endpoint_that_was_never_given_metadata_has_no_date_of_it(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client)
    assert "metadataUpdatedDate" not in (await client.get(f"/endpoints/{endpoint_id}")).json()
    await client.put(f"/endpoints/{endpoint_id}/metadata/a", content=b"1")
    assert "metadataUpdatedDate" in (await client.get(f"/endpoints/{endpoint_id}")).json()


async def test_an_endpoint_is_unregistered(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client, metadata={"a": 1})
    answer = await client.delete(f"/endpoints/{endpoint_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/endpoints/{endpoint_id}")).status_code == 404
    assert (await client.get("/endpoints", params={"endpointId": endpoint_id})).json()["totalElements"] == 0
    assert (await client.delete(f"/endpoints/{endpoint_id}")).status_code == 404


async def test_metadata_is_read_and_replaced(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client, metadata={'a': 1, 'b': 2})}/metadata"
    assert (await client.get(url)).json() == {"a": 1, "b": 2}
    assert (await client.get(url, params={"include": "b,x"})).json() == {"b": 2}
    assert (await client.get(url, params={"include": "b,x-y"})).status_code == 400
    before = (await client.get(url)).headers["ETag"]
    answer = await client.put(url, json={"c": None})
    assert (answer.status_code, answer.content) == (204, b"")
    found = await client.get(url)
    assert (found.json(), found.headers["ETag"]) == ({"c": None}, answer.headers["ETag"])
    assert answer.headers["ETag"] != before
    assert (await client.put(url, json={})).status_code == 204
    assert (await client.get(url)).json() == {}


async def test_metadata_is_patched(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client, metadata={'a': 1})}/metadata"
    patch = jsontext.dump([{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/b", "value": [1.0]}])
    answer = await client.patch(url, content=patch, headers={"Content-Type": "application/json-patch+json"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(url)).content == b'{"a":1,"b":[1.0]}'
    assert (await client.get(url)).headers["ETag"] == answer.headers["ETag"]


async def test_single_keys_are_written_read_and_deleted(client: httpx.AsyncClient) -> None:
    endpoint = f"/endpoints/{await registered(client)}"
    for value in (b'"BFG 9000"', b"1.0", b"null", b"false", b'""', b"[{}]", b"18446744073709551615"):
        answer = await client.put(f"{endpoint}/metadata/model", content=value, headers=JSON)
        assert (answer.status_code, answer.content) == (204, b"")
        found = await client.get(f"{endpoint}/metadata/model")
        assert (found.status_code, found.content) == (200, value)
        assert found.headers["ETag"] == answer.headers["ETag"]
    assert (await client.get(f"{endpoint}/metadata-keys")).json() == ["model"]
    assert (await client.delete(f"{endpoint}/metadata/model")).status_code == 204
    assert (await client.get(f"{endpoint}/metadata/model")).status_code == 404
    assert (await client.delete(f"{endpoint}/metadata/model")).status_code == 404
    assert (await client.get(f"{endpoint}/metadata-keys")).json() == []


REFUSED_CHANGES = [
    ("PUT", "metadata", b"[]", 400),
    ("PUT", "metadata", b"", 400),
    ("PUT", "metadata", b'{"a-b":1}', 400),
    ("PUT", "metadata", b'{"a":"\\ud800"}', 400),
    ("PUT", "metadata", b'{"a":{"\\u0000":1}}', 400),
    ("PUT", "metadata", b'{"a":' + nested(200) + b"}", 400),
    ("PUT", "metadata", b'{"a":"' + b"x" * 262_144 + b'"}', 413),
    ("PUT", "metadata", jsontext.dump({f"k{i}": i for i in range(513)}), 413),
    ("PUT", "metadata/a", b"", 400),
    ("PUT", "metadata/a", b"nope", 400),
    ("PUT", "metadata/a", b'"' + b"x" * 262_144 + b'"', 413),
    ("PUT", "metadata/a-b", b"1", 400),
    ("GET", "metadata/a-b", b"", 400),
    ("DELETE", "metadata/a-b", b"", 400),
    ("PATCH", "metadata", b"{", 400),
    ("PATCH", "metadata", b"{}", 400),
    ("PATCH", "metadata", b'[{"op":"nonsense","path":"/a"}]', 400),
    ("PATCH", "metadata", b'[{"op":"test","path":"/a","value":true}]', 422),
    ("PATCH", "metadata", b'[{"op":"remove","path":"/x"}]', 422),
    ("PATCH", "metadata", b'[{"op":"add","path":"/a-b","value":1}]', 422),
    ("PATCH", "metadata", b'[{"op":"add","path":"/b","value":"' + b"x" * 262_144 + b'"}]', 413),
]


@on_one_store
async def test_a_change_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    endpoint = f"/endpoints/{await registered(client, metadata={'a': 1})}"
    before = (await client.get(endpoint)).headers["ETag"]
    for method, path, body, status_code in REFUSED_CHANGES:
        answer = await client.request(method, f"{endpoint}/{path}", content=body)
        assert answer.status_code == status_code, (method, path, body[:80])
        assert answer.json().keys() == {"message"}
    assert (await client.get(f"{endpoint}/metadata")).content == b'{"a":1}'
    assert (await client.get(endpoint)).headers["ETag"] == before


RESOURCES = [
    ("GET", "", b""),
    ("DELETE", "", b""),
    ("GET", "/metadata", b""),
    ("PUT", "/metadata", b'{"a":2}'),
    ("PATCH", "/metadata", b'[{"op":"add","path":"/a","value":2}]'),
    ("GET", "/metadata/a", b""),
    ("PUT", "/metadata/a", b"2"),
    ("DELETE", "/metadata/a", b""),
    ("GET", "/metadata-keys", b""),
]


@on_one_store
async def test_an_unknown_endpoint_is_404_and_no_endpoint_id_400(client: httpx.AsyncClient) -> None:
    for method, path, body in RESOURCES:
        assert (await client.request(method, f"/endpoints/unknown{path}", content=body)).status_code == 404
        assert (await client.request(method, f"/endpoints/a%20b{path}", content=body)).status_code == 400


@on_one_store
async def test_every_call_needs_the_api_key(client: httpx.AsyncClient) -> None:
    calls = [(method, f"/endpoints/id-1{path}") for method, path, _ in RESOURCES]
    for method, path in [*calls, ("POST", "/endpoints"), ("GET", "/endpoints")]:
        answer = await client.request(method, path, headers={"X-API-Key": f"not {API_KEY}"})
        assert answer.status_code == 401, (method, path)


@on_one_store
async def test_a_read_is_304_for_whoever_has_the_revision(client: httpx.AsyncClient) -> None:
    endpoint = f"/endpoints/{await registered(client, metadata={'a': 1})}"
    etag = (await client.get(endpoint)).headers["ETag"]
    for path in [path for method, path, _ in RESOURCES if method == "GET"]:
        assert (await client.get(endpoint + path)).headers["ETag"] == etag
        answer = await client.get(endpoint + path, headers={"If-None-Match": f'"1", {etag}'})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
        assert (await client.get(endpoint + path, headers={"If-None-Match": '"1"'})).status_code == 200


@on_one_store
async def test_a_change_is_made_at_the_revision_it_names_only(client: httpx.AsyncClient) -> None:
    for method, path, body in RESOURCES:
        if method == "GET":
            continue
        endpoint = f"/endpoints/{await registered(client, metadata={'a': 1})}"
        etag = (await client.get(endpoint)).headers["ETag"]
        refused = await client.request(method, endpoint + path, content=body, headers={"If-Match": '"1"'})
        assert refused.status_code == 412, (method, path)
        assert (await client.get(f"{endpoint}/metadata")).json() == {"a": 1}
        answer = await client.request(method, endpoint + path, content=body, headers={"If-Match": etag})
        assert answer.status_code == 204, (method, path)


@on_one_store
async def test_a_write_that_changes_nothing_keeps_the_etag(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client, metadata={'a': 1})}/metadata"
    etag = (await client.get(url)).headers["ETag"]
    assert (await client.put(url, json={"a": 1})).headers["ETag"] == etag


async def test_every_value_comes_back_bit_for_bit(client: httpx.AsyncClient) -> None:
    body = b'{"appVersion":{"name":"kettle-v1"},"endpointId":"id-1","metadata":' + NASTY + b"}"
    assert (await client.post("/endpoints", content=body, headers=JSON)).status_code == 201
    metadata = "/endpoints/id-1/metadata"
    assert (await client.get(metadata)).content == NASTY
    assert b'"metadata":' + NASTY in (await client.get("/endpoints/id-1?include=metadata")).content
    assert b'"metadata":' + NASTY in (await client.get("/endpoints?include=metadata")).content

    assert (await client.put(metadata, content=b"{}")).status_code == 204
    assert (await client.put(metadata, content=NASTY)).status_code == 204
    assert (await client.get(metadata)).content == NASTY

    patch = b'[{"op":"add","path":"","value":{}},{"op":"add","path":"","value":' + NASTY + b"}]"
    assert (await client.patch(metadata, content=patch)).status_code == 204
    assert (await client.get(metadata)).content == NASTY

    assert (await client.put(f"{metadata}/all", content=NASTY)).status_code == 204
    assert (await client.get(f"{metadata}/all")).content == NASTY
    assert (await client.patch(metadata, content=b'[{"op":"move","from":"/all","path":"/x"}]')).status_code == 204
    assert (await client.get(f"{metadata}/x")).content == NASTY


async def test_whoever_changes_at_the_same_revision_only_one_succeeds(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    url = f"/endpoints/{await registered(client)}/metadata/a"
    etag = (await client.get(url.removesuffix("/a"))).headers["ETag"]
    answers: list[int] = []

    async def put(client: httpx.AsyncClient, value: int) -> None:
        answers.append((await client.put(url, json=value, headers={"If-Match": etag})).status_code)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(put((client, other_client)[number % 2], number))
    assert sorted(answers) == [204] + [412] * 9


async def test_a_read_through_any_replica_sees_an_acknowledged_write(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    url = f"/endpoints/{await registered(client)}/metadata/a"
    for number in range(10):
        assert (await client.put(url, json=number)).status_code == 204
        assert (await other_client.get(url)).json() == number


@on_one_store
async def test_the_openapi_document_shows_bodies_with_examples(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("summary"), (method, path)
            if method in ("post", "put", "patch"):
                [content] = operation["requestBody"]["content"].values()
                assert content["example"], (method, path)
    assert (
        "application/json-patch+json"
        in paths["/epr/api/v1/endpoints/{endpointId}/metadata"]["patch"]["requestBody"]["content"]
    )
