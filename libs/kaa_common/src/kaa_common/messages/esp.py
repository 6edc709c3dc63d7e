"""4/ESP, Extension Service Protocol: what the communication service and an extension exchange."""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "org.kaaproject.ipc.esp.gen.v1"


@record(_NAMESPACE)
class ClientData:
    """Data from a client to an extension."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    endpoint_id: str | None
    """None for endpoint-unaware extensions."""
    resource_path: str
    """With its leading slash; without token and request id."""
    request_id: Int | None
    payload: bytes
    config_name: None | str = None


@record(_NAMESPACE)
class ExtensionData:
    """Data from an extension to a client: the answer to a ClientData with the same correlation id, or a push."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str | None
    extension_instance_name: str | None
    endpoint_id: str | None
    resource_path: str
    request_id: Int | None
    payload: bytes | None
    status_code: Int
    reason_phrase: None | str = None


CLIENT_DATA = Endpoint(
    protocol="esp",
    request_type="ClientData",
    response_type="ExtensionData",
    request=ClientData,
    response=ExtensionData,
    owner="extension",
)

ENDPOINTS = (CLIENT_DATA,)
