"""18/EFE, Endpoint Filter Events. These records start with the timestamp, unlike all others."""

from kaa_common.avro import record
from kaa_common.messages.declared import Event

_NAMESPACE = "org.kaaproject.ipc.event.gen.v1.endpoint.filter"


@record(_NAMESPACE)
class EndpointFilterActivatedEvent:
    timestamp: int
    timeout: int = 0
    correlation_id: str
    originator_replica_id: str
    filter_id: str
    application_name: str
    filter_name: None | str


@record(_NAMESPACE)
class EndpointFilterPendingEvent:
    timestamp: int
    timeout: int = 0
    correlation_id: str
    originator_replica_id: str
    filter_id: str
    application_name: str
    filter_name: None | str


@record(_NAMESPACE)
class EndpointFilterDeletedEvent:
    timestamp: int
    timeout: int = 0
    correlation_id: str
    originator_replica_id: str
    filter_id: str
    application_name: str
    filter_name: None | str


@record(_NAMESPACE)
class EndpointMatchedFilterEvent:
    timestamp: int
    timeout: int = 0
    correlation_id: str
    originator_replica_id: str
    filter_id: str
    application_name: str
    app_version_name: str
    filter_name: None | str
    endpoint_id: str


@record(_NAMESPACE)
class EndpointUnmatchedFilterEvent:
    timestamp: int
    timeout: int = 0
    correlation_id: str
    originator_replica_id: str
    filter_id: str
    application_name: str
    app_version_name: str
    filter_name: None | str
    endpoint_id: str


FILTER_ACTIVATED = Event(path=("endpoint-filter", "*", "activated"), record=EndpointFilterActivatedEvent, owner="epr")
FILTER_PENDING = Event(path=("endpoint-filter", "*", "pending"), record=EndpointFilterPendingEvent, owner="epr")
FILTER_DELETED = Event(path=("endpoint-filter", "*", "deleted"), record=EndpointFilterDeletedEvent, owner="epr")
ENDPOINT_MATCHED = Event(path=("endpoint-filter", "*", "ep-matched"), record=EndpointMatchedFilterEvent, owner="epr")
ENDPOINT_UNMATCHED = Event(
    path=("endpoint-filter", "*", "ep-unmatched"), record=EndpointUnmatchedFilterEvent, owner="epr"
)

EVENTS = (FILTER_ACTIVATED, FILTER_PENDING, FILTER_DELETED, ENDPOINT_MATCHED, ENDPOINT_UNMATCHED)
