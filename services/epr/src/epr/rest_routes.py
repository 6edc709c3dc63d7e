"""What the register's routes have in common: how they are declared, their parameters, and how they answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from epr.metadata import KEY_PATTERN
from epr.model import ENDPOINT_ID_PATTERN, Endpoint
from epr.rest_bodies import EXAMPLE_ID
from kaa_common import jsontext
from kaa_common.errors import DeadlineExceeded, NotFound
from kaa_common.rest import Body, StrictRoute, errors, etag_of, is_unchanged, json_response, requires

IdInPath = Annotated[
    str, Path(alias="endpointId", pattern=ENDPOINT_ID_PATTERN, description="Id of an endpoint.", examples=[EXAMPLE_ID])
]
KeyInPath = Annotated[
    str, Path(alias="metadataKey", pattern=KEY_PATTERN, description="Metadata key.", examples=["model"])
]
ApplicationInPath = Annotated[
    str, Path(alias="applicationName", description="Name of an application.", examples=["smart_kettle"])
]
IfMatch = Annotated[str | None, Header(description="ETag the endpoint must have, else 412.", examples=['"1"'])]
IfNoneMatch = Annotated[
    str | None, Header(description="ETag the caller has: 304 when it is still that of the answer.", examples=['"1"'])
]
TenantId = Annotated[
    str | None, Query(alias="tenantId", description="The tenant whose endpoints are meant; by default the only one.")
]

CREATE, READ = "application:endpoint:create", "endpoint:read"
UPDATE, DELETE = "endpoint:update", "endpoint:delete"
READ_KEYS = "application:endpoints-metadata-keys:read"

Answers = dict[int | str, dict[str, Any]]  # Any: OpenAPI
Result = TypeVar("Result")
Model = TypeVar("Model", bound=Body)

NOT_MODIFIED: Final[Answers] = {304: {"description": "Not Modified"}}
READING: Final[Answers] = {**NOT_MODIFIED, **errors(404)}
CHANGING: Final[Answers] = errors(404, 412, 504)
WRITING: Final[Answers] = errors(404, 412, 413, 504)


@dataclass(frozen=True, slots=True)
class Route:
    """A call of the interface."""

    method: str
    path: str
    scope: str
    handler: Callable[..., Any]  # Any: as FastAPI has it
    status_code: int = 200
    answers: Answers = field(default_factory=dict)
    request: dict[str, Any] | None = None
    """The OpenAPI of a body that FastAPI does not read."""


class RestApi(Protocol):
    """Some calls of the interface."""

    tag: str

    def routes(self) -> Sequence[Route]: ...


def router_of(*apis: RestApi) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    for api in apis:
        for route in api.routes():
            router.add_api_route(
                route.path,
                route.handler,
                methods=[route.method],
                dependencies=[requires(route.scope)],
                status_code=route.status_code,
                responses=route.answers,
                openapi_extra=route.request,
                tags=[api.tag],
            )
    return router


def request_body(schema: dict[str, Any], example: Any, content_type: str = "application/json") -> dict[str, Any]:
    """The OpenAPI of a body that is read from its text."""
    content = {content_type: {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def model_body(model: type[Body], example: Any) -> dict[str, Any]:
    """The same with the schema of a model."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return request_body(inlined(schema), example)


def inlined(schema: Any) -> Any:
    """A JSON schema whose definitions stand where they are used."""
    definitions = schema.get("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(member) for member in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return resolve(definitions[part["$ref"].rpartition("/")[2]])
        return {name: resolve(member) for name, member in part.items() if name != "$defs"}

    return resolve(schema)


def answers_json(schema: dict[str, Any], example: Any, description: str) -> Answers:
    """The OpenAPI of a 200 whose body is JSON without a model."""
    return {200: {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}}


async def read_model(request: Request, model: type[Model], *, levels: int) -> Model:
    """A body that holds metadata, that many levels deep, with every value as it was sent. Raises BadRequest."""
    value = jsontext.parse(await request.body(), max_depth=jsontext.MAX_DEPTH + levels)
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors()) from exc


def answer_about(endpoint: Endpoint, body: Any, if_none_match: str | None) -> Response:
    """What was read of an endpoint, unless the caller has it already."""
    headers = {"ETag": etag_of(endpoint.revision)}
    if is_unchanged(if_none_match, endpoint.revision):
        return Response(status_code=304, headers=headers)
    return json_response(body, headers=headers)


def check_tenant(tenant_id: str | None, tenant: str) -> None:
    """Raises NotFound for another tenant: it has nothing here."""
    if tenant_id not in (None, tenant):
        raise NotFound("no such tenant")


async def in_time(seconds: float, work: Awaitable[Result]) -> Result:
    """Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as exc:
        raise DeadlineExceeded("not done in time") from exc
