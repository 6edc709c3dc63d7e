from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

APPLICATION = "/app-configs/applications/meters"
VERSION = f"{APPLICATION}/app-versions/meters-v1"


def of_application(**configurations: Any) -> dict[str, Any]:
    return {
        instance: {"kaa": {"applications": {"meters": configuration}}}
        for instance, configuration in configurations.items()
    }


def of_version(**configurations: Any) -> dict[str, Any]:
    return of_application(
        **{instance: {"versions": {"meters-v1": configuration}} for instance, configuration in configurations.items()}
    )


@pytest.fixture(autouse=True)
async def version(client: httpx.AsyncClient) -> None:
    assert (await client.post("/applications", json={"name": "meters"})).status_code == 201
    assert (await client.post("/applications/meters/app-versions", json={"nameSuffix": "v1"})).status_code == 201


async def test_an_application_is_configured_beside_its_versions(client: httpx.AsyncClient) -> None:
    await client.put(VERSION, json=of_version(ecr={"v": 1}))
    put = await client.put(APPLICATION, json=of_application(ecr={"a": 1}, epts={"b": 2}))
    assert (put.status_code, put.json(), put.headers["ETag"]) == (
        200,
        of_application(ecr={"a": 1}, epts={"b": 2}),
        '"4"',
    )
    assert (await client.get(APPLICATION)).json() == put.json()
    assert (await client.get(VERSION)).json() == of_version(ecr={"v": 1})


async def test_one_of_an_application_is_got_and_null_removes_it(client: httpx.AsyncClient) -> None:
    await client.put(APPLICATION, json=of_application(ecr={"a": 1}, epts={"b": 2}))
    assert (await client.get(f"{APPLICATION}?serviceInstanceName=ecr")).json() == of_application(ecr={"a": 1})
    await client.put(APPLICATION, json=of_application(ecr=None))
    assert (await client.get(APPLICATION)).json() == of_application(epts={"b": 2})


async def test_a_patch_merges_into_the_configuration_of_an_application(client: httpx.AsyncClient) -> None:
    await client.put(APPLICATION, json=of_application(ecr={"a": {"b": 1, "c": 2}}))
    patch = of_application(ecr={"a": {"b": None, "d": 3}})
    patched = await client.patch(f"{APPLICATION}?serviceInstanceName=ecr", json=patch)
    assert (patched.status_code, patched.json()) == (200, of_application(ecr={"a": {"c": 2, "d": 3}}))
    assert (await client.patch(f"{APPLICATION}?serviceInstanceName=epts", json=patch)).status_code == 400
    assert (await client.patch(APPLICATION, json=patch)).status_code == 400


async def test_versions_are_not_configured_through_their_application(client: httpx.AsyncClient) -> None:
    body = of_version(kpc={"allowed-extension-instances": []})
    for answer in (
        await client.put(APPLICATION, json=body),
        await client.patch(f"{APPLICATION}?serviceInstanceName=kpc", json=body),
    ):
        assert answer.status_code == 400
        assert answer.json() == {"message": "kpc: configure the versions of an application each by itself"}


async def test_a_configuration_of_an_application_has_its_etag(client: httpx.AsyncClient) -> None:
    body = of_application(ecr={})
    assert (await client.put(APPLICATION, json=body, headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.get(APPLICATION, headers={"If-None-Match": '"2"'})).status_code == 304
    assert (await client.get("/app-configs/applications/other")).status_code == 404
    other: dict[str, Any] = {"ecr": {"kaa": {"applications": {"other": {}}}}}
    assert (await client.put("/app-configs/applications/other", json=other)).status_code == 404


async def test_all_configurations_are_read_at_once(client: httpx.AsyncClient) -> None:
    await client.post("/applications", json={"name": "other"})
    await client.put(APPLICATION, json=of_application(ecr={"a": 1}))
    await client.put(VERSION, json=of_version(ecr={"v": 1}, kpc={"v": 2}))
    everything = {
        "ecr": {"kaa": {"applications": {"meters": {"a": 1, "versions": {"meters-v1": {"v": 1}}}, "other": None}}},
        "kpc": {"kaa": {"applications": {"meters": {"versions": {"meters-v1": {"v": 2}}}, "other": None}}},
    }
    assert (await client.get("/app-configs")).json() == everything
    selected = await client.get("/app-configs?serviceInstanceName=kpc&serviceInstanceName=epmx")
    nothing = {"kaa": {"applications": {"meters": None, "other": None}}}
    assert selected.json() == {"kpc": everything["kpc"], "epmx": nothing}
