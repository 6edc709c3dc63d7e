"""Reason codes: how an operation ended (MQTT 5 §2.4), and what is left of them for older clients.

The whole server speaks of reasons; a client before MQTT 5 is told as much as its version has words for. REASONS says
which packet may carry which reason, from either side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from kpc.mqtt.packet_types import PacketType


class ReasonCode(IntEnum):
    """Table 2-6. From 0x80 on something failed. 0x00 is also a normal disconnection, and a granted QoS of 0."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    REAUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def is_failure(self) -> bool:
        return self >= ReasonCode.UNSPECIFIED_ERROR


def _codes(*codes: int) -> frozenset[ReasonCode]:
    return frozenset(map(ReasonCode, codes))


_TAKEN_OVER = _codes(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
_RELEASED = _codes(0x00, 0x92)

REASONS: Mapping[PacketType, frozenset[ReasonCode]] = {
    PacketType.CONNACK: _codes(0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0x9E), 0x9F),
    PacketType.PUBACK: _TAKEN_OVER,
    PacketType.PUBREC: _TAKEN_OVER,
    PacketType.PUBREL: _RELEASED,
    PacketType.PUBCOMP: _RELEASED,
    PacketType.SUBACK: _codes(0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2),
    PacketType.UNSUBACK: _codes(0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91),
    PacketType.DISCONNECT: _codes(
        0x00, 0x04, *range(0x80, 0x84), 0x87, 0x89, 0x8B, *range(0x8D, 0x91), *range(0x93, 0xA3)
    ),
    PacketType.AUTH: _codes(0x00, 0x18, 0x19),
}

FROM_CLIENT = {
    PacketType.DISCONNECT: _codes(0x00, 0x04, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A)),
    PacketType.AUTH: _codes(0x18, 0x19),
}
"""Where fewer than those of REASONS may come from a client."""

RETURN_CODES: Mapping[ReasonCode, int] = {
    ReasonCode.SUCCESS: 0,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.BAD_AUTHENTICATION_METHOD: 5,
    ReasonCode.NOT_AUTHORIZED: 5,
    ReasonCode.BANNED: 5,
}
"""CONNACK before MQTT 5 (3.1.1, table 3.1); every other reason is RETURN_CODE_UNAVAILABLE."""
RETURN_CODE_UNAVAILABLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """What became of a client's message."""

    reason_code: ReasonCode = ReasonCode.SUCCESS
    """What its acknowledgement says, if its version of MQTT can say it: one of REASONS[PUBACK]."""
    reason_string: str = ""
    """The same for people."""
    is_withheld: bool = False
    """It is not known to be done: it is not acknowledged but stays with the client, which is to send it again."""


DONE = PublishResult()
WITHHELD = PublishResult(is_withheld=True)
