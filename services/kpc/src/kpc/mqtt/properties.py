"""The properties of MQTT 5 packets (§2.2.2), as a typed value and as a table.

PROPERTY_TYPES says of each which number it has, how it is written, which packets carry it and what it may be; reading,
writing and checking only follow the table. Packets of earlier versions have NO_PROPERTIES.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kpc.mqtt import wire
from kpc.mqtt.checks import MAX_UINT16, check, check_binary, check_text
from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.topics import check_topic_name
from kpc.mqtt.wire import Fields

WILL: Final = "WILL"
Holder = PacketType | Literal["WILL"]
"""What carries properties: a packet, or the will within CONNECT."""

MAX_UINT32 = 0xFFFF_FFFF
MAX_EXPLANATION = 120
"""Characters: a packet with it fits into the 256 bytes that small clients take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """The properties of one packet by their names in the specification; None is one that is not there."""

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = field(default=None, repr=False)
    subscription_identifiers: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = field(default=None, repr=False)
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_properties: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None


NO_PROPERTIES = Properties()

Check = Callable[[Any], None]  # Any, as no type says that a row's check, reader and writer go with its field


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyType:
    """One row of table 2-4."""

    identifier: int
    name: str
    read: Callable[[Fields], Any]
    write: Callable[[Any], bytes]
    check: Check
    holders: frozenset[Holder]
    repeated: bool = False


def _number(low: int, high: int, reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> Check:
    return lambda value: check(low <= value <= high, f"{value} is none of {low} to {high}", reason_code)


def _pair(value: tuple[str, str]) -> None:
    check_text(value[0])
    check_text(value[1])


def _rows() -> tuple[PropertyType, ...]:
    """Table 2-4 in full."""
    kinds: Mapping[str, tuple[Callable[[Fields], Any], Callable[[Any], bytes], Check]] = {
        "flag": (Fields.uint8, wire.uint8, _number(0, 1)),
        "uint16": (Fields.uint16, wire.uint16, _number(0, MAX_UINT16)),
        "uint32": (Fields.uint32, wire.uint32, _number(0, MAX_UINT32)),
        "variable": (Fields.variable, wire.variable, _number(1, wire.MAX_VARIABLE)),
        "text": (Fields.text, wire.text, check_text),
        "binary": (Fields.binary, wire.binary, check_binary),
        "pair": (Fields.pair, wire.pair, _pair),
    }
    p = PacketType
    message: tuple[Holder, ...] = (p.PUBLISH, WILL)
    told: tuple[Holder, ...] = (
        p.CONNACK,
        p.PUBACK,
        p.PUBREC,
        p.PUBREL,
        p.PUBCOMP,
        p.SUBACK,
        p.UNSUBACK,
        p.DISCONNECT,
        p.AUTH,
    )

    def row(identifier: int, name: str, kind: str, *holders: Holder, rule: Check | None = None) -> PropertyType:
        read, write, usual_rule = kinds[kind]
        return PropertyType(
            identifier=identifier,
            name=name,
            read=read,
            write=write,
            check=rule or usual_rule,
            holders=frozenset(holders),
            repeated=isinstance(getattr(NO_PROPERTIES, name), tuple),
        )

    return (
        row(0x01, "payload_format_indicator", "flag", *message),
        row(0x02, "message_expiry_interval", "uint32", *message),
        row(0x03, "content_type", "text", *message),
        row(0x08, "response_topic", "text", *message, rule=check_topic_name),  # [MQTT-3.3.2-14]
        row(0x09, "correlation_data", "binary", *message),
        row(0x0B, "subscription_identifiers", "variable", p.PUBLISH, p.SUBSCRIBE),
        row(0x11, "session_expiry_interval", "uint32", p.CONNECT, p.CONNACK, p.DISCONNECT),
        row(0x12, "assigned_client_identifier", "text", p.CONNACK),
        row(0x13, "server_keep_alive", "uint16", p.CONNACK),
        row(0x15, "authentication_method", "text", p.CONNECT, p.CONNACK, p.AUTH),
        row(0x16, "authentication_data", "binary", p.CONNECT, p.CONNACK, p.AUTH),
        row(0x17, "request_problem_information", "flag", p.CONNECT),
        row(0x18, "will_delay_interval", "uint32", WILL),
        row(0x19, "request_response_information", "flag", p.CONNECT),
        row(0x1A, "response_information", "text", p.CONNACK),
        row(0x1C, "server_reference", "text", p.CONNACK, p.DISCONNECT),
        row(0x1F, "reason_string", "text", *told),
        row(0x21, "receive_maximum", "uint16", p.CONNECT, p.CONNACK, rule=_number(1, MAX_UINT16)),
        row(0x22, "topic_alias_maximum", "uint16", p.CONNECT, p.CONNACK),
        # [MQTT-3.3.2-8] "A sender MUST NOT send a PUBLISH packet containing a Topic Alias which has the value 0."
        row(0x23, "topic_alias", "uint16", p.PUBLISH, rule=_number(1, MAX_UINT16, ReasonCode.TOPIC_ALIAS_INVALID)),
        row(0x24, "maximum_qos", "flag", p.CONNACK),
        row(0x25, "retain_available", "flag", p.CONNACK),
        row(0x26, "user_properties", "pair", p.CONNECT, p.SUBSCRIBE, p.UNSUBSCRIBE, *message, *told),
        row(0x27, "maximum_packet_size", "uint32", p.CONNECT, p.CONNACK, rule=_number(1, MAX_UINT32)),
        row(0x28, "wildcard_subscription_available", "flag", p.CONNACK),
        row(0x29, "subscription_identifier_available", "flag", p.CONNACK),
        row(0x2A, "shared_subscription_available", "flag", p.CONNACK),
    )


PROPERTY_TYPES = _rows()
_BY_IDENTIFIER = {row.identifier: row for row in PROPERTY_TYPES}


def readable(text: str) -> str:
    """*text* as a string of MQTT may be, and as long as people like to read."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_EXPLANATION])


def explanation(text: str) -> Properties:
    """Properties that say why, if there is anything to say."""
    return Properties(reason_string=readable(text)) if text else NO_PROPERTIES


def _name(holder: Holder) -> str:
    return holder if isinstance(holder, str) else holder.name


def check_properties(properties: Properties, holder: Holder) -> None:
    """Raises InvalidPacketError unless *holder* may carry all of them and their values are legal."""
    if properties is NO_PROPERTIES:
        return
    for row in PROPERTY_TYPES:
        value = getattr(properties, row.name)
        if value is None or value == ():
            continue
        if holder not in row.holders:
            raise InvalidPacketError(f"the property {row.name} in {_name(holder)}")
        for each in value if row.repeated else (value,):
            row.check(each)


def read_properties(fields: Fields, holder: Holder) -> Properties:
    """The properties at the front of *fields*; their values are checked by the packet that is made with them."""
    size = fields.variable()
    if size == 0:
        return NO_PROPERTIES
    part = fields.part(size)
    values: dict[str, Any] = {}
    while len(part):
        _read_property(part, holder, values)
    return Properties(**values)


def _read_property(part: Fields, holder: Holder, values: dict[str, Any]) -> None:
    row = _BY_IDENTIFIER.get(part.variable())
    if row is None or holder not in row.holders:
        # §2.2.2.2: "A Control Packet which contains an Identifier which is not valid for its packet type [...] is a
        # Malformed Packet."
        raise InvalidPacketError(f"a property that {_name(holder)} does not have")
    value = row.read(part)
    if not row.repeated:
        check(row.name not in values, f"the property {row.name} twice", ReasonCode.PROTOCOL_ERROR)
        values[row.name] = value
        return
    so_far = values.get(row.name, ())
    check(len(so_far) < part.limits.max_user_properties, f"too many of {row.name}", ReasonCode.QUOTA_EXCEEDED)
    values[row.name] = (*so_far, value)


def write_properties(properties: Properties) -> bytes:
    """The properties, with their length."""
    if properties is NO_PROPERTIES:
        return b"\0"
    encoded = bytearray()
    for row in PROPERTY_TYPES:
        value = getattr(properties, row.name)
        if value is None:
            continue
        for each in value if row.repeated else (value,):
            encoded += wire.variable(row.identifier)
            encoded += row.write(each)
    return wire.variable(len(encoded)) + encoded
