"""Which scope each route below `/ccm` demands."""

from creds.clients.app import Clients
from creds.clients.rest_api import ClientsRestApi
from creds.cut_off import CutOff
from kaa_common.rpc import Rpc
from support.scopes import all_but, answers, declared_scopes, refusal

SCOPES = {
    "GET /basic-credentials": "tenant:basic-credentials:read",
    "POST /basic-credentials": "tenant:basic-credentials:create",
    "GET /basic-credentials/{id}": "tenant:basic-credentials:read",
    "PUT /basic-credentials/{id}/status": "tenant:basic-credentials:update",
    "DELETE /basic-credentials/{id}": "tenant:basic-credentials:update",
    "GET /x509-credentials": "tenant:x509-credentials:read",
    "POST /x509-credentials": "tenant:x509-credentials:create",
    "GET /x509-credentials/{id}": "tenant:x509-credentials:read",
    "PUT /x509-credentials/{id}/status": "tenant:x509-credentials:update",
    "DELETE /x509-credentials/{id}": "tenant:x509-credentials:update",
    "GET /ca-certificates": "tenant:x509-credentials:read",
}


async def test_every_route_demands_its_scope(clients: Clients, rpc: Rpc, suffix: str) -> None:
    router = ClientsRestApi(clients, CutOff(rpc, f"kpc-{suffix}"), "tenant").router()

    refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
    accepted = await answers(router, SCOPES)

    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert not [route for route in SCOPES if accepted[route] == refused[route] or accepted[route][0] in (401, 403)]
