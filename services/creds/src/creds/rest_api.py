"""The REST interface below `/cm/api/v1`: requests become calls of the use cases, their results answers."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from creds.cut_off import CutOff
from creds.model import REFUSED, status_named
from creds.register import Register
from creds.rest_bodies import (
    ChangedTokenBody,
    CutOffBody,
    NewTokenBody,
    ProvisionedTokenBody,
    StatusBody,
    TokenBody,
    TokensBody,
    WithdrawnBody,
)
from creds.tokens import Tokens
from kaa_common import jsontext
from kaa_common.errors import BadRequest, Conflict
from kaa_common.rest import (
    DEFAULT_LIMIT,
    Limit,
    Offset,
    StrictRoute,
    check_if_match,
    errors,
    etag_of,
    is_unchanged,
    requires,
    tags_in,
)

IfMatch = Annotated[str | None, Header(description="Change nothing unless this is the token's current ETag.")]
IfNoneMatch = Annotated[str | None, Header(description="Answer 304 if this is the current ETag.")]
Statuses = Annotated[list[str] | None, Query(alias="status", description="Only tokens in one of these.")]
Order = Annotated[Literal["ASC", "DESC"], Query(description="By creation; DESC is the newest first.")]
READ, UPDATE = "endpoint:read", "endpoint:update"
Route = tuple[str, str, str, Callable[..., Any], int, Any, dict[int | str, dict[str, Any]]]
"""Method, path, scope, handler, status code and body of its success, error answers. Any: what FastAPI takes it for."""


class RestApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, tokens: Tokens, register: Register, cut_off: CutOff, tenant_id: str) -> None:
        self._tokens = tokens
        self._cut_off = cut_off
        self._register = register
        self._tenant_id = tenant_id

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute)
        tokens = "/endpoints/{endpoint_id}/tokens"
        token = f"{tokens}/{{token_id}}"
        routes: tuple[Route, ...] = (
            ("GET", tokens, READ, self.list_tokens, 200, TokensBody, {}),
            ("POST", tokens, UPDATE, self.provision_token, 201, ProvisionedTokenBody, errors(404, 409, 504)),
            ("GET", token, READ, self.get_token, 200, TokenBody, errors(404)),
            ("PUT", f"{token}/status", UPDATE, self.change_status, 200, ChangedTokenBody, errors(404, 409, 412)),
            ("DELETE", token, UPDATE, self.delete_token, 200, WithdrawnBody, errors(404, 412)),
        )
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
        return router

    async def list_tokens(
        self,
        endpoint_id: str,
        status: Statuses = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        order: Order = "DESC",
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        statuses = [status_named(name) for name in status or ()]
        tokens = await self._tokens.of_endpoint(endpoint_id, statuses, newest_first=order == "DESC")
        page = TokensBody(
            content=[TokenBody.of(token) for token in tokens[offset : offset + limit]], total_elements=len(tokens)
        )
        body = jsontext.dump(page.model_dump(by_alias=True, exclude_none=True))
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if if_none_match is not None and tags_in(if_none_match) & {"*", etag}:
            return Response(status_code=304, headers={"ETag": etag})
        return Response(body, headers={"ETag": etag}, media_type="application/json")

    async def provision_token(
        self, endpoint_id: str, body: NewTokenBody, request: Request, response: Response
    ) -> ProvisionedTokenBody:
        if await self._register.application_of(endpoint_id) != body.application_name:
            raise BadRequest("the endpoint is in another application")
        provisioned = await self._tokens.provision(self._tenant_id, body.application_name, endpoint_id, body.token)
        if not provisioned.is_new:
            raise Conflict("the endpoint has this token already")
        token = provisioned.token
        response.headers["Location"] = f"{request.url.replace(query='')}/{token.id}"
        response.headers["ETag"] = etag_of(token.revision)
        return ProvisionedTokenBody.with_value(token, provisioned.value)

    async def get_token(
        self, endpoint_id: str, token_id: str, response: Response, if_none_match: IfNoneMatch = None
    ) -> TokenBody | Response:
        token = await self._tokens.get(endpoint_id, token_id)
        headers = {"ETag": etag_of(token.revision)}
        if is_unchanged(if_none_match, token.revision):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return TokenBody.of(token)

    async def change_status(
        self, endpoint_id: str, token_id: str, body: StatusBody, response: Response, if_match: IfMatch = None
    ) -> ChangedTokenBody:
        """Suspend, revoke or activate a token.

        A suspended or revoked one is cut off: the answer comes when every communication replica has confirmed that,
        or after a second, and says which did.
        """
        target = status_named(body.status)
        token = await self._tokens.move_of(endpoint_id, token_id, target, partial(check_if_match, if_match))
        response.headers["ETag"] = etag_of(token.revision)
        receipt = await self._cut_off.of_tokens(endpoint_id, [token_id]) if target in REFUSED else None
        return ChangedTokenBody.with_receipt(token, receipt)

    async def delete_token(self, endpoint_id: str, token_id: str, if_match: IfMatch = None) -> WithdrawnBody:
        """Delete a token, which cuts it off as a revocation does."""
        await self._tokens.delete(endpoint_id, token_id, partial(check_if_match, if_match))
        return WithdrawnBody(cut_off=CutOffBody.of(await self._cut_off.of_tokens(endpoint_id, [token_id])))
