"""A stream of bytes, in whatever pieces it arrives, -> packets (MQTT 3.1.1 §2.2).

Bytes are kept as they came until someone asks for the next packet, so an unread packet costs its own size and no more,
and nothing is set aside for a length that was only announced. A packet that is not allowed or too large is refused
from its first bytes, before its body has arrived.
"""

from kpc.mqtt.codec import DECODERS, decode
from kpc.mqtt.errors import InvalidPacketError, RemoteProtocolError
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import ClientPacket, Connect
from kpc.mqtt.versions import Version

MAX_LENGTH_BYTES = 4


class PacketReader:
    """Feed it bytes, ask it for packets; after a RemoteProtocolError it is of no further use."""

    def __init__(self, max_packet_size: int) -> None:
        self._max_packet_size = max_packet_size
        self._buffer = bytearray()
        self._version: Version | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data

    def next_packet(self) -> ClientPacket | None:
        """The next packet, or None until more bytes are fed.

        Raises RemoteProtocolError when the bytes are not MQTT as a client of this version may speak it.
        """
        buffer = self._buffer
        if not buffer:
            return None
        packet_type, flags = buffer[0] >> 4, buffer[0] & 0x0F
        self._check_type(packet_type)
        body = self._find_body()
        if body is None:
            return None
        data = bytes(buffer[body])
        del buffer[: body.stop]
        try:
            packet = decode(packet_type, flags, data, self._version)
        except InvalidPacketError as exc:
            raise RemoteProtocolError(f"{PacketType(packet_type).name}: {exc}") from exc
        if isinstance(packet, Connect):
            self._version = packet.version
        return packet

    def _check_type(self, packet_type: int) -> None:
        if packet_type not in DECODERS:
            raise RemoteProtocolError(f"a packet of type {packet_type} from a client")
        # [MQTT-3.1.0-1] "the first Packet sent from the Client to the Server MUST be a CONNECT Packet."
        if self._version is None and packet_type != PacketType.CONNECT:
            raise RemoteProtocolError(f"{PacketType(packet_type).name} before CONNECT")

    def _find_body(self) -> slice | None:
        length = 0
        for position, byte in enumerate(self._buffer[1 : 1 + MAX_LENGTH_BYTES]):
            length |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                start = position + 2
                break
        else:
            if len(self._buffer) > MAX_LENGTH_BYTES:
                raise RemoteProtocolError("the remaining length has more than four bytes")
            return None
        if start + length > self._max_packet_size:
            raise RemoteProtocolError(f"a packet of {start + length} bytes, more than {self._max_packet_size}")
        return slice(start, start + length) if len(self._buffer) >= start + length else None
