"""An MQTT 3.1.1 client byte for byte: it subscribes only when told to, and shows every message that it gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE = 10.0
CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 0x20, 0x30, 0x40, 0x90, 0xD0


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    qos: int


class MqttDevice:
    """Made by `mqtt_device`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packet_id = 0

    def connect(self, client_id: str) -> None:
        self._send(0x10, _text("MQTT") + b"\x04\x02\x00\x00" + _text(client_id))

    def publish(self, topic: str, payload: bytes = b"", qos: int = 0) -> None:
        self._packet_id += qos
        packet_id = self._packet_id.to_bytes(2, "big") if qos else b""
        self._send(PUBLISH | qos << 1, _text(topic) + packet_id + payload)

    async def subscribe(self, *filters: str, qos: int = 0) -> list[Message]:
        """What is published before the confirmation."""
        self._send(0x82, b"\x00\x01" + b"".join(_text(topic_filter) + bytes([qos]) for topic_filter in filters))
        return await self.messages_until(SUBACK)

    async def settle(self) -> list[Message]:
        """What is on its way."""
        self._send(0xC0, b"")
        return await self.messages_until(PINGRESP)

    async def next_message(self) -> Message:
        while True:
            header, body = await self.receive()
            if header & 0xF0 == PUBLISH:
                return self._message(header, body)

    async def messages_until(self, packet_type: int) -> list[Message]:
        messages = []
        while (received := await self.receive())[0] & 0xF0 != packet_type:
            if received[0] & 0xF0 == PUBLISH:
                messages.append(self._message(*received))
        return messages

    async def until_closed(self) -> None:
        """Return when the server has ended the connection."""
        async with asyncio.timeout(PATIENCE):
            await self._reader.read()

    def close(self) -> None:
        self._writer.transport.abort()

    async def receive(self) -> tuple[int, bytes]:
        """The next packet. Raises IncompleteReadError when the connection has ended."""
        async with asyncio.timeout(PATIENCE):
            header = (await self._reader.readexactly(1))[0]
            length, shift, more = 0, 0, True
            while more:
                byte = (await self._reader.readexactly(1))[0]
                length, shift, more = length | (byte & 0x7F) << shift, shift + 7, byte >= 0x80
            return header, await self._reader.readexactly(length)

    def _message(self, header: int, body: bytes) -> Message:
        qos, end = header >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        topic, payload = body[2:end].decode(), body[end:]
        if qos:
            self._send(PUBACK, payload[:2])
            payload = payload[2:]
        return Message(topic, payload, qos)

    def _send(self, header: int, body: bytes) -> None:
        length, rest = bytearray(), len(body)
        while True:
            rest, seven_bits = divmod(rest, 128)
            length.append(seven_bits | (0x80 if rest else 0))
            if not rest:
                break
        self._writer.write(bytes([header]) + length + body)


@asynccontextmanager
async def mqtt_device(port: int, client_id: str = "") -> AsyncIterator[MqttDevice]:
    """A client that is connected, and vanishes at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    device = MqttDevice(reader, writer)
    try:
        device.connect(client_id)
        assert await device.receive() == (CONNACK, b"\x00\x00")
        yield device
    finally:
        device.close()


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data
