"""Which scope each route of epr demands."""

from support.scopes import all_but, answers, declared_scopes, refusal

from .conftest import Replica

SCOPES = {
    "POST /endpoints": "application:endpoint:create",
    "GET /endpoints": "endpoint:read",
    "POST /endpoints/search": "endpoint:read",
    "POST /endpoints/delete": "endpoint:delete",
    "POST /endpoints/batch": "application:endpoint:create",
    "GET /endpoints/batch/status": "application:endpoint:create",
    "GET /endpoints/{endpointId}": "endpoint:read",
    "DELETE /endpoints/{endpointId}": "endpoint:delete",
    "GET /endpoints/{endpointId}/app-version": "endpoint:read",
    "PUT /endpoints/{endpointId}/app-version": "endpoint:update",
    "GET /endpoints/{endpointId}/relations": "endpoint:read",
    "PUT /relations/link": "endpoint:update",
    "PUT /relations/unlink": "endpoint:update",
    "GET /applications/{applicationName}/metadata-keys": "application:endpoints-metadata-keys:read",
    "GET /endpoints/{endpointId}/metadata": "endpoint:read",
    "PUT /endpoints/{endpointId}/metadata": "endpoint:update",
    "PATCH /endpoints/{endpointId}/metadata": "endpoint:update",
    "GET /endpoints/{endpointId}/metadata-keys": "endpoint:read",
    "GET /endpoints/{endpointId}/metadata/{metadataKey}": "endpoint:read",
    "PUT /endpoints/{endpointId}/metadata/{metadataKey}": "endpoint:update",
    "DELETE /endpoints/{endpointId}/metadata/{metadataKey}": "endpoint:update",
}


async def test_every_route_demands_its_scope(epr: Replica) -> None:
    router = epr.api.router()

    refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
    accepted = await answers(router, SCOPES)

    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert not [route for route in SCOPES if accepted[route] == refused[route] or accepted[route][0] in (401, 403)]
