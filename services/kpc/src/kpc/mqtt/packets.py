"""The packets of MQTT (3.1.1 §3, 5 §3), as frozen values.

Each is valid or cannot be built: the constructor raises InvalidPacketError, so neither codec nor session checks again.
Names are the specification's. Passwords and payloads stay out of `repr`, which may end in a log. Reason codes and
properties are those of MQTT 5; before, there are none on the wire.
"""

from dataclasses import dataclass, field

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.checks import (
    MAX_UINT16,
    check,
    check_binary,
    check_packet_id,
    check_qos,
    check_reason,
    check_text,
)
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.properties import NO_PROPERTIES, WILL, Properties, check_properties
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.topics import SHARED, check_topic_filter, check_topic_name
from kpc.mqtt.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What a client wants published should it vanish."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_topic_name(self.topic)
        check_binary(self.payload)
        check_qos(self.qos)
        check_properties(self.properties, WILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A client introduces itself."""

    version: Version
    client_id: str
    keep_alive: int = 0
    clean_session: bool = True
    """In MQTT 5 named Clean Start."""
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_text(self.client_id)
        check(0 <= self.keep_alive <= MAX_UINT16, "a keep alive outside 0 to 65,535")
        if self.username is not None:
            check_text(self.username)
        if self.password is not None:
            check_binary(self.password)
        check_properties(self.properties, PacketType.CONNECT)
        # §3.1.2.11.10: "It is a Protocol Error to include Authentication Data if there is no Authentication Method."
        has_method = self.properties.authentication_method is not None
        check(
            has_method or self.properties.authentication_data is None,
            "authentication data without a method",
            ReasonCode.PROTOCOL_ERROR,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The answer to CONNECT; no session is ever kept, so "session present" is always 0."""

    reason_code: ReasonCode
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_reason(PacketType.CONNACK, self.reason_code)
        check_properties(self.properties, PacketType.CONNACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """An application message, in either direction."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    packet_id: int | None = None
    dup: bool = False
    retain: bool = False
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        # §3.3.2.1: "It is a Protocol Error if the Topic Name is zero length and there is no Topic Alias."
        if self.topic or self.properties.topic_alias is None:
            check_topic_name(self.topic)
        if self.qos or self.packet_id is not None or self.dup:
            self._check_delivery()
        check_properties(self.properties, PacketType.PUBLISH)

    def _check_delivery(self) -> None:
        check_qos(self.qos)
        if self.packet_id is not None:
            check_packet_id(self.packet_id)
        # [MQTT-2.3.1-5] "A PUBLISH Packet MUST NOT contain a Packet Identifier if its QoS value is set to 0."
        check((self.packet_id is None) == (self.qos == 0), "a packet identifier that does not go with the QoS")
        # [MQTT-3.3.1-2] "The DUP flag MUST be set to 0 for all QoS 0 messages."
        check(not (self.dup and self.qos == 0), "the DUP flag on a QoS 0 message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A topic filter and how the client would like its messages."""

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    def __post_init__(self) -> None:
        check_topic_filter(self.topic_filter)
        check_qos(self.qos)
        # §3.8.3.1: "It is a Protocol Error to send a Retain Handling value of 3."
        check(0 <= self.retain_handling <= 2, "a retain handling other than 0, 1 and 2", ReasonCode.PROTOCOL_ERROR)
        # [MQTT-3.8.3-4] "It is a Protocol Error to set the No Local bit to 1 on a Shared Subscription."
        check(
            not (self.no_local and self.topic_filter.startswith(SHARED)),
            "no local on a shared subscription",
            ReasonCode.PROTOCOL_ERROR,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A client asks for topics."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_packet_id(self.packet_id)
        # [MQTT-3.8.3-3] "MUST contain at least one Topic Filter / QoS pair."
        check(len(self.subscriptions) > 0, "a SUBSCRIBE without a topic filter", ReasonCode.PROTOCOL_ERROR)
        check_properties(self.properties, PacketType.SUBSCRIBE)
        # §3.8.2.1.2: "It is a Protocol Error to include the Subscription Identifier more than once."
        identifiers = len(self.properties.subscription_identifiers)
        check(identifiers <= 1, "two subscription identifiers", ReasonCode.PROTOCOL_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suback:
    """The answer to SUBSCRIBE: of each subscription, in order [MQTT-3.8.4-5], the granted QoS or why not."""

    packet_id: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_packet_id(self.packet_id)
        for reason_code in self.reason_codes:
            check_reason(PacketType.SUBACK, reason_code)
        check_properties(self.properties, PacketType.SUBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """A client no longer asks for topics."""

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_packet_id(self.packet_id)
        # [MQTT-3.10.3-2] "MUST contain at least one Topic Filter."
        check(len(self.topic_filters) > 0, "an UNSUBSCRIBE without a topic filter", ReasonCode.PROTOCOL_ERROR)
        for topic_filter in self.topic_filters:
            check_topic_filter(topic_filter)
        check_properties(self.properties, PacketType.UNSUBSCRIBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsuback:
    """The answer to UNSUBSCRIBE; before MQTT 5 it has no reasons."""

    packet_id: int
    reason_codes: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_packet_id(self.packet_id)
        for reason_code in self.reason_codes:
            check_reason(PacketType.UNSUBACK, reason_code)
        check_properties(self.properties, PacketType.UNSUBACK)


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A client shows that it is alive."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The answer to PINGREQ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """A client says goodbye; from MQTT 5 on the server may, too."""

    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_reason(PacketType.DISCONNECT, self.reason_code)
        check_properties(self.properties, PacketType.DISCONNECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """A step of an authentication that takes several (MQTT 5 §3.15), of which none is offered here."""

    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_reason(PacketType.AUTH, self.reason_code)
        check_properties(self.properties, PacketType.AUTH)


ClientPacket = (
    Connect | Publish | Puback | Pubrec | Pubrel | Pubcomp | Subscribe | Unsubscribe | Pingreq | Disconnect | Auth
)
ServerPacket = Connack | Publish | Puback | Pubrec | Pubcomp | Suback | Unsuback | Pingresp | Disconnect
