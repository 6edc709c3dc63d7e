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


async def test_a_listed_endpoint_shows_its_metadata_on_demand(client: httpx.AsyncClient) -> None:
    endpoint_id = await registered(client, metadata={"a": 1})
    [without] = (await client.get("/endpoints")).json()["content"]
    [with_metadata] = (await client.get("/endpoints", params={"include": "metadata"})).json()["content"]
    assert without.keys() == {"endpointId", "createdDate", "appVersion", "filters", "metadataUpdatedDate"}
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
