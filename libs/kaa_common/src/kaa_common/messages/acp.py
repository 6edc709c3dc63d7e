"""Application Configuration Protocol, a protocol of our own: services look up an application, a version of one,
or a tenant.

No RFC has these messages (Kaa's services read tekton's REST interface). 17/SCMP says when to look again.
"""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "open.kaa.ipc.acp.v1"


@record(_NAMESPACE)
class AppVersionConfigRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    service_instance_name: str
    """Whose configuration is asked for."""


@record(_NAMESPACE)
class AppVersionConfigResponse:
    """Status codes: 200; 404 no such application version."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    tenant_id: None | str = None
    app_name: None | str = None
    config: None | bytes = None
    """JSON object: the service instance's configuration for the application version; None when there is none."""
    status_code: Int
    reason_phrase: None | str = None


GET_APP_VERSION_CONFIG = Endpoint(
    protocol="acp",
    request_type="app-version-config-request",
    response_type="app-version-config-response",
    request=AppVersionConfigRequest,
    response=AppVersionConfigResponse,
    owner="tekton",
)


@record(_NAMESPACE)
class TenantConfigRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    service_instance_name: str
    """Whose configuration is asked for."""


@record(_NAMESPACE)
class TenantConfigResponse:
    """Status codes: 200, also for a tenant that was never configured; 400 no tenant can have this id."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    tenant_id: str
    config: None | bytes = None
    """JSON object: the service instance's configuration for the tenant; None when there is none."""
    status_code: Int
    reason_phrase: None | str = None


GET_TENANT_CONFIG = Endpoint(
    protocol="acp",
    request_type="tenant-config-request",
    response_type="tenant-config-response",
    request=TenantConfigRequest,
    response=TenantConfigResponse,
    owner="tekton",
)


@record(_NAMESPACE)
class ApplicationRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str


@record(_NAMESPACE)
class ApplicationResponse:
    """Status codes: 200; 404 no such application."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_name: str
    tenant_id: None | str = None
    app_version_names: tuple[str, ...]
    status_code: Int
    reason_phrase: None | str = None


GET_APPLICATION = Endpoint(
    protocol="acp",
    request_type="application-request",
    response_type="application-response",
    request=ApplicationRequest,
    response=ApplicationResponse,
    owner="tekton",
)

ENDPOINTS = (GET_APP_VERSION_CONFIG, GET_TENANT_CONFIG, GET_APPLICATION)
