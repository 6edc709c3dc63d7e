"""What tekton's routes have in common: how they are declared, their parameters, their ETags."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from kaa_common.rest import etag_of, requires

IfMatch = Annotated[str | None, Header(description="Change nothing unless this is the current ETag.")]
IfNoneMatch = Annotated[str | None, Header(description="Answer 304 if this is the current ETag.")]

READ, UPDATE, DELETE = "application:read", "application:update", "application:delete"
CREATE, READ_ALL = "kaa:application:create", "kaa:application:read"
READ_TENANT, UPDATE_TENANT = "kaa:tenant:configuration:read", "kaa:tenant:configuration:update"

Route = tuple[str, str, str, Callable[..., Any], int, Any, dict[int | str, dict[str, Any]]]
"""Method, path, scope, handler, status code and body of its success, error answers. Any: what FastAPI takes it for."""

APPLICATIONS = "/applications"
APPLICATION = f"{APPLICATIONS}/{{app_name}}"
VERSIONS = f"{APPLICATION}/app-versions"
VERSION = f"{VERSIONS}/{{app_version_name}}"


def add_routes(router: APIRouter, routes: Iterable[Route]) -> None:
    for method, path, scope, handler, status_code, answer, failures in routes:
        router.add_api_route(
            path,
            handler,
            methods=[method],
            dependencies=[requires(scope)],
            status_code=status_code,
            response_model=answer,
            response_model_exclude_none=True,
            responses=failures,
        )


def tagged(revision: int) -> dict[str, str]:
    return {"ETag": etag_of(revision)}


def unchanged(revision: int) -> Response:
    return Response(status_code=304, headers=tagged(revision))
