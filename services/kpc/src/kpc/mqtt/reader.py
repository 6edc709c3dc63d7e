"""A stream of bytes, in whatever pieces it arrives, -> packets (MQTT 3.1.1 §2.2).

Bytes are kept as they came until someone asks for the next packet, so an unread packet costs its own size and no more,
and nothing is set aside for a length that was only announced. A packet that is not allowed or too large is refused
from its first bytes, before its body has arrived.
"""

from kpc.mqtt.checks import check
from kpc.mqtt.decoder import DECODERS, decode
from kpc.mqtt.errors import InvalidPacketError, RemoteProtocolError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import ClientPacket
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import Version
from kpc.mqtt.wire import Fields

MAX_LENGTH_BYTES = 4


class PacketReader:
    """Feed it bytes, ask it for packets; after a RemoteProtocolError it is of no further use.

    `version` is what the client's CONNECT says, even if that is wrong further on.
    """

    __slots__ = ("_buffer", "_limits", "version")

    def __init__(self, limits: SessionLimits) -> None:
        self.version: Version | None = None
        self._limits = limits
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data

    @property
    def size(self) -> int:
        """Bytes that are not read yet."""
        return len(self._buffer)

    def clear(self) -> None:
        """Nothing more will be read."""
        self._buffer.clear()

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
        is_padded = body.start > 2 and buffer[body.start - 1] == 0
        fields = Fields(bytes(buffer[body]), self._limits, self.version)
        del buffer[: body.stop]
        try:
            packet = decode(packet_type, flags, fields)
            # MQTT 5 [MQTT-1.5.5-1] "The encoded value MUST use the minimum number of bytes necessary"; before, there is
            # no such rule, and modems that always write two of them.
            is_strict = fields.version is not None and fields.version.has_properties
            check(not (is_padded and is_strict), "a remaining length with more bytes than necessary")
            return packet
        except InvalidPacketError as exc:
            raise RemoteProtocolError(f"{PacketType(packet_type).name}: {exc}", exc.reason_code) from exc
        finally:
            if self.version is None:  # a second CONNECT changes nothing any more
                self.version = fields.version

    def _check_type(self, packet_type: int) -> None:
        version = self.version
        is_new = packet_type == PacketType.AUTH and version is not None and not version.has_properties
        if packet_type not in DECODERS or is_new:
            raise RemoteProtocolError(f"a packet of type {packet_type} from a client", ReasonCode.MALFORMED_PACKET)
        # [MQTT-3.1.0-1] "the first Packet sent from the Client to the Server MUST be a CONNECT Packet."
        if self.version is None and packet_type != PacketType.CONNECT:
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
                raise RemoteProtocolError("a remaining length of more than four bytes", ReasonCode.MALFORMED_PACKET)
            return None
        size, most = start + length, self._limits.max_packet_size
        if size > most:
            raise RemoteProtocolError(f"a packet of {size} bytes, more than {most}", ReasonCode.PACKET_TOO_LARGE)
        return slice(start, size) if len(self._buffer) >= size else None
