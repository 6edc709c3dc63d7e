"""19/EPMMP, Endpoint Metadata Management Protocol. Metadata and values are JSON text in bytes."""

from collections.abc import Mapping

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "org.kaaproject.ipc.epmmp.gen.v1"


@record(_NAMESPACE)
class EndpointMetadataGetRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    include: tuple[str, ...] = ()
    """Keys to return; empty means all."""
    include_metadata: bool = True


@record(_NAMESPACE)
class EndpointMetadataGetResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    e_tag: None | str = None
    payload: None | bytes = None
    status_code: Int
    reason_phrase: None | str = None
    app_version_name: None | str = None


@record(_NAMESPACE)
class EndpointMetadataPatchRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    if_match: None | str = None
    patch: bytes
    """JSON Patch (RFC 6902)."""


@record(_NAMESPACE)
class EndpointMetadataPatchResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointMetadataKeysGetRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str


@record(_NAMESPACE)
class EndpointMetadataKeysGetResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    keys: tuple[str, ...] = ()
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointMetadataKeyUpdateRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    metadata_key: str
    metadata_value: bytes


@record(_NAMESPACE)
class EndpointMetadataKeyUpdateResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointMetadataKeyUpdateCommand:
    endpoint_id: str
    metadata_key: str
    metadata_value: bytes


@record(_NAMESPACE)
class EndpointMetadataKeyBatchUpdateRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    commands: tuple[EndpointMetadataKeyUpdateCommand, ...]


@record(_NAMESPACE)
class EndpointMetadataKeyBatchUpdateResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class AppVersionsByEndpointsRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_ids: tuple[str, ...]


@record(_NAMESPACE)
class AppVersionsByEndpointsResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_ids: tuple[str, ...]
    app_versions_to_endpoints: Mapping[str, tuple[str, ...]]
    status_code: Int
    reason_phrase: None | str = None


GET_METADATA = Endpoint(
    protocol="epmmp",
    request_type="ep-metadata-get-request",
    response_type="ep-metadata-get-response",
    request=EndpointMetadataGetRequest,
    response=EndpointMetadataGetResponse,
    owner="epr",
)
PATCH_METADATA = Endpoint(
    protocol="epmmp",
    request_type="ep-metadata-patch-request",
    response_type="ep-metadata-patch-response",
    request=EndpointMetadataPatchRequest,
    response=EndpointMetadataPatchResponse,
    owner="epr",
)
GET_METADATA_KEYS = Endpoint(
    protocol="epmmp",
    request_type="ep-metadata-keys-get-request",
    response_type="ep-metadata-keys-get-response",
    request=EndpointMetadataKeysGetRequest,
    response=EndpointMetadataKeysGetResponse,
    owner="epr",
)
UPDATE_METADATA_KEY = Endpoint(
    protocol="epmmp",
    request_type="ep-metadata-key-update-request",
    response_type="ep-metadata-key-update-response",
    request=EndpointMetadataKeyUpdateRequest,
    response=EndpointMetadataKeyUpdateResponse,
    owner="epr",
)
UPDATE_METADATA_KEY_BATCH = Endpoint(
    protocol="epmmp",
    request_type="ep-metadata-key-batch-update-request",
    # The RFC recommends this reply type, not one of its own.
    response_type="ep-metadata-key-update-response",
    request=EndpointMetadataKeyBatchUpdateRequest,
    response=EndpointMetadataKeyBatchUpdateResponse,
    owner="epr",
)
GET_APP_VERSIONS = Endpoint(
    protocol="epmmp",
    request_type="ep-app-version-get-request",
    response_type="ep-app-version-get-response",
    request=AppVersionsByEndpointsRequest,
    response=AppVersionsByEndpointsResponse,
    owner="epr",
)

ENDPOINTS = (
    GET_METADATA,
    PATCH_METADATA,
    GET_METADATA_KEYS,
    UPDATE_METADATA_KEY,
    UPDATE_METADATA_KEY_BATCH,
    GET_APP_VERSIONS,
)
