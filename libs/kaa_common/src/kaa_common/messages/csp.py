"""Connection Status Protocol, a protocol of our own: what each communication replica can tell of its connections.

A replica that is asked over REST asks the others, which it knows by their signs of life (COP).
"""

from collections.abc import Mapping

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint

_NAMESPACE = "open.kaa.ipc.csp.v1"


@record(_NAMESPACE)
class SessionsRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoint_id: str


@record(_NAMESPACE)
class EndpointSession:
    """An endpoint on a connection."""

    app_version_name: str
    connection_id: int
    client_id: str
    transport: str
    """tcp, tls or ws."""
    address: str
    """Of the client, or of the last proxy before the platform."""
    mqtt_version: str
    connected_at: int
    """UNIX milliseconds."""
    credentials_ids: tuple[str, ...] = ()
    """Those that the client connected with."""


@record(_NAMESPACE)
class SessionsResponse:
    """Status code: 200, also when there are none."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    sessions: tuple[EndpointSession, ...] = ()
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ReplicaStatusRequest:
    correlation_id: str
    timestamp: int
    timeout: int = 0


@record(_NAMESPACE)
class ReplicaStatusResponse:
    """Status code: 200."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    started_at: int = 0
    """UNIX milliseconds."""
    connections: Mapping[str, int]
    """By transport; accepted ones."""
    endpoints: Int = 0
    """Those that are connected and held by this replica."""
    turned_away: int = 0
    """Clients that were not admitted, since the start."""
    status_code: Int
    reason_phrase: None | str = None


ASK_SESSIONS = Endpoint(
    protocol="csp",
    request_type="sessions-request",
    response_type="sessions-response",
    request=SessionsRequest,
    response=SessionsResponse,
    owner="kpc",
    of_replica=True,
)
ASK_REPLICA_STATUS = Endpoint(
    protocol="csp",
    request_type="replica-status-request",
    response_type="replica-status-response",
    request=ReplicaStatusRequest,
    response=ReplicaStatusResponse,
    owner="kpc",
    of_replica=True,
)

ENDPOINTS = (ASK_SESSIONS, ASK_REPLICA_STATUS)
