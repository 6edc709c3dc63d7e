"""What the parts of packets must be (MQTT 3.1.1 §1.5, §2.3; MQTT 5 §1.5, §2.2); if not, InvalidPacketError."""

from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.reasons import REASONS, ReasonCode

MAX_UINT16 = 0xFFFF


def check(holds: bool, message: str, reason_code: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
    if not holds:
        raise InvalidPacketError(message, reason_code)


def check_text(text: str) -> None:
    # [MQTT-1.5.3-1] "In particular this data MUST NOT include encodings of code points between U+D800 and U+DFFF."
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidPacketError("a string contains surrogates") from exc
    check(size <= MAX_UINT16, "a string is longer than 65,535 bytes")
    # [MQTT-1.5.3-2] "MUST NOT include an encoding of the null character U+0000."
    check("\0" not in text, "a string contains the null character")


def check_binary(data: bytes) -> None:
    check(len(data) <= MAX_UINT16, "binary data is longer than 65,535 bytes")


def check_packet_id(packet_id: int) -> None:
    # [MQTT-2.3.1-1] "MUST contain a non-zero 16-bit Packet Identifier."
    check(0 < packet_id <= MAX_UINT16, "a packet identifier outside 1 to 65,535", ReasonCode.PROTOCOL_ERROR)


def check_qos(qos: int) -> None:
    check(0 <= qos <= 2, "a QoS other than 0, 1 and 2")  # [MQTT-3.3.1-4], [MQTT-3-8.3-4], [MQTT-3.1.2-14]


def check_reason(packet_type: PacketType, reason_code: ReasonCode) -> None:
    if reason_code not in REASONS[packet_type]:
        message = f"reason code 0x{reason_code:02X} in {packet_type.name}"
        raise InvalidPacketError(message, ReasonCode.PROTOCOL_ERROR)
