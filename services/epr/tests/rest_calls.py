"""What the tests of the REST interface share."""

from typing import Any

import httpx

JSON = {"Content-Type": "application/json"}


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


async def registered(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post("/endpoints", json={"appVersion": {"name": "kettle-v1"}, **body})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["endpointId"])
