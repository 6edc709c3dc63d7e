"""The REST interface of batch registration: `/epr/api/v1/endpoints/batch`."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request, Response

from epr import metadata
from epr.batch_task import Item
from epr.batches import Batches
from epr.rest_bodies import EXAMPLE_APP_VERSION, BatchAnswer, BatchBody, BatchStatus
from epr.rest_routes import CREATE, Route, model_body, read_model
from kaa_common.app_versions import AppVersions
from kaa_common.clock import Deadline
from kaa_common.rest import errors, json_response

LEVELS_AROUND_METADATA = 3


class BatchApi:
    tag = "batch registration"

    def __init__(self, batches: Batches, app_versions: AppVersions, request_timeout: float) -> None:
        self._batches = batches
        self._app_versions = app_versions
        self._request_timeout = request_timeout

    def routes(self) -> Sequence[Route]:
        path = "/endpoints/batch"
        example = {
            "appVersion": EXAMPLE_APP_VERSION,
            "endpoints": [{"metadata": {"level": 3}}, {"endpointToken": "JTjdbENzHh", "metadata": {"level": 4}}],
        }
        accepted = {202: {"model": BatchAnswer}, **errors(404, 413, 429, 504)}
        status = {200: {"model": BatchStatus}, **errors(404)}
        return (
            Route("POST", path, CREATE, self.submit, 202, accepted, model_body(BatchBody, example)),
            Route("GET", f"{path}/status", CREATE, self.status, 200, status),
        )

    async def submit(self, request: Request) -> Response:
        """Register up to 1,000 endpoints in the background, with tokens that are given or generated.

        A replica that dies has its work taken over by another one. The result is remembered for a day.
        """
        body = await read_model(request, BatchBody, levels=LEVELS_AROUND_METADATA)
        for endpoint in body.endpoints:
            metadata.check_keys(endpoint.metadata)
        app_version = await self._app_versions.get(body.app_version.name, Deadline.after(self._request_timeout))
        items = [
            Item(
                endpoint_id=endpoint.endpoint_id or str(uuid.uuid4()),
                metadata=endpoint.metadata,
                token=endpoint.endpoint_token,
                is_given=endpoint.endpoint_token is not None,
            )
            for endpoint in body.endpoints
        ]
        return json_response({"taskId": await self._batches.submit(app_version, items)}, 202)

    async def status(
        self,
        application: Annotated[str, Query(alias="appName", description="Name of the application.")],
        task_id: Annotated[str, Query(alias="taskId", max_length=256, description="As the registration answered.")],
    ) -> Response:
        """Get what became of the endpoints of a batch so far, with their tokens."""
        return json_response(await self._batches.status(task_id, application))
