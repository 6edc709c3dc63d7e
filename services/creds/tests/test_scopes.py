"""Which scope each route below `/cm` demands."""

from creds.cut_off import CutOff
from creds.register import Register
from creds.rest_api import RestApi
from creds.tokens import Tokens
from kaa_common.rpc import Rpc
from support.scopes import all_but, answers, declared_scopes, refusal

SCOPES = {
    "GET /endpoints/{endpointId}/tokens": "endpoint:read",
    "POST /endpoints/{endpointId}/tokens": "endpoint:update",
    "GET /endpoints/{endpointId}/tokens/{tokenId}": "endpoint:read",
    "PUT /endpoints/{endpointId}/tokens/{tokenId}/status": "endpoint:update",
    "DELETE /endpoints/{endpointId}/tokens/{tokenId}": "endpoint:update",
}


async def test_every_route_demands_its_scope(tokens: Tokens, rpc: Rpc, suffix: str) -> None:
    router = RestApi(tokens, Register(rpc, f"epr-{suffix}"), CutOff(rpc, f"kpc-{suffix}"), "tenant").router()

    refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
    accepted = await answers(router, SCOPES)

    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert not [route for route in SCOPES if accepted[route] == refused[route] or accepted[route][0] in (401, 403)]
