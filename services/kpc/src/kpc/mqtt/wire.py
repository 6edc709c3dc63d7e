"""The data types that packets are made of, read and written (MQTT 3.1.1 §1.5, MQTT 5 §1.5)."""

from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.versions import Version

MAX_VARIABLE = 0x0FFF_FFFF
"""The largest variable byte integer: four bytes of seven bits."""


class Fields:
    """The variable header and payload of one packet, read from front to back.

    `version` is that of the client, as soon as its CONNECT has told it.
    """

    __slots__ = ("_data", "_end", "_position", "limits", "version")

    def __init__(self, data: bytes, limits: SessionLimits, version: Version | None) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)
        self.limits = limits
        self.version = version

    def __len__(self) -> int:
        return self._end - self._position

    def take(self, size: int) -> bytes:
        start, end = self._position, self._position + size
        if end > self._end:
            raise InvalidPacketError("the packet ends inside a field")
        self._position = end
        return self._data[start:end]

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.uint8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                # [MQTT-1.5.5-1] "The encoded value MUST use the minimum number of bytes necessary".
                if byte == 0 and shift:
                    raise InvalidPacketError("a variable byte integer with more bytes than necessary")
                return value
        raise InvalidPacketError("a variable byte integer of more than four bytes")

    def binary(self) -> bytes:
        return self.take(self.uint16())

    def text(self) -> str:
        # [MQTT-1.5.3-1] "The character data in a UTF-8 encoded string MUST be well-formed UTF-8"; [MQTT-1.5.3-3] a
        # leading U+FEFF is a character like any other: Python's "utf-8" agrees on both.
        try:
            return self.binary().decode("utf-8")
        except UnicodeDecodeError as exc:
            raise InvalidPacketError("a string is not UTF-8") from exc

    def pair(self) -> tuple[str, str]:
        return self.text(), self.text()

    def part(self, size: int) -> "Fields":
        """The next *size* bytes, to be read on their own."""
        return Fields(self.take(size), self.limits, self.version)

    def rest(self) -> bytes:
        return self.take(len(self))


def uint8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def uint16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def variable(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def binary(value: bytes) -> bytes:
    return uint16(len(value)) + value


def text(value: str) -> bytes:
    return binary(value.encode())


def pair(value: tuple[str, str]) -> bytes:
    return text(value[0]) + text(value[1])


def packet(first_byte: int, *parts: bytes) -> bytes:
    """A packet of *parts* behind its fixed header."""
    return b"".join((uint8(first_byte), variable(sum(map(len, parts))), *parts))
