"""The REST interface below `/tekton/api/v1`: requests become calls of the use cases, their results answers.

An application, its versions and their configurations share one revision, hence one ETag.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from kaa_common import rest
from kaa_common.errors import BadRequest
from kaa_common.rest import StrictRoute, check_if_match, errors, etag_of, is_unchanged, requires
from tekton.applications import Applications
from tekton.configuration import checked, nested, tenant_in, tenant_path, unnested, version_path
from tekton.model import Application, TenantConfiguration
from tekton.rest_bodies import (
    ApplicationBody,
    ApplicationVersionBody,
    NewApplicationBody,
    NewApplicationVersionBody,
    TextsBody,
)
from tekton.tenants import Tenants

IfMatch = Annotated[str | None, Header(description="Change nothing unless this is the current ETag.")]
IfNoneMatch = Annotated[str | None, Header(description="Answer 304 if this is the current ETag.")]
ConfigurationBody = Annotated[
    Any,  # Any: JSON that `unnested` checks
    Body(
        description="By service instance; null instead of a configuration removes it.",
        examples=[{"kpc": {"kaa": {"applications": {"meters": {"versions": {"meters-v1": {}}}}}}}],
    ),
]

TenantConfigurationBody = Annotated[
    Any,  # Any: as above
    Body(
        description="By service instance; null instead of a configuration removes it.",
        examples=[
            {
                "kpc": {
                    "kaa": {
                        "tenants": {
                            "default": {"config": {"transports": {"mqtt": {"tcp": {"basic-auth": {"required": True}}}}}}
                        }
                    }
                }
            }
        ],
    ),
]
ServiceInstanceNames = Annotated[list[str] | None, Query(alias="serviceInstanceName")]

READ, UPDATE, DELETE = "application:read", "application:update", "application:delete"
CREATE = "kaa:application:create"
READ_TENANT, UPDATE_TENANT = "kaa:tenant:configuration:read", "kaa:tenant:configuration:update"
Route = tuple[str, str, str, Callable[..., Any], int, Any, dict[int | str, dict[str, Any]]]
"""Method, path, scope, handler, status code and body of its success, error answers. Any: what FastAPI takes it for."""


class RestApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, applications: Applications, tenants: Tenants) -> None:
        self._applications = applications
        self._tenants = tenants

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute)
        applications = "/applications"
        application = f"{applications}/{{app_name}}"
        versions = f"{application}/app-versions"
        version = f"{versions}/{{app_version_name}}"
        configuration = f"/app-configs{version}"
        tenant_configs = "/tenant-configs"
        routes: tuple[Route, ...] = (
            ("POST", applications, CREATE, self.create_application, 201, ApplicationBody, errors(409)),
            ("GET", applications, READ, self.list_applications, 200, list[ApplicationBody], {}),
            ("GET", application, READ, self.get_application, 200, ApplicationBody, errors(404)),
            ("PATCH", application, UPDATE, self.update_application, 200, ApplicationBody, errors(404, 412)),
            ("DELETE", application, DELETE, self.delete_application, 204, None, errors(404, 409, 412)),
            ("POST", versions, UPDATE, self.create_version, 201, ApplicationVersionBody, errors(404, 409)),
            ("GET", versions, READ, self.list_versions, 200, list[ApplicationVersionBody], errors(404)),
            ("GET", version, READ, self.get_version, 200, ApplicationVersionBody, errors(404)),
            ("PATCH", version, UPDATE, self.update_version, 200, ApplicationVersionBody, errors(404, 412)),
            ("DELETE", version, UPDATE, self.delete_version, 204, None, errors(404, 412)),
            ("PUT", configuration, UPDATE, self.put_configuration, 200, dict[str, Any], errors(404, 412, 413)),
            ("GET", configuration, READ, self.get_configuration, 200, dict[str, Any], errors(404)),
            ("PATCH", configuration, UPDATE, self.merge_configuration, 200, dict[str, Any], errors(404, 412, 413)),
            ("PUT", tenant_configs, UPDATE_TENANT, self.put_tenant_configs, 200, dict[str, Any], errors(412, 413)),
            ("GET", tenant_configs, READ_TENANT, self.get_tenant_configs, 200, dict[str, Any], {}),
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

    async def create_application(
        self, body: NewApplicationBody, request: Request, response: Response
    ) -> ApplicationBody:
        application = await self._applications.create(body.name, body.texts())
        response.headers.update(_created(request, application.name, application))
        return ApplicationBody.of_application(application)

    async def list_applications(self) -> list[ApplicationBody]:
        return [ApplicationBody.of_application(application) for application in await self._applications.list_all()]

    async def get_application(
        self, app_name: str, response: Response, if_none_match: IfNoneMatch = None
    ) -> ApplicationBody | Response:
        application = await self._applications.get(app_name)
        if is_unchanged(if_none_match, application.revision):
            return _unchanged(application)
        response.headers.update(_tagged(application.revision))
        return ApplicationBody.of_application(application)

    async def update_application(
        self, app_name: str, body: TextsBody, response: Response, if_match: IfMatch = None
    ) -> ApplicationBody:
        application = await self._applications.describe(app_name, body.texts(), partial(check_if_match, if_match))
        response.headers.update(_tagged(application.revision))
        return ApplicationBody.of_application(application)

    async def delete_application(self, app_name: str, if_match: IfMatch = None) -> None:
        await self._applications.delete(app_name, partial(check_if_match, if_match))

    async def delete_version(self, app_name: str, app_version_name: str, if_match: IfMatch = None) -> None:
        await self._applications.delete_version(app_name, app_version_name, partial(check_if_match, if_match))

    async def create_version(
        self, app_name: str, body: NewApplicationVersionBody, request: Request, response: Response
    ) -> ApplicationVersionBody:
        application, version = await self._applications.create_version(app_name, body.name_suffix, body.texts())
        response.headers.update(_created(request, version.name, application))
        return ApplicationVersionBody.of(version)

    async def list_versions(self, app_name: str) -> list[ApplicationVersionBody]:
        application = await self._applications.get(app_name)
        return [ApplicationVersionBody.of(version) for version in application.versions.values()]

    async def get_version(
        self, app_name: str, app_version_name: str, response: Response, if_none_match: IfNoneMatch = None
    ) -> ApplicationVersionBody | Response:
        application = await self._applications.get(app_name)
        version = application.version(app_version_name)
        if is_unchanged(if_none_match, application.revision):
            return _unchanged(application)
        response.headers.update(_tagged(application.revision))
        return ApplicationVersionBody.of(version)

    async def update_version(
        self, app_name: str, app_version_name: str, body: TextsBody, response: Response, if_match: IfMatch = None
    ) -> ApplicationVersionBody:
        application = await self._applications.describe_version(
            app_name, app_version_name, body.texts(), partial(check_if_match, if_match)
        )
        response.headers.update(_tagged(application.revision))
        return ApplicationVersionBody.of(application.version(app_version_name))

    async def put_configuration(
        self, app_name: str, app_version_name: str, body: ConfigurationBody, if_match: IfMatch = None
    ) -> Response:
        configurations = checked(unnested(body, version_path(app_name, app_version_name)))
        application = await self._applications.configure(
            app_name, app_version_name, configurations, partial(check_if_match, if_match)
        )
        return _configuration(application, app_version_name, list(configurations))

    async def get_configuration(
        self,
        app_name: str,
        app_version_name: str,
        service_instance_name: ServiceInstanceNames = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        application = await self._applications.get(app_name)
        application.version(app_version_name)
        if is_unchanged(if_none_match, application.revision):
            return _unchanged(application)
        return _configuration(application, app_version_name, service_instance_name)

    async def merge_configuration(
        self,
        app_name: str,
        app_version_name: str,
        body: ConfigurationBody,
        service_instance_name: Annotated[str, Query(alias="serviceInstanceName")],
        if_match: IfMatch = None,
    ) -> Response:
        """Apply a JSON merge patch (RFC 7396) to the configuration for one service instance."""
        patches = unnested(body, version_path(app_name, app_version_name))
        if list(patches) != [service_instance_name]:
            raise BadRequest("the body has the configuration for serviceInstanceName, and no other")
        application = await self._applications.merge_configuration(
            app_name,
            app_version_name,
            service_instance_name,
            patches[service_instance_name],
            partial(check_if_match, if_match),
        )
        return _configuration(application, app_version_name, [service_instance_name])

    async def put_tenant_configs(self, body: TenantConfigurationBody, if_match: IfMatch = None) -> Response:
        """Put these configurations of a tenant in the place of the former ones of the same service instances."""
        tenant_id = tenant_in(body)
        configurations = checked(unnested(body, tenant_path(tenant_id)))
        tenant = await self._tenants.configure(tenant_id, configurations, partial(check_if_match, if_match))
        return _tenant_configuration(tenant, list(configurations))

    async def get_tenant_configs(
        self,
        service_instance_name: ServiceInstanceNames = None,
        tenant_id: Annotated[
            str | None, Query(alias="tenantId", description="The tenant of the installation when it is missing.")
        ] = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The configurations of a tenant."""
        tenant = await self._tenants.get(tenant_id)
        if is_unchanged(if_none_match, tenant.revision):
            return Response(status_code=304, headers=_tagged(tenant.revision))
        return _tenant_configuration(tenant, service_instance_name)


def _tenant_configuration(tenant: TenantConfiguration, instances: list[str] | None) -> Response:
    """The configurations for these service instances, null where there is none; for all that have one when None."""
    shown = {instance: tenant.configurations.get(instance) for instance in instances or tenant.configurations}
    return rest.json_response(nested(shown, tenant_path(tenant.tenant_id)), headers=_tagged(tenant.revision))


def _configuration(application: Application, app_version_name: str, instances: list[str] | None) -> Response:
    """The configurations for these service instances, null where there is none; for all that have one when None."""
    configurations = application.version(app_version_name).configurations
    shown = {instance: configurations.get(instance) for instance in instances or configurations}
    path = version_path(application.name, app_version_name)
    return rest.json_response(nested(shown, path), headers=_tagged(application.revision))


def _tagged(revision: int) -> dict[str, str]:
    return {"ETag": etag_of(revision)}


def _created(request: Request, name: str, application: Application) -> dict[str, str]:
    return {"Location": f"{request.url.replace(query='')}/{name}", **_tagged(application.revision)}


def _unchanged(application: Application) -> Response:
    return Response(status_code=304, headers=_tagged(application.revision))
