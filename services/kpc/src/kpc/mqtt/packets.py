"""The packets a server receives and sends (MQTT 3.1.1 §3), as frozen values.

Each is valid or cannot be built: the constructor raises InvalidPacketError, so neither codec nor session checks again.
Names are the specification's. Passwords and payloads stay out of `repr`, which may end in a log.
"""

from dataclasses import dataclass, field

from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import Version

MAX_UINT16 = 0xFFFF


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidPacketError(message)


def _check_text(text: str) -> None:
    # [MQTT-1.5.3-1] "In particular this data MUST NOT include encodings of code points between U+D800 and U+DFFF."
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidPacketError("a string contains surrogates") from exc
    _check(size <= MAX_UINT16, "a string is longer than 65,535 bytes")
    # [MQTT-1.5.3-2] "MUST NOT include an encoding of the null character U+0000."
    _check("\0" not in text, "a string contains the null character")


def _check_topic_name(topic: str) -> None:
    _check_text(topic)
    # [MQTT-4.7.3-1] "All Topic Names and Topic Filters MUST be at least one character long."
    _check(topic != "", "an empty topic name")
    # [MQTT-3.3.2-2] "The Topic Name in the PUBLISH Packet MUST NOT contain wildcard characters."
    _check("+" not in topic and "#" not in topic, "a wildcard in a topic name")


def _check_topic_filter(topic_filter: str) -> None:
    _check_text(topic_filter)
    _check(topic_filter != "", "an empty topic filter")  # [MQTT-4.7.3-1]
    levels = topic_filter.split("/")
    # [MQTT-4.7.1-2] "it MUST be the last character specified in the Topic Filter."
    _check("#" not in topic_filter or (levels[-1] == "#" and topic_filter.count("#") == 1), "a misplaced # in a filter")
    # [MQTT-4.7.1-3] "Where it is used it MUST occupy an entire level of the filter."
    _check(all(level == "+" for level in levels if "+" in level), "a misplaced + in a filter")


def _check_packet_id(packet_id: int) -> None:
    # [MQTT-2.3.1-1] "MUST contain a non-zero 16-bit Packet Identifier."
    _check(0 < packet_id <= MAX_UINT16, "a packet identifier outside 1 to 65,535")


def _check_qos(qos: int) -> None:
    _check(0 <= qos <= 2, "a QoS other than 0, 1 and 2")  # [MQTT-3.3.1-4], [MQTT-3-8.3-4], [MQTT-3.1.2-14]


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What a client wants published should it vanish."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False

    def __post_init__(self) -> None:
        _check_topic_name(self.topic)
        _check_qos(self.qos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A client introduces itself."""

    version: Version
    client_id: str
    keep_alive: int = 0
    clean_session: bool = True
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None

    def __post_init__(self) -> None:
        _check_text(self.client_id)
        _check(0 <= self.keep_alive <= MAX_UINT16, "a keep alive outside 0 to 65,535")
        if self.username is not None:
            _check_text(self.username)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The answer to CONNECT; no session is ever kept, so "session present" is always 0."""

    reason_code: ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """An application message, in either direction."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    packet_id: int | None = None
    dup: bool = False
    retain: bool = False

    def __post_init__(self) -> None:
        _check_topic_name(self.topic)
        _check_qos(self.qos)
        if self.packet_id is not None:
            _check_packet_id(self.packet_id)
        # [MQTT-2.3.1-5] "A PUBLISH Packet MUST NOT contain a Packet Identifier if its QoS value is set to 0."
        _check((self.packet_id is None) == (self.qos == 0), "a packet identifier that does not go with the QoS")
        # [MQTT-3.3.1-2] "The DUP flag MUST be set to 0 for all QoS 0 messages."
        _check(not (self.dup and self.qos == 0), "the DUP flag on a QoS 0 message")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identified:
    packet_id: int

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)


class Puback(_Identified):
    """A QoS 1 message is taken over."""

    __slots__ = ()


class Pubrec(_Identified):
    """A QoS 2 message is taken over."""

    __slots__ = ()


class Pubrel(_Identified):
    """The sender of a QoS 2 message will not send it again."""

    __slots__ = ()


class Pubcomp(_Identified):
    """The receiver of a QoS 2 message has forgotten its identifier."""

    __slots__ = ()


class Unsuback(_Identified):
    """The answer to UNSUBSCRIBE."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A topic filter and the QoS the client would like."""

    topic_filter: str
    qos: int

    def __post_init__(self) -> None:
        _check_topic_filter(self.topic_filter)
        _check_qos(self.qos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A client asks for topics."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        # [MQTT-3.8.3-3] "MUST contain at least one Topic Filter / QoS pair."
        _check(len(self.subscriptions) > 0, "a SUBSCRIBE without a topic filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suback:
    """The answer to SUBSCRIBE: the granted QoS of each subscription, in order [MQTT-3.8.4-5]."""

    packet_id: int
    granted: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        for qos in self.granted:
            _check_qos(qos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """A client no longer asks for topics."""

    packet_id: int
    topic_filters: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        # [MQTT-3.10.3-2] "MUST contain at least one Topic Filter."
        _check(len(self.topic_filters) > 0, "an UNSUBSCRIBE without a topic filter")
        for topic_filter in self.topic_filters:
            _check_topic_filter(topic_filter)


@dataclass(frozen=True, slots=True)
class Pingreq:
    """A client shows that it is alive."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The answer to PINGREQ."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A client says goodbye."""


ClientPacket = Connect | Publish | Puback | Pubrec | Pubrel | Pubcomp | Subscribe | Unsubscribe | Pingreq | Disconnect
ServerPacket = Connack | Publish | Puback | Pubrec | Pubcomp | Suback | Unsuback | Pingresp
