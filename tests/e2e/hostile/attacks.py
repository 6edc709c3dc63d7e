"""What hostile tests are made of: raw connections, and what the platform says on them before it closes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from ..conftest import (  # noqa: TID252 # the name by which pytest has it, here for all modules of this folder
    CONNACK,
    PATIENCE,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    Endpoint,
    Message,
    MqttDevice,
    Platform,
    connect_packet,
    mqtt_connection,
    mqtt_device,
    packet,
    publish_packet,
    text,
)

__all__ = [
    "CONNACK",
    "PATIENCE",
    "PINGREQ",
    "PINGRESP",
    "PUBACK",
    "PUBLISH",
    "Endpoint",
    "Message",
    "MqttDevice",
    "Platform",
    "connect_packet",
    "mqtt_connection",
    "mqtt_device",
    "packet",
    "publish_packet",
    "text",
]

CONNECT = connect_packet("hostile")
ACCEPTED = b"\x20\x02\x00\x00"
"""CONNACK before MQTT 5."""
CLIENT_ID = text("hostile")
WEBSOCKET_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
SUBSCRIBE, UNSUBSCRIBE, DISCONNECT = 0x82, 0xA2, 0xE0
PACKET_ID = b"\x00\x01"
TLS_CLIENT_HELLO = bytes.fromhex("160301003a010000360303") + bytes(32) + bytes.fromhex("000002130101000000")


def short(value: object) -> str:
    """What a test is called after it."""
    return repr(value)[:60]


def connect_5(
    properties: bytes = b"\x00",
    *rest: bytes,
    flags: int = 0x02,
    client_id: bytes = CLIENT_ID,
    keep_alive: int = 0,
) -> bytes:
    """CONNECT of MQTT 5; `rest` follows the client id."""
    header = b"\x05" + bytes([flags]) + keep_alive.to_bytes(2, "big")
    return packet(0x10, text("MQTT"), header, properties, client_id, *rest)


def listed(*properties: bytes) -> bytes:
    """Properties, with their length in front."""
    return packet(0, *properties)[1:]


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The packets that the platform has sent: first byte, and what follows the fixed header."""
    while data:
        length, position, more = 0, 1, True
        while more:
            length, more = length | (data[position] & 0x7F) << 7 * (position - 1), data[position] >= 0x80
            position += 1
        yield data[0], data[position : position + length]
        data = data[position + length :]


async def closed_after(port: int, *parts: bytes, eof: bool = False) -> bytes:
    """What the platform says before it closes the connection, which it must."""
    async with mqtt_connection(port) as (reader, writer), asyncio.timeout(PATIENCE):
        said = b""
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            if eof:
                writer.write_eof()
            while data := await reader.read(65536):
                said += data
        except OSError:
            pass  # closed while much of the input was unread
        return said


FLOODING = 10
"""Clients at once."""


@asynccontextmanager
async def flooded(port: int, beginning: bytes, flood: bytes) -> AsyncIterator[None]:
    """Meanwhile ten clients send it all at once, once they were answered, and read whatever they are told."""

    async def send() -> None:
        async with mqtt_connection(port) as (reader, writer):
            writer.write(beginning)
            assert await reader.read(1)
            writer.write(flood)
            flooding.release()
            with suppress(ConnectionError):
                while await reader.read(65536):
                    pass

    flooding = asyncio.Semaphore(0)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
        tasks = [clients.create_task(send()) for _ in range(FLOODING)]
        for _ in tasks:
            await flooding.acquire()
        yield
        for task in tasks:
            task.cancel()
