"""The REST interface of service instances: what can be configured, and how, for those who show forms for it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from kaa_common.rest import Body, errors
from tekton.rest_routes import READ, Route
from tekton.service_instances import ServiceInstance, ServiceInstances

Include = Annotated[
    list[Literal["appConfigurationSchema", "appVersionConfigurationSchema"]] | None,
    Query(description="The schemas to answer as well; none when it is missing."),
]


class ServiceInstanceBody(Body):
    name: str
    service_name: str
    service_group: str
    description: str | None = None
    url_prefix: str | None = None
    app_configuration_schema_present: bool
    app_configuration_schema: dict[str, Any] | None = None  # Any: a JSON schema
    app_version_configuration_schema_present: bool
    app_version_configuration_schema: dict[str, Any] | None = None  # Any: as above

    @classmethod
    def of(cls, name: str, instance: ServiceInstance, include: Sequence[str]) -> "ServiceInstanceBody":
        of_application, of_version = instance.app_configuration_schema, instance.app_version_configuration_schema
        return cls(
            name=name,
            service_name=instance.service_name,
            service_group=instance.service_group,
            description=instance.description,
            url_prefix=instance.url_prefix,
            app_configuration_schema_present=of_application is not None,
            app_configuration_schema=of_application if "appConfigurationSchema" in include else None,
            app_version_configuration_schema_present=of_version is not None,
            app_version_configuration_schema=of_version if "appVersionConfigurationSchema" in include else None,
        )


class ServiceInstancesApi:
    """The handlers of the routes, bound to the list."""

    def __init__(self, instances: ServiceInstances) -> None:
        self._instances = instances

    def routes(self) -> Sequence[Route]:
        one = "/service-instances/{service_instance_name}"
        return (
            ("GET", "/service-instances", READ, self.list_all, 200, list[ServiceInstanceBody], {}),
            ("GET", one, READ, self.get, 200, ServiceInstanceBody, errors(404)),
        )

    async def list_all(self, include: Include = None) -> list[ServiceInstanceBody]:
        """All of them."""
        return [self._body(name, include) for name in self._instances.names()]

    async def get(self, service_instance_name: str, include: Include = None) -> ServiceInstanceBody:
        """One of them."""
        return self._body(service_instance_name, include)

    def _body(self, name: str, include: Sequence[str] | None) -> ServiceInstanceBody:
        return ServiceInstanceBody.of(name, self._instances.get(name), include or ())
