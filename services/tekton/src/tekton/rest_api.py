"""The REST interface below `/tekton/api/v1`: requests become calls of the use cases, their results answers.

An application, its versions and their configurations share one revision, hence one ETag.
"""

from functools import partial

from fastapi import APIRouter, Request, Response

from kaa_common.rest import StrictRoute, check_if_match, errors, is_unchanged
from tekton.applications import Applications
from tekton.model import Application
from tekton.rest_bodies import (
    ApplicationBody,
    ApplicationVersionBody,
    NewApplicationBody,
    NewApplicationVersionBody,
    TextsBody,
)
from tekton.rest_configurations import ConfigurationsApi
from tekton.rest_routes import (
    APPLICATION,
    APPLICATIONS,
    CREATE,
    DELETE,
    READ,
    UPDATE,
    VERSION,
    VERSIONS,
    IfMatch,
    IfNoneMatch,
    Route,
    add_routes,
    tagged,
    unchanged,
)
from tekton.rest_service_instances import ServiceInstancesApi
from tekton.service_instances import ServiceInstances
from tekton.tenants import Tenants


class RestApi:
    """The handlers of the routes, bound to the use cases."""

    def __init__(self, applications: Applications, tenants: Tenants, service_instances: ServiceInstances) -> None:
        self._applications = applications
        self._configurations = ConfigurationsApi(applications, tenants)
        self._service_instances = ServiceInstancesApi(service_instances)

    def router(self) -> APIRouter:
        router = APIRouter(route_class=StrictRoute)
        routes: tuple[Route, ...] = (
            ("POST", APPLICATIONS, CREATE, self.create_application, 201, ApplicationBody, errors(409)),
            ("GET", APPLICATIONS, READ, self.list_applications, 200, list[ApplicationBody], {}),
            ("GET", APPLICATION, READ, self.get_application, 200, ApplicationBody, errors(404)),
            ("PATCH", APPLICATION, UPDATE, self.update_application, 200, ApplicationBody, errors(404, 412)),
            ("DELETE", APPLICATION, DELETE, self.delete_application, 204, None, errors(404, 409, 412)),
            ("POST", VERSIONS, UPDATE, self.create_version, 201, ApplicationVersionBody, errors(404, 409)),
            ("GET", VERSIONS, READ, self.list_versions, 200, list[ApplicationVersionBody], errors(404)),
            ("GET", VERSION, READ, self.get_version, 200, ApplicationVersionBody, errors(404)),
            ("PATCH", VERSION, UPDATE, self.update_version, 200, ApplicationVersionBody, errors(404, 412)),
            ("DELETE", VERSION, UPDATE, self.delete_version, 204, None, errors(404, 412)),
        )
        add_routes(router, routes)
        add_routes(router, self._configurations.routes())
        add_routes(router, self._service_instances.routes())
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
            return unchanged(application.revision)
        response.headers.update(tagged(application.revision))
        return ApplicationBody.of_application(application)

    async def update_application(
        self, app_name: str, body: TextsBody, response: Response, if_match: IfMatch = None
    ) -> ApplicationBody:
        application = await self._applications.describe(app_name, body.texts(), partial(check_if_match, if_match))
        response.headers.update(tagged(application.revision))
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
            return unchanged(application.revision)
        response.headers.update(tagged(application.revision))
        return ApplicationVersionBody.of(version)

    async def update_version(
        self, app_name: str, app_version_name: str, body: TextsBody, response: Response, if_match: IfMatch = None
    ) -> ApplicationVersionBody:
        application = await self._applications.describe_version(
            app_name, app_version_name, body.texts(), partial(check_if_match, if_match)
        )
        response.headers.update(tagged(application.revision))
        return ApplicationVersionBody.of(application.version(app_version_name))


def _created(request: Request, name: str, application: Application) -> dict[str, str]:
    return {"Location": f"{request.url.replace(query='')}/{name}", **tagged(application.revision)}
