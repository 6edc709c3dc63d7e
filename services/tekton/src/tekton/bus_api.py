"""The bus interface: what other services ask about applications, their versions and tenants."""

from kaa_common import jsontext
from kaa_common.messages.acp import (
    GET_APP_VERSION_CONFIG,
    GET_APPLICATION,
    GET_TENANT_CONFIG,
    ApplicationRequest,
    ApplicationResponse,
    AppVersionConfigRequest,
    AppVersionConfigResponse,
    TenantConfigRequest,
    TenantConfigResponse,
)
from kaa_common.rpc import Reply, Rpc, answer_header
from tekton.applications import Applications
from tekton.tenants import Tenants


async def serve(rpc: Rpc, instance: str, applications: Applications, tenants: Tenants) -> None:
    """Answer requests to the service instance."""

    async def get_app_version_config(request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        application, version = await applications.find_version(request.app_version_name)
        configuration = version.configurations.get(request.service_instance_name)
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=version.name,
                tenant_id=application.tenant_id,
                app_name=application.name,
                config=None if configuration is None else jsontext.dump(configuration),
                status_code=200,
            )
        )

    async def get_application(request: ApplicationRequest) -> Reply[ApplicationResponse]:
        application = await applications.get(request.app_name)
        return Reply(
            ApplicationResponse(
                **answer_header(request),
                app_name=application.name,
                tenant_id=application.tenant_id,
                app_version_names=tuple(application.versions),
                status_code=200,
            )
        )

    async def get_tenant_config(request: TenantConfigRequest) -> Reply[TenantConfigResponse]:
        tenant = await tenants.get(request.tenant_id)
        configuration = tenant.configurations.get(request.service_instance_name)
        return Reply(
            TenantConfigResponse(
                **answer_header(request),
                tenant_id=tenant.tenant_id,
                config=None if configuration is None else jsontext.dump(configuration),
                status_code=200,
            )
        )

    await rpc.serve(GET_APP_VERSION_CONFIG, instance, get_app_version_config)
    await rpc.serve(GET_APPLICATION, instance, get_application)
    await rpc.serve(GET_TENANT_CONFIG, instance, get_tenant_config)
