import asyncio
import json
from typing import Any

import httpx
import pytest

from support.scopes import all_but, answers, declared_scopes, refusal

from .conftest import Replica, on_one_store
from .filtering import active, made

KETTLES = "/applications/kettle/filters"
IN_KYIV = {"metadata": {"$elemMatch": {"key": "city", "value": "Kyiv"}}}
SCOPES = {
    "GET /applications/{applicationName}/filters": "application:endpoint-filter:read",
    "POST /applications/{applicationName}/filters": "application:endpoint-filter:create",
    "POST /applications/{applicationName}/filters/preview": "endpoint:read",
    "GET /applications/{applicationName}/filters/{filterId}": "application:endpoint-filter:read",
    "PATCH /applications/{applicationName}/filters/{filterId}": "application:endpoint-filter:update",
    "DELETE /applications/{applicationName}/filters/{filterId}": "application:endpoint-filter:delete",
}


async def until_active(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (found := (await client.get(url)).json())["status"] != "active":
            await asyncio.sleep(0.01)
    return dict(found)


@pytest.mark.parametrize("mongo_query", [json.dumps(IN_KYIV), IN_KYIV])
async def test_a_filter_is_made_pending_and_becomes_active(
    client: httpx.AsyncClient, epr: Replica, mongo_query: Any
) -> None:
    await epr.endpoint({"city": "Kyiv"})
    body = {"name": "Kyiv", "description": "All in Kyiv", "mongoQuery": mongo_query}
    created = await client.post(KETTLES, json=body)
    assert created.status_code == 201
    assert created.headers["ETag"] == '"1"'
    made_filter = created.json()
    assert created.headers["Location"] == f"http://test/epr/api/v1{KETTLES}/{made_filter['id']}"
    assert (made_filter["status"], made_filter["mongoQuery"]) == ("pending", IN_KYIV)
    found = await until_active(client, created.headers["Location"])
    assert found == {
        "id": made_filter["id"],
        "name": "Kyiv",
        "description": "All in Kyiv",
        "mongoQuery": IN_KYIV,
        "status": "active",
        "matchedEndpointsCount": 1,
        "createdDate": made_filter["createdDate"],
        "updatedDate": made_filter["createdDate"],
    }


@on_one_store
async def test_filters_are_listed_in_pages_and_by_name(client: httpx.AsyncClient) -> None:
    for name in ("one", "two", "three"):
        assert (await client.post(KETTLES, json={"name": name, "mongoQuery": {}})).status_code == 201
    page = (await client.get(KETTLES, params={"offset": 1, "limit": 1})).json()
    assert (page["totalElements"], [one["name"] for one in page["content"]]) == (3, ["two"])
    named = (await client.get(KETTLES, params={"name": "three"})).json()
    assert (named["totalElements"], [one["name"] for one in named["content"]]) == (1, ["three"])
    assert (await client.get(KETTLES, params={"name": "four"})).json() == {"totalElements": 0, "content": []}
    toasters = await client.get("/applications/toaster/filters")
    assert (toasters.status_code, toasters.json()) == (200, {"totalElements": 0, "content": []})


@on_one_store
async def test_a_change_leaves_what_it_does_not_name(client: httpx.AsyncClient, epr: Replica) -> None:
    body = {"name": "Kyiv", "description": "All in Kyiv", "mongoQuery": IN_KYIV}
    url = (await client.post(KETTLES, json=body)).headers["Location"]
    await until_active(client, url)
    etag = (await client.get(url)).headers["ETag"]
    named = await client.patch(url, json={"name": None}, headers={"If-Match": etag})
    assert named.status_code == 200
    assert (named.json()["name"], named.json()["description"], named.json()["status"]) == (
        None,
        "All in Kyiv",
        "active",
    )
    assert named.headers["ETag"] != etag
    queried = await client.patch(url, json={"mongoQuery": '{"metadata.city": "Lviv"}'})
    assert (queried.json()["mongoQuery"], queried.json()["status"]) == ({"metadata.city": "Lviv"}, "pending")
    for stale in (
        await client.patch(url, json={"name": "a"}, headers={"If-Match": etag}),
        await client.delete(url, headers={"If-Match": etag}),
    ):
        assert stale.status_code == 412
    current = (await client.get(url)).headers["ETag"]
    filter_id = url.rpartition("/")[2]
    await active(epr, filter_id)
    assert (await client.delete(url, headers={"If-Match": current})).status_code in (204, 412)


@on_one_store
async def test_a_deleted_filter_is_not_found(client: httpx.AsyncClient, epr: Replica) -> None:
    filter_id = await made(epr, IN_KYIV)
    assert (await client.delete(f"{KETTLES}/{filter_id}")).status_code == 204
    for answer in (
        await client.get(f"{KETTLES}/{filter_id}"),
        await client.patch(f"{KETTLES}/{filter_id}", json={}),
        await client.delete(f"{KETTLES}/{filter_id}"),
    ):
        assert (answer.status_code, answer.json()) == (404, {"message": "no filter with this id"})


@on_one_store
async def test_a_filter_is_found_in_its_own_application_only(client: httpx.AsyncClient, epr: Replica) -> None:
    filter_id = await made(epr, IN_KYIV)
    assert (await client.get(f"/applications/toaster/filters/{filter_id}")).status_code == 404


@on_one_store
async def test_an_unknown_application_has_no_filters(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/applications/other/filters"),
        await client.post("/applications/other/filters", json={"mongoQuery": {}}),
    ):
        assert (answer.status_code, answer.json()) == (404, {"message": "no application with this name"})


@on_one_store
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "mongoQuery"),
        ({"mongoQuery": None}, "mongoQuery"),
        ({"mongoQuery": "{"}, "not valid JSON"),
        ({"mongoQuery": "[]"}, "must be a JSON object"),
        ({"mongoQuery": "1e999"}, "JSON"),
        ({"mongoQuery": {"$where": "1"}}, "$where is not supported"),
        ({"mongoQuery": {"tenant": "other"}}, "tenant cannot be queried"),
        ({"mongoQuery": {}, "name": "x" * 65}, "name"),
        ({"mongoQuery": {}, "status": "active"}, "status"),
    ],
)
async def test_what_is_wrong_with_a_filter_is_told(client: httpx.AsyncClient, body: Any, reason: str) -> None:
    answer = await client.post(KETTLES, json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["message"]


@on_one_store
async def test_a_name_that_is_taken_is_told(client: httpx.AsyncClient) -> None:
    body = {"name": "Kyiv", "mongoQuery": {}}
    assert [(await client.post(KETTLES, json=body)).status_code for _ in range(2)] == [201, 409]


@on_one_store
async def test_a_constant_stays_as_it_is(client: httpx.AsyncClient) -> None:
    text = '{"metadata.level":{"$in":[1.0,18446744073709551615,9007199254740993]}}'
    created = await client.post(KETTLES, json={"mongoQuery": text})
    assert f'"mongoQuery":{text}' in created.text
    whole = await client.post(KETTLES, content=f'{{"mongoQuery":{text}}}', headers={"Content-Type": "application/json"})
    assert f'"mongoQuery":{text}' in whole.text


async def test_a_preview_shows_endpoints(client: httpx.AsyncClient, epr: Replica) -> None:
    endpoint = await epr.endpoint({"city": "Kyiv"})
    await epr.endpoint({"city": "Lviv"})
    for include, metadata in (({}, None), ({"include": "metadata"}, {"city": "Kyiv"})):
        answer = await client.post(f"{KETTLES}/preview", json={"mongoQuery": IN_KYIV}, params=include)
        assert answer.status_code == 200
        assert answer.json()["totalElements"] == 1
        [found] = answer.json()["content"]
        assert (found["endpointId"], found.get("metadata")) == (endpoint.id, metadata)
    await epr.endpoint({"city": "Kyiv"}, "toaster-v1")
    many = [await epr.endpoint({"city": "Kyiv"}, endpoint_id=f"~{number}") for number in range(2)]
    page = (await client.post(f"{KETTLES}/preview", json={"mongoQuery": IN_KYIV}, params={"offset": 1})).json()
    assert (page["totalElements"], [one["endpointId"] for one in page["content"]]) == (3, [one.id for one in many])
    refused = await client.post(f"{KETTLES}/preview", json={"mongoQuery": {"$where": "1"}})
    assert refused.status_code == 400


async def test_endpoints_show_their_filters(
    client: httpx.AsyncClient, epr: Replica, other_client: httpx.AsyncClient
) -> None:
    endpoint = await epr.endpoint({"city": "Kyiv"})
    filter_id = await made(epr, IN_KYIV)
    url = f"/endpoints/{endpoint.id}?include=filters"
    assert (await other_client.get(url)).json()["filters"] == [filter_id]
    assert (await client.delete(f"{KETTLES}/{filter_id}")).status_code == 204
    assert (await other_client.get(url)).json()["filters"] == []


@on_one_store
async def test_every_route_demands_its_scope(epr: Replica) -> None:
    router = epr.filter_api.router()

    refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
    accepted = await answers(router, SCOPES)

    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert not [route for route in SCOPES if accepted[route] == refused[route] or accepted[route][0] in (401, 403)]
