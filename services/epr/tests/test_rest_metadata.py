import asyncio

import httpx

from kaa_common import jsontext

from .conftest import API_KEY, NASTY, on_one_store
from .rest_calls import JSON, nested, registered


async def test_metadata_is_read_and_replaced(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client, metadata={'a': 1, 'b': 2})}/metadata"
    assert (await client.get(url)).json() == {"a": 1, "b": 2}
    assert (await client.get(url, params={"include": "b,x"})).json() == {"b": 2}
    assert (await client.get(url, params={"include": ["a", "b"]})).json().keys() == {"a", "b"}
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


async def test_the_keys_of_an_application_are_read(client: httpx.AsyncClient) -> None:
    await registered(client, metadata={"b": 1, "a": 2})
    answer = await client.get("/applications/kettle/metadata-keys")
    assert (answer.status_code, answer.json()) == (200, {"kettle-v1": ["a", "b"], "kettle-v2": []})
    assert (await client.get("/applications/unknown/metadata-keys")).status_code == 404
