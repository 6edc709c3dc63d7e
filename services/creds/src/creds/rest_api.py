"""The REST interface below `/cm/api/v1`: requests become calls of the use cases, their results answers."""

import hashlib
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from creds.cut_off import CutOff
from creds.model import ENDPOINT_ID, REFUSED, TokenStatus
from creds.register import Register
from creds.rest_bodies import (
    EXAMPLE_ENDPOINT_ID,
    EXAMPLE_TOKEN_ID,
    ChangedTokenBody,
    CutOffBody,
    NewTokenBody,
    ProvisionedTokenBody,
    StatusBody,
    TokenBody,
    TokensBody,
    WithdrawnBody,
)
from creds.rest_routes import CHANGE, CREATE, DELETE, READ, IfMatch, IfNoneMatch, Route, router_of, show_once
from creds.tokens import Tokens
from kaa_common import jsontext
from kaa_common.errors import BadRequest, Conflict
from kaa_common.rest import DEFAULT_LIMIT, Limit, Offset, check_if_match, etag_of, is_unchanged, tags_in

EndpointId = Annotated[
    str,
    Path(alias="endpointId", pattern=ENDPOINT_ID, description="Id of an endpoint.", examples=[EXAMPLE_ENDPOINT_ID]),
]
TokenId = Annotated[str, Path(alias="tokenId", description="Id of a token.", examples=[EXAMPLE_TOKEN_ID])]
Statuses = Annotated[list[TokenStatus] | None, Query(alias="status", description="Only tokens in one of these.")]
Order = Annotated[Literal["ASC", "DESC"], Query(description="By creation; DESC is the newest first.")]
MAY_READ, MAY_UPDATE = "endpoint:read", "endpoint:update"


class RestApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, tokens: Tokens, register: Register, cut_off: CutOff, tenant_id: str) -> None:
        self._tokens = tokens
        self._cut_off = cut_off
        self._register = register
        self._tenant_id = tenant_id

    def router(self) -> APIRouter:
        tokens = "/endpoints/{endpointId}/tokens"
        token = f"{tokens}/{{tokenId}}"
        return router_of(
            Route(READ, tokens, MAY_READ, self.list_tokens, TokensBody),
            Route(CREATE.failing(404, 409, 504), tokens, MAY_UPDATE, self.provision_token, ProvisionedTokenBody),
            Route(READ, token, MAY_READ, self.get_token, TokenBody),
            Route(CHANGE, f"{token}/status", MAY_UPDATE, self.change_status, ChangedTokenBody),
            Route(DELETE, token, MAY_UPDATE, self.delete_token, WithdrawnBody),
        )

    async def list_tokens(
        self,
        endpoint_id: EndpointId,
        status: Statuses = None,
        offset: Offset = 0,
        limit: Limit = DEFAULT_LIMIT,
        order: Order = "DESC",
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """Tokens of an endpoint; their values are not kept. There are at most 500 of them."""
        tokens = await self._tokens.of_endpoint(endpoint_id, status or (), newest_first=order == "DESC")
        page = TokensBody(
            content=[TokenBody.of(token) for token in tokens[offset : offset + limit]], total_elements=len(tokens)
        )
        body = jsontext.dump(page.model_dump(by_alias=True, exclude_none=True))
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if if_none_match is not None and tags_in(if_none_match) & {"*", etag}:
            return Response(status_code=304, headers={"ETag": etag})
        return Response(body, headers={"ETag": etag}, media_type="application/json")

    async def provision_token(
        self, endpoint_id: EndpointId, body: NewTokenBody, request: Request, response: Response
    ) -> ProvisionedTokenBody:
        """Give an endpoint one more token, besides those that it has. Its value is in this answer and in no other."""
        if await self._register.application_of(endpoint_id) != body.application_name:
            raise BadRequest("applicationName: the endpoint is in another application")
        provisioned = await self._tokens.provision(self._tenant_id, body.application_name, endpoint_id, body.token)
        if not provisioned.is_new:
            raise Conflict("the endpoint has this token already")
        token = provisioned.token
        show_once(request, response, token.id, token.revision)
        return ProvisionedTokenBody.with_value(token, provisioned.value)

    async def get_token(
        self, endpoint_id: EndpointId, token_id: TokenId, response: Response, if_none_match: IfNoneMatch = None
    ) -> TokenBody | Response:
        """Show a token; its value is not kept."""
        token = await self._tokens.get(endpoint_id, token_id)
        headers = {"ETag": etag_of(token.revision)}
        if is_unchanged(if_none_match, token.revision):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return TokenBody.of(token)

    async def change_status(
        self, endpoint_id: EndpointId, token_id: TokenId, body: StatusBody, response: Response, if_match: IfMatch = None
    ) -> ChangedTokenBody:
        """Suspend, revoke or activate a token.

        A suspended or revoked one is cut off: the answer comes when every communication replica has confirmed that,
        or after a second, and says which did. A change that may not follow the current status is a 409.
        """
        token = await self._tokens.move_of(endpoint_id, token_id, body.status, partial(check_if_match, if_match))
        response.headers["ETag"] = etag_of(token.revision)
        receipt = await self._cut_off.of_tokens(endpoint_id, [token_id]) if body.status in REFUSED else None
        return ChangedTokenBody.with_receipt(token, receipt)

    async def delete_token(self, endpoint_id: EndpointId, token_id: TokenId, if_match: IfMatch = None) -> WithdrawnBody:
        """Delete a token, which cuts it off as a revocation does."""
        await self._tokens.delete(endpoint_id, token_id, partial(check_if_match, if_match))
        return WithdrawnBody(cut_off=CutOffBody.of(await self._cut_off.of_tokens(endpoint_id, [token_id])))
