"""24/EPRMP, Endpoint Relations Management Protocol."""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint, Event

_NAMESPACE = "org.kaaproject.ipc.eprmp.gen.v1"


@record(_NAMESPACE)
class EndpointRelationsGetRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str
    relation: str
    """`contains` for outbound relations, `!contains` for inbound ones."""


@record(_NAMESPACE)
class EndpointRelationsGetResponse:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_ids: tuple[str, ...] = ()
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class EndpointRelationsUpdated:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_ids: tuple[str, ...] = ()


GET_RELATIONS = Endpoint(
    protocol="eprmp",
    request_type="ep-relations-get-request",
    response_type="ep-relations-get-response",
    request=EndpointRelationsGetRequest,
    response=EndpointRelationsGetResponse,
    owner="epr",
)
RELATIONS_UPDATED = Event(path=("endpoint", "relations", "updated"), record=EndpointRelationsUpdated, owner="epr")

ENDPOINTS = (GET_RELATIONS,)
EVENTS = (RELATIONS_UPDATED,)
