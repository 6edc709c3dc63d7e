"""The bytes of one packet -> the packet, as a client sends it (MQTT 3.1.1 §2 and §3, MQTT 5 §2 and §3).

One table says it all: DECODERS. A decoder takes the flags of the fixed header and the fields behind it; `decode` sees
to what all packets share: reserved flags before, nothing left over after. What is wrong is an InvalidPacketError.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.checks import check
from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import (
    Auth,
    ClientPacket,
    Connect,
    Disconnect,
    Pingreq,
    Publish,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from kpc.mqtt.properties import NO_PROPERTIES, WILL, Holder, Properties, read_properties
from kpc.mqtt.reasons import FROM_CLIENT, ReasonCode
from kpc.mqtt.versions import PROTOCOL_NAMES, VERSIONS, Version
from kpc.mqtt.wire import Fields

_Filter = TypeVar("_Filter", Subscription, str)

CLEAN_SESSION, WILL_FLAG, WILL_RETAIN, PASSWORD, USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
DUP, RETAIN = 0x08, 0x01
NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08


def _version(fields: Fields) -> Version:
    name, level = fields.text(), fields.uint8()
    check(name in PROTOCOL_NAMES, "an unknown protocol name")  # [MQTT-3.1.2-1]
    version = VERSIONS.get((name, level))
    if version is None:
        # [MQTT-3.1.2-2] "The Server MUST respond to the CONNECT Packet with a CONNACK return code 0x01 (unacceptable
        # protocol level) and then disconnect the Client".
        message = f"{name} level {level} is not spoken here"
        raise InvalidPacketError(message, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    return version


def _properties(fields: Fields, holder: Holder) -> Properties:
    has_properties = fields.version is not None and fields.version.has_properties
    return read_properties(fields, holder) if has_properties else NO_PROPERTIES


def _reason(code: int, packet_type: PacketType) -> ReasonCode:
    try:
        reason_code = ReasonCode(code)
    except ValueError as exc:
        raise InvalidPacketError(f"the unknown reason code 0x{code:02X}") from exc
    if packet_type in FROM_CLIENT and reason_code not in FROM_CLIENT[packet_type]:
        raise InvalidPacketError(f"{reason_code.name}, which no client says", ReasonCode.PROTOCOL_ERROR)
    return reason_code


def _outcome(fields: Fields, packet_type: PacketType) -> tuple[ReasonCode, Properties]:
    """The reason code and the properties that end a packet; either may be left out (MQTT 5 §3.4.2.1, §3.14.2.1)."""
    if not len(fields) or fields.version is None or not fields.version.has_properties:
        return ReasonCode.SUCCESS, NO_PROPERTIES
    reason_code = _reason(fields.uint8(), packet_type)
    return reason_code, read_properties(fields, packet_type) if len(fields) else NO_PROPERTIES


def _decode_will(flags: int, fields: Fields) -> Will | None:
    qos, retain = flags >> 3 & 0x03, bool(flags & WILL_RETAIN)
    if flags & WILL_FLAG:
        properties = _properties(fields, WILL)
        return Will(topic=fields.text(), payload=fields.binary(), qos=qos, retain=retain, properties=properties)
    # [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15]; 3.1 §3.1: "otherwise its value is disregarded".
    if fields.version is None or fields.version.reserved_bits_matter:
        check(not qos and not retain, "will QoS or will retain without a will")
    return None


def _decode_connect(header: int, fields: Fields) -> Connect:
    version = fields.version = _version(fields)
    flags = fields.uint8()
    # [MQTT-3.1.2-3] "The Server MUST validate that the reserved flag in the CONNECT Control Packet is set to zero".
    if version.reserved_bits_matter:
        check(not header and not flags & 0x01, "a reserved flag of CONNECT is set")
    if version.password_needs_user_name:
        check(not flags & PASSWORD or bool(flags & USERNAME), "a password without a user name")
    keep_alive = fields.uint16()
    properties = _properties(fields, PacketType.CONNECT)
    client_id = fields.text()
    will = _decode_will(flags, fields)

    def sent(flag: int) -> bool:
        return bool(flags & flag) and (len(fields) > 0 or not version.credentials_may_be_missing)

    return Connect(
        version=version,
        client_id=client_id,
        keep_alive=keep_alive,
        clean_session=bool(flags & CLEAN_SESSION),
        username=fields.text() if sent(USERNAME) else None,
        password=fields.binary() if sent(PASSWORD) else None,
        will=will,
        properties=properties,
    )


def _decode_publish(flags: int, fields: Fields) -> Publish:
    topic = fields.text()
    if len(topic) > fields.limits.max_topic_length:
        message = f"a topic of more than {fields.limits.max_topic_length} characters"
        raise InvalidPacketError(message, ReasonCode.TOPIC_NAME_INVALID)
    qos = flags >> 1 & 0x03
    if fields.version is not None and not fields.version.reserved_bits_matter and not qos:
        flags &= ~DUP  # 3.1 §2.1: "applies to messages where the value of QoS is greater than zero"
    packet_id = fields.uint16() if qos else None
    properties = _properties(fields, PacketType.PUBLISH)
    # [MQTT-3.3.4-6] "A PUBLISH packet sent from a Client to a Server MUST NOT contain a Subscription Identifier."
    if properties.subscription_identifiers:
        raise InvalidPacketError("a subscription identifier from a client", ReasonCode.PROTOCOL_ERROR)
    return Publish(
        topic=topic,
        packet_id=packet_id,
        payload=fields.rest(),
        qos=qos,
        dup=bool(flags & DUP),
        retain=bool(flags & RETAIN),
        properties=properties,
    )


_Acknowledgement = TypeVar("_Acknowledgement", Puback, Pubrec, Pubrel, Pubcomp)


def _acknowledgement(kind: type[_Acknowledgement]) -> Callable[[int, Fields], _Acknowledgement]:
    def decode_acknowledgement(_: int, fields: Fields) -> _Acknowledgement:
        packet_id = fields.uint16()
        reason_code, properties = _outcome(fields, kind.packet_type)
        return kind(packet_id=packet_id, reason_code=reason_code, properties=properties)

    return decode_acknowledgement


def _filters(fields: Fields, read: Callable[[Fields], _Filter]) -> tuple[_Filter, ...]:
    filters: list[_Filter] = []
    most = fields.limits.max_topic_filters
    while len(fields):
        if len(filters) == most:
            raise InvalidPacketError(f"more than {most} topic filters in one packet", ReasonCode.QUOTA_EXCEEDED)
        filters.append(read(fields))
    return tuple(filters)


def _subscription(fields: Fields) -> Subscription:
    topic_filter, options = fields.text(), fields.uint8()
    version = fields.version
    if version is None or not version.has_properties:
        # 3.1 §3.8: "The upper 6 bits of this byte are not used".
        is_strict = version is None or version.reserved_bits_matter
        return Subscription(topic_filter=topic_filter, qos=options if is_strict else options & 0x03)
    check(not options & 0xC0, "reserved bits of the subscription options")  # [MQTT-3.8.3-5]
    return Subscription(
        topic_filter=topic_filter,
        qos=options & 0x03,
        no_local=bool(options & NO_LOCAL),
        retain_as_published=bool(options & RETAIN_AS_PUBLISHED),
        retain_handling=options >> 4,
    )


def _decode_subscribe(_: int, fields: Fields) -> Subscribe:
    packet_id, properties = fields.uint16(), _properties(fields, PacketType.SUBSCRIBE)
    return Subscribe(packet_id=packet_id, subscriptions=_filters(fields, _subscription), properties=properties)


def _decode_unsubscribe(_: int, fields: Fields) -> Unsubscribe:
    packet_id, properties = fields.uint16(), _properties(fields, PacketType.UNSUBSCRIBE)
    return Unsubscribe(packet_id=packet_id, topic_filters=_filters(fields, Fields.text), properties=properties)


def _decode_disconnect(_: int, fields: Fields) -> Disconnect:
    reason_code, properties = _outcome(fields, PacketType.DISCONNECT)
    if properties.server_reference is not None:  # §3.14.2.2.5: "The Server sends DISCONNECT including"
        raise InvalidPacketError("a server reference from a client", ReasonCode.PROTOCOL_ERROR)
    return Disconnect(reason_code=reason_code, properties=properties)


def _decode_auth(_: int, fields: Fields) -> Auth:
    reason_code, properties = _outcome(fields, PacketType.AUTH)
    return Auth(reason_code=reason_code, properties=properties)


DECODERS: Mapping[int, Callable[[int, Fields], ClientPacket]] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.PUBLISH: _decode_publish,
    PacketType.PUBACK: _acknowledgement(Puback),
    PacketType.PUBREC: _acknowledgement(Pubrec),
    PacketType.PUBREL: _acknowledgement(Pubrel),
    PacketType.PUBCOMP: _acknowledgement(Pubcomp),
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.PINGREQ: lambda _, fields: Pingreq(),
    PacketType.DISCONNECT: _decode_disconnect,
    PacketType.AUTH: _decode_auth,
}

# Table 2.2, without PUBLISH, which uses its flags, and CONNECT, whose decoder learns first which version it reads.
RESERVED_FLAGS: Mapping[int, int] = {
    PacketType.PUBACK: 0,
    PacketType.PUBREC: 0,
    PacketType.PUBREL: 2,
    PacketType.PUBCOMP: 0,
    PacketType.SUBSCRIBE: 2,
    PacketType.UNSUBSCRIBE: 2,
    PacketType.PINGREQ: 0,
    PacketType.DISCONNECT: 0,
    PacketType.AUTH: 0,
}


def decode(packet_type: int, flags: int, fields: Fields) -> ClientPacket:
    """The packet a client sent; before its CONNECT is read, *fields* know no version."""
    reserved = RESERVED_FLAGS.get(packet_type, flags)
    # [MQTT-2.2.2-2] "If invalid flags are received, the receiver MUST close the Network Connection."
    if flags != reserved and fields.version is not None and fields.version.reserved_bits_matter:
        raise InvalidPacketError("reserved flags of the fixed header are not as they must be")
    packet = DECODERS[packet_type](flags, fields)
    if len(fields):
        raise InvalidPacketError(f"{len(fields)} bytes behind the end of the packet")
    return packet
