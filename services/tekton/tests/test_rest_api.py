import re
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
VERSION = "/applications/meters/app-versions/meters-v1"
CONFIGURATION = f"/app-configs{VERSION}"


def configuration_body(**configurations: Any) -> dict[str, Any]:
    return {
        instance: {"kaa": {"applications": {"meters": {"versions": {"meters-v1": configuration}}}}}
        for instance, configuration in configurations.items()
    }


async def create_version(client: httpx.AsyncClient) -> None:
    assert (await client.post("/applications", json={"name": "meters"})).status_code == 201
    assert (await client.post("/applications/meters/app-versions", json={"nameSuffix": "v1"})).status_code == 201


async def test_creating_an_application_answers_the_object_and_where_it_is(client: httpx.AsyncClient) -> None:
    created = await client.post("/applications", json={"name": "meters", "displayName": "Meters"})
    assert created.status_code == 201
    body = created.json()
    assert TIMESTAMP.fullmatch(body.pop("createdDate"))
    assert TIMESTAMP.fullmatch(body.pop("updatedDate"))
    assert body == {"name": "meters", "displayName": "Meters", "versions": []}
    assert created.headers["Location"] == "http://test/tekton/api/v1/applications/meters"
    assert created.headers["ETag"] == '"1"'
    assert (await client.get(created.headers["Location"])).json() == created.json()


async def test_a_generated_name_is_told(client: httpx.AsyncClient) -> None:
    created = await client.post("/applications", json={})
    assert created.headers["Location"].endswith("/" + created.json()["name"])


async def test_a_taken_name_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "meters"})
    again = await client.post("/applications", json={"name": "meters"})
    assert (again.status_code, again.json()) == (409, {"message": "an application with this name exists"})


@pytest.mark.parametrize(
    "body",
    ['{"name": "Meters"}', '{"name": ""}', '{"name": 1}', '{"nam": "meters"}', "[]", "{", "", '{"displayName": 1}'],
)
async def test_a_bad_application_is_refused(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post("/applications", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["message"]


async def test_applications_are_listed_as_an_array(client: httpx.AsyncClient) -> None:
    assert (await client.get("/applications")).json() == []
    await create_version(client)
    [application] = (await client.get("/applications")).json()
    assert application["name"] == "meters"
    assert [version["name"] for version in application["versions"]] == ["meters-v1"]


async def test_a_patch_changes_what_it_names_and_nothing_else(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "meters", "displayName": "Meters", "description": "Of water"})
    patched = await client.patch("/applications/meters", json={"displayName": None})
    assert patched.status_code == 200
    assert "displayName" not in patched.json()
    assert patched.json()["description"] == "Of water"
    assert patched.headers["ETag"] == '"2"'
    assert (await client.get("/applications/meters")).json() == patched.json()


async def test_a_name_cannot_be_patched(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "meters"})
    assert (await client.patch("/applications/meters", json={"name": "other"})).status_code == 400


async def test_if_match_guards_every_change(client: httpx.AsyncClient) -> None:
    await create_version(client)
    stale = {"If-Match": '"1"'}
    body = configuration_body(kpc={})
    for answer in (
        await client.patch("/applications/meters", json={}, headers=stale),
        await client.patch(VERSION, json={}, headers=stale),
        await client.put(CONFIGURATION, json=body, headers=stale),
        await client.patch(f"{CONFIGURATION}?serviceInstanceName=kpc", json=body, headers=stale),
    ):
        assert answer.status_code == 412
    assert (await client.get("/applications/meters")).headers["ETag"] == '"2"'
    current = {"If-Match": '"2"'}
    assert (await client.patch("/applications/meters", json={}, headers=current)).status_code == 200


async def test_a_reader_who_has_the_revision_gets_304(client: httpx.AsyncClient) -> None:
    await create_version(client)
    for path in ("/applications/meters", VERSION, CONFIGURATION):
        answer = await client.get(path, headers={"If-None-Match": '"2"'})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", '"2"')
        assert (await client.get(path, headers={"If-None-Match": '"1"'})).status_code == 200


async def test_creating_a_version_answers_the_object_and_where_it_is(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "meters"})
    created = await client.post(
        "/applications/meters/app-versions", json={"nameSuffix": "v1", "displayName": "First", "description": "d"}
    )
    assert created.status_code == 201
    assert created.headers["Location"] == f"http://test/tekton/api/v1{VERSION}"
    assert set(created.json()) == {"name", "displayName", "description", "createdDate", "updatedDate"}
    assert (await client.get(created.headers["Location"])).json() == created.json()
    assert (await client.get("/applications/meters/app-versions")).json() == [created.json()]


async def test_a_version_is_patched(client: httpx.AsyncClient) -> None:
    await create_version(client)
    patched = await client.patch(VERSION, json={"displayName": "First"})
    assert (patched.status_code, patched.json()["displayName"]) == (200, "First")
    assert (await client.get(VERSION)).json() == patched.json()


@pytest.mark.parametrize("suffix", ["V1", "", "v-1", "v1/x"])
async def test_a_bad_suffix_is_refused(client: httpx.AsyncClient, suffix: str) -> None:
    await client.post("/applications", json={"name": "meters"})
    answer = await client.post("/applications/meters/app-versions", json={"nameSuffix": suffix})
    assert answer.status_code == 400


async def test_a_taken_suffix_is_a_conflict(client: httpx.AsyncClient) -> None:
    await create_version(client)
    again = await client.post("/applications/meters/app-versions", json={"nameSuffix": "v1"})
    assert again.status_code == 409


async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "meters"})
    body = configuration_body(kpc={})
    for answer in (
        await client.get("/applications/other"),
        await client.patch("/applications/other", json={}),
        await client.get("/applications/other/app-versions"),
        await client.post("/applications/other/app-versions", json={"nameSuffix": "v1"}),
        await client.get(VERSION),
        await client.patch(VERSION, json={}),
        await client.get(CONFIGURATION),
        await client.put(CONFIGURATION, json=body),
        await client.patch(f"{CONFIGURATION}?serviceInstanceName=kpc", json=body),
        await client.get("/nothing"),
    ):
        assert answer.status_code == 404
        assert answer.json()["message"]


async def test_an_application_is_deleted_when_it_has_no_versions(client: httpx.AsyncClient) -> None:
    await create_version(client)
    refused = await client.delete("/applications/meters")
    assert (refused.status_code, refused.json()["message"]) == (409, "the application has versions, delete them first")
    assert (await client.delete(VERSION)).status_code == 204
    assert (await client.delete(VERSION)).status_code == 404
    assert (await client.delete("/applications/meters")).status_code == 204
    assert (await client.get("/applications/meters")).status_code == 404
    assert (await client.get("/applications")).json() == []
    assert (await client.delete("/applications/meters")).status_code == 404


async def test_the_name_of_a_deleted_application_is_free_at_once(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        assert (await client.post("/applications", json={"name": "meters"})).status_code == 201
        assert (await client.delete("/applications/meters")).status_code == 204


async def test_if_match_guards_a_deletion(client: httpx.AsyncClient) -> None:
    await create_version(client)
    for url in (VERSION, "/applications/meters"):
        assert (await client.delete(url, headers={"If-Match": '"77"'})).status_code in (409, 412)
    etag = (await client.get(VERSION)).headers["ETag"]
    assert (await client.delete(VERSION, headers={"If-Match": etag})).status_code == 204


async def test_a_configuration_is_put_and_got_exactly(client: httpx.AsyncClient) -> None:
    await create_version(client)
    configuration = {"allowed-extension-instances": ["epmx"], "a.b": {"$c": [2**63 - 1, -0.5, None, "", {}]}}
    body = configuration_body(kpc=configuration, epmx={"metadata-keys": {}})
    put = await client.put(CONFIGURATION, json=body)
    assert (put.status_code, put.json(), put.headers["ETag"]) == (200, body, '"3"')
    assert (await client.get(CONFIGURATION)).json() == body


async def test_a_put_leaves_other_service_instances_alone_and_null_removes(client: httpx.AsyncClient) -> None:
    await create_version(client)
    await client.put(CONFIGURATION, json=configuration_body(kpc={"a": 1}, epmx={"b": 2}, epl={"c": 3}))
    put = await client.put(CONFIGURATION, json=configuration_body(kpc={"d": 4}, epmx=None))
    assert put.json() == configuration_body(kpc={"d": 4}, epmx=None)
    assert (await client.get(CONFIGURATION)).json() == configuration_body(kpc={"d": 4}, epl={"c": 3})


async def test_the_configuration_of_one_service_instance_is_got(client: httpx.AsyncClient) -> None:
    await create_version(client)
    await client.put(CONFIGURATION, json=configuration_body(kpc={"a": 1}, epmx={"b": 2}))
    answer = await client.get(f"{CONFIGURATION}?serviceInstanceName=kpc&serviceInstanceName=epl")
    assert answer.json() == configuration_body(kpc={"a": 1}, epl=None)


async def test_a_patch_merges_into_the_configuration(client: httpx.AsyncClient) -> None:
    await create_version(client)
    await client.put(CONFIGURATION, json=configuration_body(kpc={"a": {"b": 1, "c": 2}}, epmx={}))
    patched = await client.patch(
        CONFIGURATION,
        params={"serviceInstanceName": "kpc"},
        json=configuration_body(kpc={"a": {"b": None, "d": 3}}),
    )
    assert (patched.status_code, patched.json()) == (200, configuration_body(kpc={"a": {"c": 2, "d": 3}}))
    assert (await client.get(CONFIGURATION)).json() == configuration_body(kpc={"a": {"c": 2, "d": 3}}, epmx={})


async def test_a_patch_names_its_service_instance(client: httpx.AsyncClient) -> None:
    await create_version(client)
    body = configuration_body(kpc={})
    assert (await client.patch(CONFIGURATION, json=body)).status_code == 400
    assert (await client.patch(f"{CONFIGURATION}?serviceInstanceName=epmx", json=body)).status_code == 400


@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"kpc": {}}', '{"kpc": {"kaa": 1}}', "{", '{"k.*": {}}'])
async def test_a_bad_configuration_is_refused(client: httpx.AsyncClient, body: str) -> None:
    await create_version(client)
    for method, path in (("PUT", CONFIGURATION), ("PATCH", f"{CONFIGURATION}?serviceInstanceName=kpc")):
        answer = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, answer.json()


async def test_an_api_key_is_required(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    assert (await client.get("/applications")).status_code == 401


async def test_the_user_group_that_clients_of_kaa_name_is_no_mistake(client: httpx.AsyncClient) -> None:
    created = await client.post("/applications", json={"name": "meters", "group": "engineers"})
    assert created.status_code == 201
    assert "group" not in created.json()
