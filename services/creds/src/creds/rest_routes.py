"""What the routes of both REST interfaces have in common: how they are declared, their headers, and their answers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from kaa_common.rest import StrictRoute, errors, etag_of, requires

IfMatch = Annotated[
    str | None, Header(description="Change nothing unless this is the current ETag, else 412.", examples=['"1"'])
]
IfNoneMatch = Annotated[
    str | None, Header(description="The ETag that the caller has: 304 when it is still the current one.")
]

Described = dict[str, Any]  # Any: OpenAPI
Answers = dict[int | str, Described]


def _header(description: str, example: str) -> Described:
    return {"description": description, "schema": {"type": "string"}, "example": example}


_ETAG: Final = {"ETag": _header("Changes with what is answered.", '"1"')}
_LOCATION: Final = {"Location": _header("The address of what was created.", "http://localhost:8080/...")}
_LINK: Final = {"Link": _header("Leads to the next page, if there is one.", '<...?offset=1000&limit=1000>; rel="next"')}
_NOT_MODIFIED: Final[Answers] = {304: {"description": "Not Modified"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What calls of one kind have in common."""

    method: str
    status_code: int = 200
    """Of a success."""
    headers: Described = field(default_factory=dict)
    """Of a success."""
    answers: Answers = field(default_factory=dict)
    """The others, besides those of every call."""

    def failing(self, *status_codes: int) -> Self:
        """The same with these failures."""
        return replace(self, answers={**self.answers, **errors(*status_codes)})


LIST: Final = Kind(method="GET", headers=_LINK)
READ: Final = Kind(method="GET", headers=_ETAG, answers=_NOT_MODIFIED).failing(404)
CREATE: Final = Kind(method="POST", status_code=201, headers={**_LOCATION, **_ETAG})
CHANGE: Final = Kind(method="PUT", headers=_ETAG).failing(404, 409, 412)
DELETE: Final = Kind(method="DELETE").failing(404, 412)


@dataclass(frozen=True, slots=True)
class Route:
    """A call of an interface."""

    kind: Kind
    path: str
    scope: str
    handler: Callable[..., Any]  # Any: as FastAPI has it
    body: Any
    """Type of the body of a success; None for one that the kind describes."""


def router_of(*routes: Route) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    for route in routes:
        kind = route.kind
        success = {**kind.answers.get(kind.status_code, {}), "headers": kind.headers}
        router.add_api_route(
            route.path,
            route.handler,
            methods=[kind.method],
            dependencies=[requires(route.scope)],
            status_code=kind.status_code,
            response_model=route.body,
            response_class=Response if route.body is None else JSONResponse,
            response_model_exclude_none=True,
            responses={**kind.answers, kind.status_code: success},
        )
    return router


def show_once(request: Request, response: Response, created_id: str, revision: int) -> None:
    """The headers of an answer that has a secret in it: where its owner is, and that nobody may keep it."""
    response.headers["Location"] = f"{request.url.replace(query='')}/{created_id}"
    response.headers["ETag"] = etag_of(revision)
    response.headers["Cache-Control"] = "no-store"
