"""Requests made up from both OpenAPI documents, and against them, are answered as they say (schemathesis).

More of them on demand: OPENAPI_EXAMPLES=500 pytest services/creds/tests/test_openapi.py
"""

import asyncio
import os
from pathlib import Path

import pytest

from kaa_common.messages.epmmp import GET_METADATA, EndpointMetadataGetRequest, EndpointMetadataGetResponse
from kaa_common.rpc import Reply, Rpc, answer_header
from support.made_up_requests import press
from support.nats_server import NatsServer

from .test_app import environ, running

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
"""For each call and kind."""


async def any_endpoint(request: EndpointMetadataGetRequest) -> Reply[EndpointMetadataGetResponse]:
    return Reply(
        EndpointMetadataGetResponse(
            **answer_header(request), endpoint_id=request.endpoint_id, status_code=200, app_version_name="app-v1"
        )
    )


@pytest.mark.timeout(60 + EXAMPLES * 10)
@pytest.mark.parametrize("prefix", ["cm", "ccm"])
async def test_every_request_is_answered_as_the_document_says(
    nats_server: NatsServer, tmp_path: Path, rpc: Rpc, suffix: str, prefix: str
) -> None:
    await rpc.serve(GET_METADATA, f"epr-{suffix}", any_endpoint)
    async with running(environ(nats_server, tmp_path, suffix)) as client:
        url = f"{client.base_url}/{prefix}/api/v1/"
        calls = len((await client.get(f"{url}openapi.json")).json()["paths"])
        assert await asyncio.to_thread(press, url, EXAMPLES) > calls * EXAMPLES
