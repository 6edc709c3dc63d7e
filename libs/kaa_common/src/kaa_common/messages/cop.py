"""Cut-Off Protocol, a protocol of our own: a withdrawn token or credential ends on every replica, which confirms it.

The revocation events of 16/ECAP and 22/CAP say the same to whoever listens, but nobody answers an event. So the
credentials service also asks each communication replica by itself. It knows them by the signs of life that each
gives all the time. A replica that was away asks, when it is back, which of what it relies on is not usable any more.

The signs of life are leases besides: the register takes the endpoints of a replica that has been silent for too long
for disconnected. When it may have missed what a replica announced, it asks which endpoints the replica holds.
"""

from kaa_common.avro import Int, record
from kaa_common.messages.declared import Endpoint, Event

_NAMESPACE = "open.kaa.ipc.cop.v1"


@record(_NAMESPACE)
class CutOffRequest:
    """From now on these must not be used."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    token_ids: tuple[str, ...] = ()
    endpoint_id: None | str = None
    """The endpoint of the tokens."""
    credentials_ids: tuple[str, ...] = ()


@record(_NAMESPACE)
class CutOffResponse:
    """Status code: 200."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    ended_sessions: Int = 0
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class UsableRequest:
    """Which of these may be used?"""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    token_ids: tuple[str, ...]


@record(_NAMESPACE)
class UsableResponse:
    """Those of the request that may be used. Status code: 200."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    token_ids: tuple[str, ...] = ()
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class UsableCredentialsRequest:
    """Which of these client credentials may be used?"""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    credentials_ids: tuple[str, ...]


@record(_NAMESPACE)
class UsableCredentialsResponse:
    """Those of the request that may be used. Status code: 200."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    credentials_ids: tuple[str, ...] = ()
    status_code: Int
    reason_phrase: None | str = None


@record(_NAMESPACE)
class ReplicaEvent:
    """A communication replica is there, or leaves for good."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    originator_replica_id: str


@record(_NAMESPACE)
class HeldEndpoint:
    """An endpoint that the replica holds."""

    endpoint_id: str
    app_version_name: str
    since: int
    """When the replica announced it as connected; UNIX milliseconds."""


@record(_NAMESPACE)
class HeldEndpointsRequest:
    """Which endpoints are connected through this replica?"""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    after: str = ""
    """Only those with an id behind this one."""
    limit: Int = 500


@record(_NAMESPACE)
class HeldEndpointsResponse:
    """The first ones in the order of their ids, at the time of the timestamp. Status code: 200."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    endpoints: tuple[HeldEndpoint, ...] = ()
    is_complete: bool = False
    """There are no others behind these."""
    status_code: Int
    reason_phrase: None | str = None


CUT_OFF = Endpoint(
    protocol="cop",
    request_type="cut-off-request",
    response_type="cut-off-response",
    request=CutOffRequest,
    response=CutOffResponse,
    owner="kpc",
    of_replica=True,
)
ASK_USABLE = Endpoint(
    protocol="cop",
    request_type="usable-request",
    response_type="usable-response",
    request=UsableRequest,
    response=UsableResponse,
    owner="creds",
)
ASK_USABLE_CREDENTIALS = Endpoint(
    protocol="cop",
    request_type="usable-credentials-request",
    response_type="usable-credentials-response",
    request=UsableCredentialsRequest,
    response=UsableCredentialsResponse,
    owner="creds",
)
HELD_ENDPOINTS = Endpoint(
    protocol="cop",
    request_type="held-endpoints-request",
    response_type="held-endpoints-response",
    request=HeldEndpointsRequest,
    response=HeldEndpointsResponse,
    owner="kpc",
    of_replica=True,
)
REPLICA_ALIVE = Event(path=("replica", "alive"), record=ReplicaEvent, owner="kpc", of_rfc=False)
REPLICA_LEFT = Event(path=("replica", "left"), record=ReplicaEvent, owner="kpc", of_rfc=False)

ENDPOINTS = (CUT_OFF, ASK_USABLE, ASK_USABLE_CREDENTIALS, HELD_ENDPOINTS)
EVENTS = (REPLICA_ALIVE, REPLICA_LEFT)
