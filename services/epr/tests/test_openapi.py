"""Requests made up from the OpenAPI document, and against it, are answered as it says (schemathesis).

More of them on demand: OPENAPI_EXAMPLES=500 pytest services/epr/tests/test_openapi.py
"""

import asyncio
import os
from pathlib import Path

import pytest

from kaa_common.rpc import Rpc
from support.made_up_requests import press
from support.nats_server import NatsServer

from .conftest import FakeCreds, Names
from .test_app import running

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
"""For each call and kind."""


@pytest.mark.timeout(60 + EXAMPLES * 10)
async def test_every_request_is_answered_as_the_document_says(
    nats_server: NatsServer, tmp_path: Path, names: Names, rpc: Rpc, creds: FakeCreds, tekton: None
) -> None:
    async with running(nats_server, tmp_path, names) as client:
        for name in ("some", "other"):
            body = {"appVersion": {"name": "kettle-v1"}, "endpointId": name, "metadata": {"a": 1}}
            assert (await client.post("/endpoints", json=body)).status_code == 201
        calls = len((await client.get("/openapi.json")).json()["paths"])
        assert await asyncio.to_thread(press, str(client.base_url), EXAMPLES) > calls * EXAMPLES
        assert (await client.get("/endpoints")).status_code == 200
