"""9/ELCE, Endpoint Lifecycle and Connectivity Events."""

from collections.abc import Mapping

from kaa_common.avro import record
from kaa_common.messages.declared import Event

_NAMESPACE = "org.kaaproject.ipc.event.gen.v1.endpoint"


@record(f"{_NAMESPACE}.lifecycle")
class RegisteredEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    endpoint_id: str
    originator_replica_id: str


@record(f"{_NAMESPACE}.lifecycle")
class UnregisteredEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    endpoint_id: str
    originator_replica_id: str


@record(f"{_NAMESPACE}.lifecycle")
class AppVersionUpdatedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    previous_app_version_name: str
    endpoint_id: str
    originator_replica_id: str


@record(f"{_NAMESPACE}.connectivity")
class ConnectedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoints: Mapping[str, str]
    """Endpoint id to application version name."""
    originator_replica_id: str


@record(f"{_NAMESPACE}.connectivity")
class DisconnectedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoints: Mapping[str, str]
    """Endpoint id to application version name."""
    originator_replica_id: str


@record(f"{_NAMESPACE}.traffic.reporting", "trafficStat")
class TrafficStat:
    """Traffic of one endpoint, seen from the platform; payload in bytes."""

    total_received_payload: int = 0
    total_sent_payload: int = 0
    total_received_message_count: int = 0
    total_sent_message_count: int = 0


@record(f"{_NAMESPACE}.traffic.reporting")
class TrafficReportEvent:
    tenant_traffic_stats: Mapping[str, Mapping[str, Mapping[str, TrafficStat]]]
    """Tenant id to application name to endpoint id."""
    time_from: int
    """UNIX nanoseconds."""
    time_to: int
    """UNIX nanoseconds."""
    correlation_id: str
    originator_replica_id: str
    timestamp: int
    timeout: int = 0


REGISTERED = Event(path=("endpoint", "lifecycle", "registered"), record=RegisteredEvent, owner="epr")
UNREGISTERED = Event(path=("endpoint", "lifecycle", "unregistered"), record=UnregisteredEvent, owner="epr")
APP_VERSION_UPDATED = Event(
    path=("endpoint", "lifecycle", "appversion-updated"), record=AppVersionUpdatedEvent, owner="epr"
)
CONNECTED = Event(path=("endpoint", "connectivity", "connected"), record=ConnectedEvent, owner="kpc")
DISCONNECTED = Event(path=("endpoint", "connectivity", "disconnected"), record=DisconnectedEvent, owner="kpc")
TRAFFIC_REPORT = Event(path=("endpoint", "traffic-reporting", "payload"), record=TrafficReportEvent, owner="kpc")

EVENTS = (REGISTERED, UNREGISTERED, APP_VERSION_UPDATED, CONNECTED, DISCONNECTED, TRAFFIC_REPORT)
