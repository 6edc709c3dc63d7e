"""Requests made up from the OpenAPI document, and against it, are answered as it says (schemathesis).

More of them on demand: OPENAPI_EXAMPLES=500 pytest services/epr/tests/test_openapi.py
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from kaa_common.rpc import Rpc
from support.nats_server import NatsServer

from .conftest import FakeCreds, Names
from .test_app import running

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
"""For each call and kind."""
HEADERS = {"X-API-Key": "key"}

Operation = APIOperation[Any, Any, Any, Any]  # Any: schemathesis' own


def press(url: str) -> int:
    """How many requests were answered as the document says."""
    schema = schemathesis.openapi.from_url(f"{url}openapi.json", headers=HEADERS)
    pressed = 0
    with requests.Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                pressed += press_operation(result.ok(), mode, session)
    return pressed


def press_operation(operation: Operation, mode: GenerationMode, session: requests.Session) -> int:
    pressed = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answer(case: Case[Any]) -> None:
        nonlocal pressed
        pressed += 1
        response = case.call(session=session, headers=HEADERS)
        said = f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:300]}: {response.text[:300]}"
        assert response.status_code < 500, said
        case.validate_response(response, checks=[status_code_conformance, response_schema_conformance])

    try:
        answer()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "every document is made for some requests"
    return pressed


@pytest.mark.timeout(60 + EXAMPLES * 10)
async def test_every_request_is_answered_as_the_document_says(
    nats_server: NatsServer, tmp_path: Path, names: Names, rpc: Rpc, creds: FakeCreds, tekton: None
) -> None:
    async with running(nats_server, tmp_path, names) as client:
        for name in ("some", "other"):
            body = {"appVersion": {"name": "kettle-v1"}, "endpointId": name, "metadata": {"a": 1}}
            assert (await client.post("/endpoints", json=body)).status_code == 201
        calls = len((await client.get("/openapi.json")).json()["paths"])
        assert await asyncio.to_thread(press, str(client.base_url)) > calls * EXAMPLES
        assert (await client.get("/endpoints")).status_code == 200
