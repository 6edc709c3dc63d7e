"""Which scope each route of tekton demands."""

from support.scopes import all_but, answers, declared_scopes, refusal
from tekton.applications import Applications
from tekton.rest_api import RestApi
from tekton.service_instances import ServiceInstances
from tekton.tenants import Tenants

SCOPES = {
    "POST /applications": "kaa:application:create",
    "GET /applications": "application:read",
    "GET /applications/{app_name}": "application:read",
    "PATCH /applications/{app_name}": "application:update",
    "DELETE /applications/{app_name}": "application:delete",
    "POST /applications/{app_name}/app-versions": "application:update",
    "GET /applications/{app_name}/app-versions": "application:read",
    "GET /applications/{app_name}/app-versions/{app_version_name}": "application:read",
    "PATCH /applications/{app_name}/app-versions/{app_version_name}": "application:update",
    "DELETE /applications/{app_name}/app-versions/{app_version_name}": "application:update",
    "PUT /app-configs/applications/{app_name}/app-versions/{app_version_name}": "application:update",
    "GET /app-configs/applications/{app_name}/app-versions/{app_version_name}": "application:read",
    "PATCH /app-configs/applications/{app_name}/app-versions/{app_version_name}": "application:update",
    "GET /app-configs": "kaa:application:read",
    "PUT /app-configs/applications/{app_name}": "application:update",
    "GET /app-configs/applications/{app_name}": "application:read",
    "PATCH /app-configs/applications/{app_name}": "application:update",
    "PUT /tenant-configs": "kaa:tenant:configuration:update",
    "GET /tenant-configs": "kaa:tenant:configuration:read",
    "GET /service-instances": "application:read",
    "GET /service-instances/{service_instance_name}": "application:read",
}


async def test_every_route_demands_its_scope(
    applications: Applications, tenants: Tenants, service_instances: ServiceInstances
) -> None:
    router = RestApi(applications, tenants, service_instances).router()

    refused = await answers(router, {route: all_but(scope, SCOPES) for route, scope in SCOPES.items()})
    accepted = await answers(router, SCOPES)

    assert declared_scopes(router) == SCOPES
    assert refused == {route: refusal(route, scope) for route, scope in SCOPES.items()}
    assert not [route for route in SCOPES if accepted[route] == refused[route] or accepted[route][0] in (401, 403)]
