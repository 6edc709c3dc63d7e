from typing import Any
from uuid import UUID

import httpx

from kaa_common.errors import Unavailable

from .conftest import FakeCreds, on_one_store
from .rest_calls import JSON, nested, registered


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
    assert await listed(endpointId=[one, f"{three},{one}"]) == (2, [one, three])


async def test_a_listed_endpoint_shows_its_metadata_on_demand(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client, metadata={"a": 1})
    [without] = (await client.get("/endpoints")).json()["content"]
    [with_metadata] = (await client.get("/endpoints", params={"include": "metadata"})).json()["content"]
    assert without.keys() == {"endpointId", "createdDate", "appVersion", "filters", "metadataUpdatedDate"}
    assert with_metadata == {**without, "metadata": {"a": 1}}
    for include in ("metadata,filters", ["filters", "metadata"], ["metadata", "filters"]):
        assert (await client.get("/endpoints", params={"include": include})).json()["content"] == [with_metadata]
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


async def test_a_list_is_searched_by_metadata(client: httpx.AsyncClient) -> None:
    one = await registered(client, metadata={"city": "Kyiv", "floor": 3})
    two = await registered(client, metadata={"city": "Lviv", "floor": 3, "model": "BFG 9000"})

    async def listed(**params: Any) -> set[str]:
        answer = await client.get("/endpoints", params=params)
        assert answer.status_code == 200, answer.text
        return {endpoint["endpointId"] for endpoint in answer.json()["content"]}

    assert await listed(metadataFilter="city=Kyiv") == {one}
    assert await listed(metadataFilter="floor=3") == {one, two}
    assert await listed(metadataFilter="floor=3,model") == {two}
    assert await listed(metadataFilter='{"floor":{"$lt":4},"city":"Kyiv"}') == {one}
    assert await listed(multiFilter="bfg") == {two}
    assert await listed(multiFilter=one[:13].upper()) == {one}
    assert await listed(multiFilter="B.G") == set()
    assert await listed(multiFilter="B.G", regex="true") == {two}
    assert await listed(metadataFilter="city=^K", regex="true", applicationName="kettle") == {one}
    assert await listed(endpointId=f"{one},{two}", metadataFilter="city=Kyiv") == {one}
    assert await listed(tenantId="tenant") == {one, two}
    assert await listed(tenantId="another") == set()
    assert (await client.get(f"/endpoints/{one}", params={"tenantId": "tenant"})).status_code == 200
    assert (await client.get(f"/endpoints/{one}", params={"tenantId": "another"})).status_code == 404


@on_one_store
async def test_pages_are_linked(client: httpx.AsyncClient) -> None:
    wanted = [await registered(client) for _ in range(5)]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await client.get("/endpoints", params=params)).json()
        assert page["totalElements"] == 5
        seen += [endpoint["endpointId"] for endpoint in page["content"]]
        if "next" not in page:
            break
        params["after"] = page["next"]
    assert seen == wanted
    assert (await client.get("/endpoints?after=nonsense")).status_code == 400


@on_one_store
async def test_a_list_that_has_not_changed_is_304(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client)
    etag = (await client.get("/endpoints")).headers["ETag"]
    answer = await client.get("/endpoints", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    await client.put(f"/endpoints/{endpoint_id}/metadata/a", content=b"1")
    assert (await client.get("/endpoints", headers={"If-None-Match": etag})).status_code == 200


async def test_endpoints_are_searched(client: httpx.AsyncClient) -> None:
    one = await registered(client, metadata={"city": "Kyiv", "floor": 3})
    two = await registered(client, metadata={"city": "Kyiv", "floor": 1})
    other = await registered(client, appVersion={"name": "toaster-v1"}, metadata={"city": "Kyiv", "floor": 3})

    async def found(**body: Any) -> tuple[int, set[str]]:
        answer = await client.post("/endpoints/search", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["totalElements"], {e["endpointId"] for e in answer.json()["content"]}

    assert await found() == (3, {one, two, other})
    assert await found(query={"metadata.floor": {"$gt": 2}}) == (2, {one, other})
    assert await found(query={"metadata.floor": {"$gt": 2}}, applicationName="kettle") == (1, {one})
    assert await found(metadataFilter="city=Kyiv", applicationName="kettle") == (2, {one, two})
    assert await found(applicationVersionName="toaster-v1", metadataFilter="city=Kyiv") == (1, {other})
    assert await found(endpointIds=[two, "unknown", one], query={"metadata.floor": 1}) == (1, {two})
    assert await found(multiFilter="toaster") == (1, {other})
    total, some = await found(limit=2)
    assert (total, len(some)) == (3, 2)
    [shown] = (await client.post("/endpoints/search", json={"endpointIds": [one], "include": ["metadata"]})).json()[
        "content"
    ]
    assert shown["metadata"] == {"city": "Kyiv", "floor": 3}


async def test_a_search_takes_what_the_list_takes(client: httpx.AsyncClient) -> None:
    one, two = [await registered(client, metadata={"floor": floor}) for floor in (1, 2)]

    async def found(**body: Any) -> list[dict[str, Any]]:
        answer = await client.post("/endpoints/search", json=body)
        assert answer.status_code == 200, answer.text
        content: list[dict[str, Any]] = answer.json()["content"]
        return content

    assert [shown["endpointId"] for shown in await found(endpointId=f"{two},{one}")] == [two, one]
    assert [shown["endpointId"] for shown in await found(endpointIds=[one], endpointId=two)] == [one, two]
    assert await found(endpointIds=[]) == await found(endpointId="") == []
    assert [shown["metadata"]["floor"] for shown in await found(endpointId=one, include="metadata,filters")] == [1]
    assert len(await found(multiFilter="^" + one[:8], regex="true")) == 1
    assert await found(multiFilter="^" + one[:8], regex="false") == []
    assert await found(tenantId="another") == []
    assert len(await found(tenantId="tenant")) == 2


REFUSED_SEARCHES = [
    (b"", 400),
    (b"[]", 400),
    (b'{"unknown":1}', 400),
    (b'{"limit":1001}', 400),
    (b'{"limit":"1"}', 400),
    (b'{"query":{"$where":"1"}}', 400),
    (b'{"query":{"state":"reserved"}}', 400),
    (b'{"query":{"metadata.a":{"$regex":"(a+)+"}}}', 400),
    (b'{"metadataFilter":"="}', 400),
    (b'{"after":"x"}', 400),
    (b'{"filterId":"unknown"}', 404),
    (b'{"endpointIds":["a/b"]}', 400),
    (b'{"query":{"metadata.a":"' + b"x" * 20_000 + b'"}}', 400),
    (b'{"metadataFilter":"' + b"x" * 1_100_000 + b'"}', 413),
]


@on_one_store
async def test_a_search_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    for body, status_code in REFUSED_SEARCHES:
        answer = await client.post("/endpoints/search", content=body)
        assert (answer.status_code, list(answer.json())) == (status_code, ["message"]), body[:80]


async def test_many_endpoints_are_unregistered_at_once(client: httpx.AsyncClient, creds: FakeCreds) -> None:
    wanted = [await registered(client) for _ in range(20)]
    answer = await client.post("/endpoints/delete", json={"endpointIds": [*wanted[:19], "unknown", wanted[0]]})
    assert answer.status_code == 200
    assert answer.json() == {
        "deletedCount": 19,
        "failedCount": 1,
        "deleted": wanted[:19],
        "failed": [{"endpointId": "unknown", "status": "FAILED", "statusReason": "no endpoint with this id"}],
    }
    assert (await client.get("/endpoints")).json()["totalElements"] == 1
    assert len(creds.tokens) == 1
    malformed: list[dict[str, Any]] = [{}, {"endpointIds": []}, {"endpointIds": ["a"] * 1001}, {"endpointIds": "a"}]
    for refused in malformed:
        assert (await client.post("/endpoints/delete", json=refused)).status_code == 400


async def test_an_endpoint_gets_another_version_of_its_application(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client)}/app-version"
    before = await client.get(url)
    assert before.json().keys() == {"name", "registeredDate"}
    assert before.json()["name"] == "kettle-v1"
    etag = before.headers["ETag"]
    assert (await client.get(url, headers={"If-None-Match": etag})).status_code == 304

    refused = await client.put(url, json={"name": "kettle-v2"}, headers={"If-Match": '"1"'})
    assert refused.status_code == 412
    changed = await client.put(url, json={**before.json(), "name": "kettle-v2"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["name"]) == (200, "kettle-v2")
    found = await client.get(url)
    assert (found.json(), found.headers["ETag"]) == (changed.json(), changed.headers["ETag"])
    assert found.headers["ETag"] != etag
    assert (await client.put(url, json={"name": "kettle-v2"})).headers["ETag"] == found.headers["ETag"]
    assert (await client.get("/endpoints?applicationVersionName=kettle-v2")).json()["totalElements"] == 1


@on_one_store
async def test_an_application_version_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    url = f"/endpoints/{await registered(client)}/app-version"
    cases = [({"name": "toaster-v1"}, 409), ({"name": "unknown-v1"}, 404), ({}, 400), ({"name": 1}, 400)]
    for body, status_code in cases:
        assert (await client.put(url, json=body)).status_code == status_code, body
    assert (await client.get(url)).json()["name"] == "kettle-v1"
    assert (await client.put("/endpoints/unknown/app-version", json={"name": "kettle-v1"})).status_code == 404
    assert (await client.get("/endpoints/unknown/app-version")).status_code == 404


async def test_an_endpoint_is_registered_with_its_relations(client: httpx.AsyncClient) -> None:
    house, lamp = await registered(client), await registered(client)
    relations = [{"type": "contains", "from": house}, {"type": "contains", "to": lamp}]
    room = await registered(client, endpointId="room", endpointToken="token", relations=relations)

    async def related(endpoint_id: str, relation: str) -> list[dict[str, str]]:
        answer = await client.get(f"/endpoints/{endpoint_id}/relations", params={"relation": relation})
        content: list[dict[str, str]] = answer.json()["content"]
        return content

    assert await related(room, "contains") == [{"type": "contains", "from": room, "to": lamp}]
    assert await related(room, "!contains") == [{"type": "contains", "from": house, "to": room}]
    await client.put("/relations/unlink", json=[{"type": "contains", "from": house, "to": room}])
    await registered(client, endpointId="room", endpointToken="token", relations=relations)
    assert len(await related(house, "contains")) == 1, "registering again makes what is missing"


REFUSED_RELATIONS: list[tuple[Any, int]] = [
    ([{"type": "contains"}], 400),
    ([{"type": "contains", "from": "a", "to": "b"}], 400),
    ([{"type": "has", "from": "a"}], 400),
    ([{"from": "a"}], 400),
    ({"type": "contains", "from": "a"}, 400),
    ([{"type": "contains", "from": "a/b"}], 400),
    ([{"type": "contains", "to": "unknown"}], 404),
]


@on_one_store
async def test_an_endpoint_with_relations_that_cannot_be_is_not_registered(client: httpx.AsyncClient) -> None:
    for relations, status_code in REFUSED_RELATIONS:
        body = {"appVersion": {"name": "kettle-v1"}, "relations": relations}
        assert (await client.post("/endpoints", json=body)).status_code == status_code, relations
    assert (await client.get("/endpoints")).json()["totalElements"] == 0
