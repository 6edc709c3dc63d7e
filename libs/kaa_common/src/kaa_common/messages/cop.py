"""Cut-Off Protocol, a protocol of our own: a withdrawn token or credential ends on every replica, which confirms it.

The revocation events of 16/ECAP and 22/CAP say the same to whoever listens, but nobody answers an event. So the
credentials service also asks each communication replica by itself. It knows them by the signs of life that each
gives all the time. A replica that was away asks, when it is back, which of what it relies on is not usable any more.
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
class ReplicaEvent:
    """A communication replica is there, or leaves for good."""

    correlation_id: str
    timestamp: int
    timeout: int = 0
    originator_replica_id: str


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
REPLICA_ALIVE = Event(path=("replica", "alive"), record=ReplicaEvent, owner="kpc")
REPLICA_LEFT = Event(path=("replica", "left"), record=ReplicaEvent, owner="kpc")

ENDPOINTS = (CUT_OFF, ASK_USABLE)
EVENTS = (REPLICA_ALIVE, REPLICA_LEFT)
