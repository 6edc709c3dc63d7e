"""One MQTT packet <-> its bytes (MQTT 3.1.1 §2 and §3).

Two tables say it all: DECODERS for what a client sends, ENCODERS for what a server sends. A decoder takes the flags of
the fixed header and the fields behind it; `decode` sees to what all packets share: reserved flags before, nothing left
over after. Whatever is wrong is an InvalidPacketError, except what CONNACK has an answer to.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kpc.mqtt.errors import InvalidPacketError, RemoteProtocolError
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import (
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ServerPacket,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from kpc.mqtt.reasons import RETURN_CODE_UNAVAILABLE, RETURN_CODES, ReasonCode
from kpc.mqtt.versions import PROTOCOL_NAMES, VERSIONS, Version

_Filter = TypeVar("_Filter", Subscription, str)

CLEAN_SESSION, WILL, WILL_RETAIN, PASSWORD, USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
DUP, RETAIN = 0x08, 0x01

# Devices ask for a handful. Each filter takes four bytes on the wire and a thousand times that in work and memory, so
# one SUBSCRIBE of the permitted size would stop everyone else for a second.
MAX_TOPIC_FILTERS = 256


class Fields:
    """The variable header and payload of one packet, read from front to back."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __len__(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        start, end = self._position, self._position + size
        if end > len(self._data):
            raise InvalidPacketError("the packet ends inside a field")
        self._position = end
        return self._data[start:end]

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def binary(self) -> bytes:
        return self.take(self.uint16())

    def text(self) -> str:
        # [MQTT-1.5.3-1] "The character data in a UTF-8 encoded string MUST be well-formed UTF-8"; [MQTT-1.5.3-3] a
        # leading U+FEFF is a character like any other: Python's "utf-8" agrees on both.
        try:
            return self.binary().decode("utf-8")
        except UnicodeDecodeError as exc:
            raise InvalidPacketError("a string is not UTF-8") from exc

    def rest(self) -> bytes:
        return self.take(len(self))


def _version(fields: Fields) -> Version:
    name, level = fields.text(), fields.uint8()
    if name not in PROTOCOL_NAMES:  # [MQTT-3.1.2-1]
        raise InvalidPacketError("an unknown protocol name")
    version = VERSIONS.get((name, level))
    if version is None:
        # [MQTT-3.1.2-2] "The Server MUST respond to the CONNECT Packet with a CONNACK return code 0x01 (unacceptable
        # protocol level) and then disconnect the Client".
        code = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        raise RemoteProtocolError(f"{name} level {level} is not spoken here", reason_code=code)
    return version


def _decode_will(flags: int, fields: Fields) -> Will | None:
    qos, retain = flags >> 3 & 0x03, bool(flags & WILL_RETAIN)
    if flags & WILL:
        return Will(topic=fields.text(), payload=fields.binary(), qos=qos, retain=retain)
    if qos or retain:  # [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15]
        raise InvalidPacketError("will QoS or will retain without a will")
    return None


def _decode_connect(header: int, fields: Fields) -> Connect:
    version = _version(fields)
    flags = fields.uint8()
    # [MQTT-3.1.2-3] "The Server MUST validate that the reserved flag in the CONNECT Control Packet is set to zero".
    if version.reserved_bits_matter and (header or flags & 0x01):
        raise InvalidPacketError("a reserved flag of CONNECT is set")
    if flags & PASSWORD and not flags & USERNAME:  # [MQTT-3.1.2-22]
        raise InvalidPacketError("a password without a user name")
    keep_alive = fields.uint16()
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
    )


def _decode_publish(flags: int, fields: Fields) -> Publish:
    qos = flags >> 1 & 0x03
    return Publish(
        topic=fields.text(),
        packet_id=fields.uint16() if qos else None,
        payload=fields.rest(),
        qos=qos,
        dup=bool(flags & DUP),
        retain=bool(flags & RETAIN),
    )


def _filters(fields: Fields, read: Callable[[Fields], _Filter]) -> tuple[_Filter, ...]:
    filters: list[_Filter] = []
    while len(fields):
        if len(filters) == MAX_TOPIC_FILTERS:
            raise InvalidPacketError(f"more than {MAX_TOPIC_FILTERS} topic filters in one packet")
        filters.append(read(fields))
    return tuple(filters)


def _decode_subscription(fields: Fields) -> Subscription:
    return Subscription(topic_filter=fields.text(), qos=fields.uint8())


def _decode_subscribe(flags: int, fields: Fields) -> Subscribe:
    return Subscribe(packet_id=fields.uint16(), subscriptions=_filters(fields, _decode_subscription))


def _decode_unsubscribe(flags: int, fields: Fields) -> Unsubscribe:
    return Unsubscribe(packet_id=fields.uint16(), topic_filters=_filters(fields, Fields.text))


Decoder = Callable[[int, Fields], ClientPacket]
DECODERS: Mapping[int, Decoder] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.PUBLISH: _decode_publish,
    PacketType.PUBACK: lambda _, fields: Puback(packet_id=fields.uint16()),
    PacketType.PUBREC: lambda _, fields: Pubrec(packet_id=fields.uint16()),
    PacketType.PUBREL: lambda _, fields: Pubrel(packet_id=fields.uint16()),
    PacketType.PUBCOMP: lambda _, fields: Pubcomp(packet_id=fields.uint16()),
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.PINGREQ: lambda _, fields: Pingreq(),
    PacketType.DISCONNECT: lambda _, fields: Disconnect(),
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
}


def decode(packet_type: int, flags: int, body: bytes, version: Version | None) -> ClientPacket:
    """The packet a client sent; *version* is what its CONNECT said, None before that."""
    reserved = RESERVED_FLAGS.get(packet_type, flags)
    # [MQTT-2.2.2-2] "If invalid flags are received, the receiver MUST close the Network Connection."
    if flags != reserved and version is not None and version.reserved_bits_matter:
        raise InvalidPacketError("reserved flags of the fixed header are not as they must be")
    fields = Fields(body)
    packet = DECODERS[packet_type](flags, fields)
    if len(fields):
        raise InvalidPacketError(f"{len(fields)} bytes behind the end of the packet")
    return packet


def _packet(first_byte: int, *parts: bytes) -> bytes:
    length = sum(map(len, parts))
    header = bytearray((first_byte,))
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return b"".join((header, *parts))


def _uint16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _encode_publish(packet: Publish) -> bytes:
    topic = packet.topic.encode()
    packet_id = b"" if packet.packet_id is None else _uint16(packet.packet_id)
    first_byte = PacketType.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
    return _packet(first_byte, _uint16(len(topic)), topic, packet_id, packet.payload)


# Any, because no type says that the key is the type of its function's argument.
ENCODERS: Mapping[type[ServerPacket], Callable[[Any], bytes]] = {
    Connack: lambda packet: bytes(
        (PacketType.CONNACK << 4, 2, 0, RETURN_CODES.get(packet.reason_code, RETURN_CODE_UNAVAILABLE))
    ),
    Publish: _encode_publish,
    Puback: lambda packet: _packet(PacketType.PUBACK << 4, _uint16(packet.packet_id)),
    Pubrec: lambda packet: _packet(PacketType.PUBREC << 4, _uint16(packet.packet_id)),
    Pubcomp: lambda packet: _packet(PacketType.PUBCOMP << 4, _uint16(packet.packet_id)),
    Suback: lambda packet: _packet(PacketType.SUBACK << 4, _uint16(packet.packet_id), bytes(packet.granted)),
    Unsuback: lambda packet: _packet(PacketType.UNSUBACK << 4, _uint16(packet.packet_id)),
    Pingresp: lambda packet: bytes((PacketType.PINGRESP << 4, 0)),
}


def encode(packet: ServerPacket) -> bytes:
    """The bytes of a packet the server sends."""
    return ENCODERS[type(packet)](packet)
