import httpx
import pytest

from .conftest import on_one_store
from .rest_calls import registered

CONTAINS = {"type": "contains", "from": "house", "to": "lamp"}


@pytest.fixture
async def endpoints(client: httpx.AsyncClient) -> None:
    for name in ("house", "lamp"):
        await registered(client, endpointId=name)


@pytest.mark.usefixtures("endpoints")
async def test_endpoints_are_linked_and_unlinked(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = await client.put("/relations/link", json=[CONTAINS, CONTAINS])
        assert (answer.status_code, answer.json()) == (200, [CONTAINS])
    for name, relation in (("house", "contains"), ("lamp", "!contains")):
        found = await client.get(f"/endpoints/{name}/relations", params={"relation": relation})
        assert found.json() == {"totalElements": 1, "content": [CONTAINS]}
    for _ in range(2):
        answer = await client.put("/relations/unlink", json=[CONTAINS])
        assert (answer.status_code, answer.content) == (204, b"")
    found = await client.get("/endpoints/house/relations", params={"relation": "contains"})
    assert found.json() == {"totalElements": 0, "content": []}


REFUSED = [
    ({}, 400),
    ([{}], 400),
    ([{**CONTAINS, "type": "has"}], 400),
    ([{**CONTAINS, "more": 1}], 400),
    ([{**CONTAINS, "to": "house"}], 400),
    ([CONTAINS] * 1001, 400),
    ([CONTAINS, {**CONTAINS, "to": "unknown"}], 404),
]


@on_one_store
@pytest.mark.usefixtures("endpoints")
async def test_a_relation_that_cannot_be_is_refused(client: httpx.AsyncClient) -> None:
    for body, status_code in REFUSED:
        answer = await client.put("/relations/link", json=body)
        assert (answer.status_code, list(answer.json())) == (status_code, ["message"]), body
    for query in ("", "?relation=has", "?relation="):
        assert (await client.get(f"/endpoints/house/relations{query}")).status_code == 400
    assert (await client.get("/endpoints/unknown/relations?relation=contains")).status_code == 404
    found = await client.get("/endpoints/house/relations?relation=contains")
    assert found.json()["totalElements"] == 0
