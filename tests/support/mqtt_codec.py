"""MQTT as a client writes and reads it: the other half of kpc.mqtt's codec, for tests of the server.

`encode` makes the bytes of what a client sends, `decode` the packet of what a server sent, in the same values that the
server uses.
"""

from collections.abc import Iterator

from kpc.mqtt import wire
from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import (
    Auth,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingresp,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from kpc.mqtt.properties import NO_PROPERTIES, Holder, Properties, read_properties, write_properties
from kpc.mqtt.reasons import RETURN_CODES, ReasonCode
from kpc.mqtt.versions import Version
from kpc.mqtt.wire import Fields

LIMITS = SessionLimits(max_packet_size=2**28)
FROM_RETURN_CODE = {code: reason for reason, code in RETURN_CODES.items()} | {3: ReasonCode.SERVER_UNAVAILABLE}
ACKNOWLEDGEMENTS: dict[int, type[Puback] | type[Pubrec] | type[Pubcomp]] = {
    PacketType.PUBACK: Puback,
    PacketType.PUBREC: Pubrec,
    PacketType.PUBCOMP: Pubcomp,
}


def encode(packet: ClientPacket, version: Version) -> bytes:
    """The bytes a client of *version* sends."""
    match packet:
        case Connect():
            return wire.packet(0x10, *_connect(packet))
        case Publish():
            first_byte = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
            identifier = b"" if packet.packet_id is None else wire.uint16(packet.packet_id)
            return wire.packet(
                first_byte, wire.text(packet.topic), identifier, _properties(packet, version), packet.payload
            )
        case Puback() | Pubrec() | Pubrel() | Pubcomp():
            first_byte = packet.packet_type << 4 | (2 if isinstance(packet, Pubrel) else 0)
            return wire.packet(first_byte, wire.uint16(packet.packet_id), _outcome(packet, version))
        case Subscribe():
            filters = (wire.text(each.topic_filter) + wire.uint8(_options(each)) for each in packet.subscriptions)
            return wire.packet(0x82, wire.uint16(packet.packet_id), _properties(packet, version), *filters)
        case Unsubscribe():
            names = map(wire.text, packet.topic_filters)
            return wire.packet(0xA2, wire.uint16(packet.packet_id), _properties(packet, version), *names)
        case Disconnect():
            return wire.packet(0xE0, _outcome(packet, version))
        case Auth():
            return wire.packet(0xF0, _outcome(packet, version))
        case _:
            return b"\xc0\x00"


def _connect(packet: Connect) -> Iterator[bytes]:
    will = packet.will
    flags = packet.clean_session << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
    yield (
        wire.text(packet.version.protocol_name) + bytes((packet.version.level, flags)) + wire.uint16(packet.keep_alive)
    )
    yield _properties(packet, packet.version)
    yield wire.text(packet.client_id)
    if will is not None:
        yield write_properties(will.properties) if packet.version.has_properties else b""
        yield wire.text(will.topic) + wire.binary(will.payload)
    if packet.username is not None:
        yield wire.text(packet.username)
    if packet.password is not None:
        yield wire.binary(packet.password)


def _options(subscription: Subscription) -> int:
    bits = subscription.no_local << 2 | subscription.retain_as_published << 3
    return subscription.qos | bits | subscription.retain_handling << 4


def _properties(packet: Connect | Publish | Subscribe | Unsubscribe, version: Version) -> bytes:
    return write_properties(packet.properties) if version.has_properties else b""


def _outcome(packet: Puback | Pubrec | Pubrel | Pubcomp | Disconnect | Auth, version: Version) -> bytes:
    if not version.has_properties:
        return b""
    return wire.uint8(packet.reason_code) + write_properties(packet.properties)


def decode(data: bytes, version: Version) -> tuple[ServerPacket, bytes]:
    """The first packet that a server sent to a client of *version*, and the bytes behind it."""
    header = Fields(data[1:], LIMITS, version)
    size = header.variable()
    fields = header.part(size)
    packet = _decode(data[0] >> 4, data[0] & 0x0F, fields, version)
    assert len(fields) == 0, "bytes behind the end of the packet"
    return packet, header.rest()


def decode_all(data: bytes, version: Version) -> list[ServerPacket]:
    """All packets that a server sent."""
    packets: list[ServerPacket] = []
    while data:
        packet, data = decode(data, version)
        packets.append(packet)
    return packets


def _decode(packet_type: int, flags: int, fields: Fields, version: Version) -> ServerPacket:
    assert packet_type == PacketType.PUBLISH or flags == 0

    def properties(holder: Holder) -> Properties:
        return read_properties(fields, holder) if version.has_properties else NO_PROPERTIES

    if packet_type in ACKNOWLEDGEMENTS:
        packet_id = fields.uint16()
        reason_code, rest = _read_outcome(fields, PacketType(packet_type))
        return ACKNOWLEDGEMENTS[packet_type](packet_id=packet_id, reason_code=reason_code, properties=rest)
    match packet_type:
        case PacketType.CONNACK:
            assert fields.uint8() == 0, "a session that is present"
            code = fields.uint8()
            reason_code = ReasonCode(code) if version.has_properties else FROM_RETURN_CODE[code]
            return Connack(reason_code=reason_code, properties=properties(PacketType.CONNACK))
        case PacketType.PUBLISH:
            qos = flags >> 1 & 3
            return Publish(
                topic=fields.text(),
                packet_id=fields.uint16() if qos else None,
                properties=properties(PacketType.PUBLISH),
                payload=fields.rest(),
                qos=qos,
                dup=bool(flags & 8),
                retain=bool(flags & 1),
            )
        case PacketType.SUBACK:
            packet_id, rest = fields.uint16(), properties(PacketType.SUBACK)
            return Suback(packet_id=packet_id, properties=rest, reason_codes=tuple(map(ReasonCode, fields.rest())))
        case PacketType.UNSUBACK:
            packet_id, rest = fields.uint16(), properties(PacketType.UNSUBACK)
            return Unsuback(packet_id=packet_id, properties=rest, reason_codes=tuple(map(ReasonCode, fields.rest())))
        case PacketType.DISCONNECT:
            assert version.has_properties, "DISCONNECT from a server before MQTT 5"
            reason_code, rest = _read_outcome(fields, PacketType.DISCONNECT)
            return Disconnect(reason_code=reason_code, properties=rest)
        case PacketType.PINGRESP:
            return Pingresp()
        case _:
            raise AssertionError(f"a packet of type {packet_type} from a server")


def _read_outcome(fields: Fields, holder: Holder) -> tuple[ReasonCode, Properties]:
    reason_code = ReasonCode(fields.uint8()) if len(fields) else ReasonCode.SUCCESS
    return reason_code, read_properties(fields, holder) if len(fields) else NO_PROPERTIES
