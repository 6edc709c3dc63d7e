import asyncio
from typing import Any

import httpx

from support.waiting import POLL, WITHIN

from .conftest import NASTY, FakeCreds, on_one_store
from .rest_calls import JSON, nested


async def finished(client: httpx.AsyncClient, task_id: str, count: int) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN):
        while True:
            answer = await client.get("/endpoints/batch/status", params={"appName": "kettle", "taskId": task_id})
            assert answer.status_code == 200, answer.text
            status: dict[str, Any] = answer.json()
            if status["createdCount"] + status["failedCount"] == count:
                return status
            await asyncio.sleep(POLL)


async def test_a_batch_is_registered(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, creds: FakeCreds
) -> None:
    creds.tokens["kettle", "taken"] = ("another", "x")
    endpoints = [
        {"metadata": {"n": 0}},
        {"endpointToken": "token1", "endpointId": "id-1", "metadata": {}},
        {"endpointToken": "taken", "metadata": {"n": 2}},
        {},
    ]
    answer = await client.post("/endpoints/batch", json={"appVersion": {"name": "kettle-v1"}, "endpoints": endpoints})
    assert (answer.status_code, list(answer.json())) == (202, ["taskId"])
    status = await finished(other_client, answer.json()["taskId"], 4)
    assert (status["createdCount"], status["failedCount"]) == (3, 1)
    assert {"endpointToken": "token1", "endpointId": "id-1"} in status["created"]
    assert status["failed"] == [
        {
            "endpointToken": "taken",
            "metadata": {"n": 2},
            "status": "FAILED",
            "statusReason": "the endpoint token is taken",
        }
    ]
    for entry in status["created"]:
        assert creds.tokens["kettle", entry["endpointToken"]][0] == entry["endpointId"]
    assert (await client.get("/endpoints")).json()["totalElements"] == 3


async def test_values_come_through_a_batch_bit_for_bit(client: httpx.AsyncClient) -> None:
    body = b'{"appVersion":{"name":"kettle-v1"},"endpoints":[{"endpointId":"id-1","metadata":' + NASTY + b"}]}"
    answer = await client.post("/endpoints/batch", content=body, headers=JSON)
    await finished(client, answer.json()["taskId"], 1)
    assert (await client.get("/endpoints/id-1/metadata")).content == NASTY


def batch(endpoints: bytes) -> bytes:
    return b'{"appVersion":{"name":"kettle-v1"},"endpoints":' + endpoints + b"}"


REFUSED = [
    (b"", 400),
    (b"[]", 400),
    (batch(b"[]"), 400),
    (batch(b"{}"), 400),
    (batch(b"[" + b",".join([b"{}"] * 1001) + b"]"), 400),
    (batch(b'[{},{"metadata":{"a-b":1}}]'), 400),
    (batch(b'[{},{"endpointId":"a/b"}]'), 400),
    (batch(b'[{},{"endpointToken":"a/b"}]'), 400),
    (batch(b'[{"more":1}]'), 400),
    (batch(b'[{"metadata":{"a":18446744073709551616}}]'), 400),
    (batch(b'[{"metadata":{"a":' + nested(32) + b"}}]"), 400),
    (batch(b'[{"metadata":{"a":"' + b"x" * 1_100_000 + b'"}}]'), 413),
    (b'{"appVersion":{"name":"unknown-v1"},"endpoints":[{}]}', 404),
]


@on_one_store
async def test_a_batch_that_cannot_be_is_refused_as_a_whole(client: httpx.AsyncClient) -> None:
    for body, status_code in REFUSED:
        answer = await client.post("/endpoints/batch", content=body, headers=JSON)
        assert (answer.status_code, list(answer.json())) == (status_code, ["message"]), body[:80]
    assert (await client.get("/endpoints")).json()["totalElements"] == 0


@on_one_store
async def test_an_unknown_batch_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/endpoints/batch/status", params={"appName": "kettle", "taskId": "unknown"})
    assert answer.status_code == 404
    for query in ("", "?appName=kettle", "?taskId=x", "?appName=kettle&taskId=" + "x" * 257):
        assert (await client.get(f"/endpoints/batch/status{query}")).status_code == 400
