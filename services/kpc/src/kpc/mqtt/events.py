"""What a session tells its owner: the packets with which a client wants something, as they are, and the end."""

from dataclasses import dataclass
from enum import StrEnum

from kpc.mqtt.packets import Connect, Publish, Subscribe, Unsubscribe


class DisconnectReason(StrEnum):
    """Why a session ended."""

    CLEAN = "clean"
    PROTOCOL_ERROR = "protocol error"
    EOF = "eof"
    KEEP_ALIVE = "keep alive"
    CONNECT_TIMEOUT = "connect timeout"
    REFUSED = "refused"
    CLOSED_BY_SERVER = "closed by server"
    TOO_SLOW = "too slow"
    """The client does not read, or does not acknowledge, what it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The last event of every session."""

    reason: DisconnectReason
    detail: str = ""


Event = Connect | Publish | Subscribe | Unsubscribe | Disconnected
