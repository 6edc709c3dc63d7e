"""A packet that the server sends -> its bytes, as the client's version has them (MQTT 3.1.1 §3, MQTT 5 §3).

One table says it all: ENCODERS. Reasons and properties are written for a version that has them; for others only what
CONNACK and SUBACK have always said is left of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kpc.mqtt import wire
from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import (
    Connack,
    Disconnect,
    Pingresp,
    Publish,
    ServerPacket,
    Suback,
    Unsuback,
)
from kpc.mqtt.properties import NO_PROPERTIES, Properties, write_properties
from kpc.mqtt.reasons import RETURN_CODE_UNAVAILABLE, RETURN_CODES, ReasonCode
from kpc.mqtt.versions import Version


def _encode_connack(packet: Connack, version: Version) -> bytes:
    first_byte = PacketType.CONNACK << 4
    if not version.has_properties:
        return wire.packet(first_byte, bytes((0, RETURN_CODES.get(packet.reason_code, RETURN_CODE_UNAVAILABLE))))
    return wire.packet(first_byte, bytes((0, packet.reason_code)), write_properties(packet.properties))


def _encode_publish(packet: Publish, version: Version) -> bytes:
    return wire.packet(
        PacketType.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain,
        wire.text(packet.topic),
        b"" if packet.packet_id is None else wire.uint16(packet.packet_id),
        write_properties(packet.properties) if version.has_properties else b"",
        packet.payload,
    )


def _outcome(reason_code: ReasonCode, properties: Properties, version: Version) -> bytes:
    """What a packet ends with: nothing where all went well and there is nothing to add (MQTT 5 §3.4.2.1)."""
    if not version.has_properties or (reason_code is ReasonCode.SUCCESS and properties is NO_PROPERTIES):
        return b""
    reason = wire.uint8(reason_code)
    return reason if properties is NO_PROPERTIES else reason + write_properties(properties)


def _encode_acknowledgement(packet: Puback | Pubrec | Pubcomp, version: Version) -> bytes:
    outcome = _outcome(packet.reason_code, packet.properties, version)
    return wire.packet(packet.packet_type << 4, wire.uint16(packet.packet_id), outcome)


def _encode_suback(packet: Suback, version: Version) -> bytes:
    first_byte, packet_id = PacketType.SUBACK << 4, wire.uint16(packet.packet_id)
    failure = version.subscription_failure
    if failure is None:
        return wire.packet(first_byte, packet_id, write_properties(packet.properties), bytes(packet.reason_codes))
    return wire.packet(
        first_byte, packet_id, bytes(failure if code.is_failure else code for code in packet.reason_codes)
    )


def _encode_unsuback(packet: Unsuback, version: Version) -> bytes:
    reasons = write_properties(packet.properties) + bytes(packet.reason_codes) if version.has_properties else b""
    return wire.packet(PacketType.UNSUBACK << 4, wire.uint16(packet.packet_id), reasons)


def _encode_disconnect(packet: Disconnect, version: Version) -> bytes:
    return wire.packet(PacketType.DISCONNECT << 4, _outcome(packet.reason_code, packet.properties, version))


# Any, because no type says that the key is the type of its function's argument.
ENCODERS: Mapping[type[ServerPacket], Callable[[Any, Version], bytes]] = {
    Connack: _encode_connack,
    Publish: _encode_publish,
    Puback: _encode_acknowledgement,
    Pubrec: _encode_acknowledgement,
    Pubcomp: _encode_acknowledgement,
    Suback: _encode_suback,
    Unsuback: _encode_unsuback,
    Pingresp: lambda packet, version: bytes((PacketType.PINGRESP << 4, 0)),
    Disconnect: _encode_disconnect,
}


def encode(packet: ServerPacket, version: Version) -> bytes:
    """The bytes of a packet the server sends to a client of *version*."""
    return ENCODERS[type(packet)](packet, version)
