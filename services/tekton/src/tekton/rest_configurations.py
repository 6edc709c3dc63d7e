"""The REST interface of configurations: of application versions, of applications themselves, of tenants.

Those of an application and of its versions share the application's revision, hence its ETag; a tenant has one of its
own.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Body, Query, Response

from kaa_common import rest
from kaa_common.errors import BadRequest
from kaa_common.rest import check_if_match, errors, is_unchanged
from tekton.applications import Applications
from tekton.configuration import (
    Path,
    checked,
    checked_of_application,
    configuration_path,
    nested,
    tenant_in,
    tenant_path,
    unnested,
    whole,
)
from tekton.model import Application, Configuration, TenantConfiguration
from tekton.rest_routes import (
    APPLICATION,
    READ,
    READ_ALL,
    READ_TENANT,
    UPDATE,
    UPDATE_TENANT,
    VERSION,
    IfMatch,
    IfNoneMatch,
    Route,
    tagged,
    unchanged,
)
from tekton.tenants import Tenants

_BY_INSTANCE = "By service instance; null instead of a configuration removes it."
VersionConfigurationBody = Annotated[
    Any,  # Any: JSON that `unnested` checks
    Body(
        description=_BY_INSTANCE,
        examples=[{"kpc": {"kaa": {"applications": {"meters": {"versions": {"meters-v1": {}}}}}}}],
    ),
]
ApplicationConfigurationBody = Annotated[
    Any,  # Any: as above
    Body(description=_BY_INSTANCE, examples=[{"ecr": {"kaa": {"applications": {"meters": {}}}}}]),
]
TenantConfigurationBody = Annotated[
    Any,  # Any: as above
    Body(
        description=_BY_INSTANCE,
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
ServiceInstanceName = Annotated[str, Query(alias="serviceInstanceName")]


class ConfigurationsApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, applications: Applications, tenants: Tenants) -> None:
        self._applications = applications
        self._tenants = tenants

    def routes(self) -> Sequence[Route]:
        everything, tenant = "/app-configs", "/tenant-configs"
        of_application, of_version = f"{everything}{APPLICATION}", f"{everything}{VERSION}"
        body = dict[str, Any]
        writing = errors(404, 412, 413)
        return (
            ("GET", everything, READ_ALL, self.get_all, 200, body, {}),
            ("PUT", of_application, UPDATE, self.put_of_application, 200, body, writing),
            ("GET", of_application, READ, self.get_of_application, 200, body, errors(404)),
            ("PATCH", of_application, UPDATE, self.merge_of_application, 200, body, writing),
            ("PUT", of_version, UPDATE, self.put_of_version, 200, body, writing),
            ("GET", of_version, READ, self.get_of_version, 200, body, errors(404)),
            ("PATCH", of_version, UPDATE, self.merge_of_version, 200, body, writing),
            ("PUT", tenant, UPDATE_TENANT, self.put_of_tenant, 200, body, errors(412, 413)),
            ("GET", tenant, READ_TENANT, self.get_of_tenant, 200, body, {}),
        )

    async def get_all(self, service_instance_name: ServiceInstanceNames = None) -> Response:
        """The configurations of all applications and of their versions."""
        applications = await self._applications.list_all()
        return rest.json_response(whole(applications, service_instance_name or ()))

    async def put_of_application(
        self, app_name: str, body: ApplicationConfigurationBody, if_match: IfMatch = None
    ) -> Response:
        """Put these configurations in the place of the former ones of the same service instances."""
        configurations = checked_of_application(unnested(body, configuration_path(app_name, None)))
        return await self._put(app_name, None, configurations, if_match)

    async def get_of_application(
        self,
        app_name: str,
        service_instance_name: ServiceInstanceNames = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The configurations of an application itself, not of its versions."""
        return await self._get(app_name, None, service_instance_name, if_none_match)

    async def merge_of_application(
        self,
        app_name: str,
        body: ApplicationConfigurationBody,
        service_instance_name: ServiceInstanceName,
        if_match: IfMatch = None,
    ) -> Response:
        """Apply a JSON merge patch (RFC 7396) to the configuration for one service instance."""
        checked_of_application(patches := unnested(body, configuration_path(app_name, None)))
        return await self._merge(app_name, None, patches, service_instance_name, if_match)

    async def put_of_version(
        self, app_name: str, app_version_name: str, body: VersionConfigurationBody, if_match: IfMatch = None
    ) -> Response:
        """Put these configurations in the place of the former ones of the same service instances."""
        configurations = checked(unnested(body, configuration_path(app_name, app_version_name)))
        return await self._put(app_name, app_version_name, configurations, if_match)

    async def get_of_version(
        self,
        app_name: str,
        app_version_name: str,
        service_instance_name: ServiceInstanceNames = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The configurations of a version."""
        return await self._get(app_name, app_version_name, service_instance_name, if_none_match)

    async def merge_of_version(
        self,
        app_name: str,
        app_version_name: str,
        body: VersionConfigurationBody,
        service_instance_name: ServiceInstanceName,
        if_match: IfMatch = None,
    ) -> Response:
        """Apply a JSON merge patch (RFC 7396) to the configuration for one service instance."""
        patches = unnested(body, configuration_path(app_name, app_version_name))
        return await self._merge(app_name, app_version_name, patches, service_instance_name, if_match)

    async def put_of_tenant(self, body: TenantConfigurationBody, if_match: IfMatch = None) -> Response:
        """Put these configurations of a tenant in the place of the former ones of the same service instances."""
        tenant_id = tenant_in(body)
        configurations = checked(unnested(body, tenant_path(tenant_id)))
        tenant = await self._tenants.configure(tenant_id, configurations, partial(check_if_match, if_match))
        return _of_tenant(tenant, list(configurations))

    async def get_of_tenant(
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
            return unchanged(tenant.revision)
        return _of_tenant(tenant, service_instance_name)

    async def _put(
        self,
        app_name: str,
        app_version_name: str | None,
        configurations: dict[str, Configuration | None],
        if_match: str | None,
    ) -> Response:
        check = partial(check_if_match, if_match)
        application = await self._applications.configure(app_name, app_version_name, configurations, check)
        return _of_application(application, app_version_name, list(configurations))

    async def _get(
        self, app_name: str, app_version_name: str | None, instances: list[str] | None, if_none_match: str | None
    ) -> Response:
        application = await self._applications.get(app_name)
        application.configurations_of(app_version_name)
        if is_unchanged(if_none_match, application.revision):
            return unchanged(application.revision)
        return _of_application(application, app_version_name, instances)

    async def _merge(
        self,
        app_name: str,
        app_version_name: str | None,
        patches: dict[str, Any],  # Any: JSON
        instance: str,
        if_match: str | None,
    ) -> Response:
        if list(patches) != [instance]:
            raise BadRequest("the body has the configuration for serviceInstanceName, and no other")
        application = await self._applications.merge_configuration(
            app_name, app_version_name, instance, patches[instance], partial(check_if_match, if_match)
        )
        return _of_application(application, app_version_name, [instance])


def _of_application(application: Application, app_version_name: str | None, instances: list[str] | None) -> Response:
    path = configuration_path(application.name, app_version_name)
    return _answer(application.configurations_of(app_version_name), path, instances, application.revision)


def _of_tenant(tenant: TenantConfiguration, instances: list[str] | None) -> Response:
    return _answer(tenant.configurations, tenant_path(tenant.tenant_id), instances, tenant.revision)


def _answer(
    configurations: Mapping[str, Configuration], path: Path, instances: list[str] | None, revision: int
) -> Response:
    """The configurations for these service instances, null where there is none; for all that have one when None."""
    shown = {instance: configurations.get(instance) for instance in instances or configurations}
    return rest.json_response(nested(shown, path), headers=tagged(revision))
