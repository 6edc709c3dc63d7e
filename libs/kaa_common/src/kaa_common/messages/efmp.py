"""20/EFMP, Endpoint Filter Management Protocol."""

from collections.abc import Mapping

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "org.kaaproject.ipc.efmp.gen.v1"


@record(_NAMESPACE)
class EndpointFiltersRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str


@record(_NAMESPACE)
class EndpointFiltersResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    filter_ids: tuple[str, ...]
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointListByFilterRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    filter_id: str


@record(_NAMESPACE)
class EndpointListByFilterResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    filter_id: str
    app_versions_to_endpoints: Mapping[str, tuple[str, ...]]
    status_code: Int
    reason_phrase: None | str = None


GET_ENDPOINT_FILTERS = Endpoint(
    protocol="efmp",
    request_type="ep-filters-request",
    response_type="ep-filters-response",
    request=EndpointFiltersRequest,
    response=EndpointFiltersResponse,
    owner="epr",
)
LIST_ENDPOINTS_BY_FILTER = Endpoint(
    protocol="efmp",
    request_type="ep-list-by-filter-request",
    response_type="ep-list-by-filter-response",
    request=EndpointListByFilterRequest,
    response=EndpointListByFilterResponse,
    owner="epr",
)

ENDPOINTS = (GET_ENDPOINT_FILTERS, LIST_ENDPOINTS_BY_FILTER)
