"""What the REST interfaces share: strict JSON, `{"message"}` errors, ETags, paging, bounded bodies, access.

Every route but public ones declares the scope it needs (`requires`), which is checked before anything is read. Without
it a change, or a read of a collection, is a 403 that names the scope. A read whose path names a resource is a 404,
whether or not there is one: what the caller may not read does not exist for him.
"""

import re
from collections.abc import Callable, Coroutine
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Security
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaa_common import jsontext
from kaa_common.access import Access, InvalidToken
from kaa_common.errors import Forbidden, KaaError, NotFound, PayloadTooLarge, PreconditionFailed, Unauthorized
from kaa_common.http_errors import answer_error, answer_http_error

MAX_BODY = 1024 * 1024
"""Bytes of a request body: four times the largest metadata document."""
DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
MAX_OFFSET = 2**53 - 1
"""What every JSON client can write exactly; the databases take 64 bits."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items of the page.")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Index of the first item.")]


class Body(BaseModel):
    """A JSON object of the interface: camelCase names, unknown ones refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class ErrorBody(BaseModel):
    """Body of every error."""

    message: str = Field(examples=["no application with this name"])


def errors(*status_codes: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of these error answers."""
    return {code: {"model": ErrorBody, "description": HTTPStatus(code).phrase} for code in status_codes}


class StrictRequest(Request):
    """Reads JSON by `jsontext`: what it accepts can be stored exactly."""

    async def json(self) -> Any:
        return jsontext.parse(await self.body())


_api_key_scheme = APIKeyHeader(name="X-API-Key", auto_error=False, description="Has every scope.")
_bearer_scheme = HTTPBearer(
    bearerFormat="JWT",
    auto_error=False,
    description="Of the configured OpenID Connect issuer, with the operation's scope in its claim `scope` or `scp`.",
)


async def _describe_access(
    api_key: Annotated[str | None, Depends(_api_key_scheme)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer_scheme)],
) -> None:
    """Puts the security schemes into the OpenAPI; `StrictRoute` checks."""


def requires(scope: str) -> Security:
    """What a route has among its dependencies to demand the scope."""
    return Security(_describe_access, scopes=[scope])


def scope_of(route: APIRoute) -> str:
    """The scope that a route demands. Raises ValueError if there is none."""
    for dependency in route.dependencies:
        if isinstance(dependency, Security) and dependency.scopes:
            return dependency.scopes[0]
    raise ValueError(f"{route.path} demands no scope")


class StrictRoute(APIRoute):
    """Checks access, hands a StrictRequest to the operation, and tells what is wrong with its body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        scope = scope_of(self)
        reads_one = self.methods == {"GET"} and bool(self.param_convertors)

        async def handle_strictly(request: Request) -> Response:
            access: Access = request.app.state.access
            if not await access.allows(request.headers, scope):
                if reads_one:
                    raise NotFound(f"nothing is found without the scope {scope}")
                raise Forbidden(f"the scope {scope} is required")
            try:
                return await handle(StrictRequest(request.scope, request.receive))
            except HTTPException as exc:
                # FastAPI makes a 400 without details of whatever reading the body raises.
                if isinstance(exc.__cause__, KaaError):
                    raise exc.__cause__ from None
                raise

        return handle_strictly


class PublicRoute(APIRoute):
    """Open to everybody, without a key or a token: what it answers is public anyway, and it reads no body."""


def rest_api(title: str, description: str, prefix: str, router: APIRouter, access: Access) -> ASGIApp:
    """The REST interface of a service below `<prefix>/api/v1`, its OpenAPI at `<prefix>/api/v1/openapi.json`.

    Its documentation at `<prefix>/api/v1/docs` needs nothing from elsewhere, so it works in a closed network as well.
    Each route of `router` must be a StrictRoute, which checks access, or a PublicRoute. Raises ValueError otherwise.
    """
    for route in router.routes:
        if not isinstance(route, StrictRoute | PublicRoute):
            raise ValueError(f"{getattr(route, 'path', route)} is no StrictRoute")
    base = f"{prefix}/api/v1"
    api = FastAPIOffline(
        title=title,
        description=description,
        openapi_url=f"{base}/openapi.json",
        docs_url=f"{base}/docs",
        swagger_ui_oauth2_redirect_url=f"{base}/docs/oauth2-redirect",
        static_url=f"{base}/docs-assets",
        redoc_url=None,
        responses=errors(400, 401, 403, 500, 503),
    )
    api.state.access = access
    api.state.base, api.state.routes = base, router.routes
    api.include_router(router, prefix=base)
    api.add_exception_handler(Unauthorized, _answer_unauthorized)
    api.add_exception_handler(KaaError, answer_error)
    api.add_exception_handler(RequestValidationError, _answer_invalid_request)
    api.add_exception_handler(HTTPException, _answer_http_error)
    api.add_exception_handler(Exception, answer_error)
    api.openapi = _on_demand(api.openapi)  # type: ignore[method-assign] # as FastAPI documents it
    return BoundedBody(api, MAX_BODY)


def _on_demand(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The OpenAPI is made when somebody asks for it first: that takes as long as all else at the start."""

    @cache
    def openapi() -> dict[str, Any]:
        document = make()
        _describe_answers(document)
        return document

    return openapi


def _describe_answers(document: dict[str, Any]) -> None:
    """Have the OpenAPI say how it is: a bad request gets a 400, no 422 of FastAPI's, and a body may be too long."""
    for operation in (operation for methods in document["paths"].values() for operation in methods.values()):
        answers = operation["responses"]
        if "HTTPValidationError" in str(answers.get("422")):
            del answers["422"]
        if "requestBody" in operation:
            answers.setdefault("413", answers["400"] | {"description": HTTPStatus(413).phrase})
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)


class BoundedBody:
    """Refuses a longer body with PayloadTooLarge, raised where the body is read."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise PayloadTooLarge(f"the body is longer than {self._limit} bytes")
            return message

        await self._app(scope, bounded_receive, send)


def json_response(value: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response that carries the value exactly."""
    return Response(jsontext.dump(value), status_code, headers, media_type="application/json")


def etag_of(revision: int) -> str:
    """The entity tag of a revision (RFC 9110 section 8.8.3)."""
    return f'"{revision}"'


def tags_in(header: str) -> set[str]:
    """The entity tags of an If-Match or If-None-Match header, `*` included, weak ones without their mark."""
    return set(re.findall(r'\*|"[^"]*"', header))


def check_if_match(if_match: str | None, revision: int) -> None:
    """Raises PreconditionFailed unless the header is absent or names the revision (RFC 9110 section 13.1.1)."""
    if if_match is not None and not tags_in(if_match) & {"*", etag_of(revision)}:
        raise PreconditionFailed(f"the current ETag is {etag_of(revision)}")


def is_unchanged(if_none_match: str | None, revision: int) -> bool:
    """Whether the caller has this revision already: answer 304 (RFC 9110 section 13.1.2)."""
    return if_none_match is not None and bool(tags_in(if_none_match) & {"*", etag_of(revision)})


async def _answer_unauthorized(request: Request, error: Exception) -> Response:
    answer = await answer_error(request, error)
    # RFC 6750 section 3: without a token the challenge SHOULD NOT name an error.
    answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if isinstance(error, InvalidToken) else "Bearer"
    return answer


async def _answer_http_error(request: Request, error: Exception) -> Response:
    answer = await answer_http_error(request, error)
    if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names those of the first route with the path, RFC 9110 section 15.5.6 wants all.
        path, routes = request.url.path.removeprefix(request.app.state.base), request.app.state.routes
        methods = {method for route in routes if route.path_regex.match(path) for method in route.methods}
        answer.headers["Allow"] = ", ".join(sorted(methods)) or answer.headers["Allow"]
    return answer


async def _answer_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):
        return JSONResponse({"message": "send JSON, with the header Content-Type: application/json"}, 400)
    problems = [f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in error.errors()]
    return JSONResponse({"message": "; ".join(problems)}, 400)
