"""WebSocket as nobody sane would speak it (RFC 6455), and MQTT that is cut into frames in every way there is.

Close codes: 1000 normal, 1002 protocol error, 1003 unsupported data, 1007 invalid data, 1009 too big.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from .attacks import (
    ACCEPTED,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PATIENCE,
    PINGREQ,
    PINGRESP,
    PUBLISH,
    Platform,
    closed_after,
    connect_5,
    flooded,
    mqtt_connection,
    packets,
    publish_packet,
    short,
    text,
)
from .conftest import Neighbour

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, MASKED = 0x80, 0x80
UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(b"sixteen bytes of").decode(),
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}
"""A handshake that is in order."""


def handshake(request: str = "GET /ws HTTP/1.1", **headers: str | None) -> bytes:
    """A handshake with other headers, or without some; underscores are hyphens."""
    merged = UPGRADE | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in merged.items() if value is not None]
    return "\r\n".join([request, *lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", first: int = FIN, mask: bytes | None = None) -> bytes:
    """A frame of a client."""
    mask = secrets.token_bytes(4) if mask is None else mask
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([first | opcode]) + frame_length(len(payload)) + mask + masked


def frame_length(length: int) -> bytes:
    if length < 126:
        return bytes([MASKED | length])
    if length < 0x10000:
        return bytes([MASKED | 126]) + length.to_bytes(2, "big")
    return bytes([MASKED | 127]) + length.to_bytes(8, "big")


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


class WebSocket:
    """A raw WebSocket whose handshake is done."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def open(self) -> None:
        self._writer.write(handshake())
        assert (await self._reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def next_frame(self) -> tuple[int, bytes]:
        """Opcode and payload; an error when it is closed without goodbye."""
        first, length = await self._reader.readexactly(2)
        assert first & FIN
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await self._reader.readexactly(length)

    async def receive(self, size: int) -> bytes:
        """That many bytes of MQTT."""
        received = b""
        while len(received) < size:
            opcode, payload = await self.next_frame()
            assert opcode == BINARY
            received += payload
        return received

    async def until_closed(self) -> tuple[bytes, int | None]:
        """What MQTT says until the connection is closed, and with which close code, if any."""
        said, code = b"", None
        try:
            while True:
                opcode, payload = await self.next_frame()
                if opcode == BINARY:
                    said += payload
                elif opcode == CLOSE:
                    code = int.from_bytes(payload[:2], "big")
                    self.send(frame(CLOSE, payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            return said, code


@asynccontextmanager
async def websocket(platform: Platform) -> AsyncIterator[WebSocket]:
    async with asyncio.timeout(PATIENCE), mqtt_connection(platform.stack.http_port) as (reader, writer):
        client = WebSocket(reader, writer)
        await client.open()
        yield client


NO_UPGRADES = {
    "another subprotocol": (403, handshake(Sec_WebSocket_Protocol="soap")),
    "the subprotocol in capitals": (403, handshake(Sec_WebSocket_Protocol="MQTT")),
    "no subprotocol": (403, handshake(Sec_WebSocket_Protocol=None)),
    "an empty subprotocol": (400, handshake(Sec_WebSocket_Protocol="")),
    "another path": (403, handshake("GET /wss HTTP/1.1")),
    "a path below": (403, handshake("GET /ws/a HTTP/1.1")),
    "the path of REST": (403, handshake("GET /epr/api/v1/endpoints HTTP/1.1")),
    "no key": (400, handshake(Sec_WebSocket_Key=None)),
    "a key of three bytes": (400, handshake(Sec_WebSocket_Key="YWJj")),
    "a key that is none": (400, handshake(Sec_WebSocket_Key="*")),
    "an old version": (400, handshake(Sec_WebSocket_Version="8")),
    "no version": (400, handshake(Sec_WebSocket_Version=None)),
    "no connection header": (404, handshake(Connection="close")),
    "no upgrade": (404, handshake(Upgrade=None, Connection="close")),
    "another upgrade": (404, handshake(Upgrade="h2c", Connection="close")),
    "a path that is no text": (400, handshake().replace(b"/ws", b"/ws\xff")),
    "a path that becomes none": (403, handshake("GET /ws%ff HTTP/1.1")),
    "a key twice": (400, handshake()[:-2] + b"Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvZg==\r\n\r\n"),
    "a subprotocol that is none": (400, handshake(Sec_WebSocket_Protocol="mq tt,,")),
    "a long header": (431, handshake(X_Long="x" * 200_000)),
    "a long path": (414, handshake("GET /ws?" + "x" * 9000 + " HTTP/1.1")),
    "many headers": (431, handshake(**{f"X_{number}": "a" for number in range(150)})),
    "another method": (405, handshake("PUT /ws HTTP/1.1")),
}


@pytest.mark.parametrize("what", NO_UPGRADES)
async def test_a_handshake_that_is_not_in_order_is_refused(platform: Platform, what: str) -> None:
    status, data = NO_UPGRADES[what]
    # To what is not about WebSocket at all another request may follow.
    said = await closed_after(platform.stack.http_port, data, eof=status == 404)
    assert said.partition(b"\r\n")[0].split(b" ")[1:2] == [str(status).encode()]


async def test_a_handshake_with_a_body_is_closed(platform: Platform) -> None:
    with_body = handshake(Content_Length="5") + b"hello"
    assert await closed_after(platform.stack.http_port, with_body) == b""


BAD_FRAMES = {
    "a text": (1003, frame(TEXT, CONNECT)),
    "an empty text": (1003, frame(TEXT)),
    "a text that is none": (1007, frame(TEXT, b"\xff\xfe")),
    "no mask": (1002, bytes([FIN | BINARY, len(CONNECT)]) + CONNECT),
    "a reserved bit": (1002, frame(BINARY, CONNECT, FIN | 0x40)),
    "all reserved bits": (1002, frame(BINARY, CONNECT, FIN | 0x70)),
    **{f"the opcode {opcode:#x}": (1002, frame(opcode, b"a")) for opcode in (0x3, 0x4, 0x7, 0xB, 0xF)},
    "a continuation of nothing": (1002, frame(CONTINUATION, CONNECT)),
    "a message within another": (1002, frame(BINARY, CONNECT[:5], 0) + frame(BINARY, CONNECT[5:])),
    "a text within a message": (1002, frame(BINARY, CONNECT[:5], 0) + frame(TEXT, b"a")),
    "a ping in fragments": (1002, frame(PING, b"a", 0)),
    "a close in fragments": (1002, frame(CLOSE, b"", 0)),
    "a ping that is too long": (1002, frame(PING, b"a" * 126)),
    "a pong that is too long": (1002, frame(PONG, b"a" * 1000)),
    "a close of one byte": (1002, frame(CLOSE, b"a")),
    "a close with a reason that is no text": (1007, closing(1000, b"\xff\xfe")),
    **{f"the close code {code}": (1002, closing(code)) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)},
    "a frame as long as there is": (1009, bytes([FIN | BINARY]) + b"\xff\x7f" + b"\xff" * 7 + bytes(4)),
    "a frame longer than there is": (None, bytes([FIN | BINARY]) + b"\xff\xff" + b"\xff" * 7 + bytes(4)),
    "a frame of three mebibytes": (1009, bytes([FIN | BINARY]) + frame_length(3 * 2**20) + bytes(4)),
    "fragments of three mebibytes": (
        1009,
        frame(BINARY, b"\x10", 0) + bytes([CONTINUATION]) + frame_length(3 * 2**20) + bytes(4),
    ),
    "noise": (1002, b"\xff" * 100),
    "HTTP": (1002, b"GET / HTTP/1.1\r\n\r\n"),
    "MQTT without a frame": (1002, CONNECT),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
async def test_a_frame_that_is_not_in_order_ends_its_connection_with_its_code(platform: Platform, what: str) -> None:
    code, data = BAD_FRAMES[what]
    async with websocket(platform) as client:
        client.send(data)
        said, close_code = await client.until_closed()
    assert said == b""
    assert code is None or close_code == code


@pytest.mark.parametrize("what", BAD_FRAMES)
async def test_such_a_frame_ends_a_connection_that_mqtt_has_accepted(platform: Platform, what: str) -> None:
    code, data = BAD_FRAMES[what]
    async with websocket(platform) as client:
        client.send(frame(BINARY, CONNECT))
        assert await client.receive(4) == ACCEPTED
        client.send(data)
        _, close_code = await client.until_closed()
    assert code is None or close_code == code


@pytest.mark.parametrize(
    ("reason_code", "data"),
    [
        (0x81, b"\x00\x00"),
        (0x82, connect_5()),
        (0x82, b"\x30\x03\x00\x00\x00"),
        (0x90, b"\x30\x04\x00\x01#\x00"),
        (0x95, b"\x30\xff\xff\xff\x7f"),
        (0x82, b"\xf0\x00"),
    ],
)
async def test_a_violation_of_mqtt_is_told_before_the_close(platform: Platform, reason_code: int, data: bytes) -> None:
    async with websocket(platform) as client:
        client.send(frame(BINARY, connect_5() + data))
        said, close_code = await client.until_closed()
    (connack, _), (first, body) = packets(said)
    assert (connack, first, f"{body[0]:#x}", close_code) == (CONNACK, DISCONNECT, f"{reason_code:#x}", 1000)


@pytest.mark.parametrize("data", [b"\x00", PINGREQ, b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n"], ids=short)
async def test_what_is_no_mqtt_is_closed_without_a_word(platform: Platform, data: bytes) -> None:
    async with websocket(platform) as client:
        client.send(frame(BINARY, data))
        assert await client.until_closed() == (b"", 1000)


def in_one_frame(data: bytes) -> list[bytes]:
    return [frame(BINARY, data)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [frame(BINARY, bytes([byte])) for byte in data]


def in_fragments(data: bytes) -> list[bytes]:
    """One message, a fragment a byte, with empty ones, pings and pongs in between."""
    first, *others = data
    frames = [frame(BINARY, bytes([first]), 0)]
    for byte in others:
        frames += [frame(CONTINUATION, b"", 0), frame(PONG)]
        frames += [frame(CONTINUATION, bytes([byte]), 0), frame(PING, b"p")]
    return [*frames, frame(CONTINUATION)]


def with_empty_messages(data: bytes) -> list[bytes]:
    return [frame(BINARY), frame(BINARY, data), frame(BINARY)]


def with_a_mask_of_zeros(data: bytes) -> list[bytes]:
    return [frame(BINARY, data, mask=bytes(4))]


@pytest.mark.parametrize("cut", [in_one_frame, byte_by_byte, in_fragments, with_empty_messages, with_a_mask_of_zeros])
async def test_packets_may_be_cut_in_any_way(platform: Platform, cut: Callable[[bytes], list[bytes]]) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/1")
    frames = cut(CONNECT + publish_packet(topic, b"", None) + PINGREQ)
    answers = [(CONNACK, b"\x00\x00"), (PINGRESP, b""), (PUBLISH, text(f"{topic}/status") + b'{"a":1}')]
    size = sum(2 + len(body) for _, body in answers)
    async with websocket(platform) as client:
        client.send(*frames)
        said, pongs = b"", 0
        while len(said) < size:
            opcode, payload = await client.next_frame()
            if opcode == PONG:
                assert payload == b"p"
                pongs += 1
            else:
                assert opcode == BINARY
                said += payload
    assert pongs == sum(each[0] == FIN | PING for each in frames)
    assert sorted(packets(said)) == sorted(answers)


async def test_a_client_that_does_not_answer_the_close_is_closed(platform: Platform) -> None:
    async with websocket(platform) as client:
        client.send(frame(TEXT, b"a"))
        assert await client.next_frame() == (CLOSE, (1003).to_bytes(2, "big"))
        with pytest.raises(asyncio.IncompleteReadError):
            await client.next_frame()


async def test_websockets_that_say_nothing_keep_nobody_out(platform: Platform) -> None:
    async def idle() -> None:
        async with websocket(platform):
            opened.release()
            await leave.wait()

    opened, leave = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as connections:
        for _ in range(100):
            connections.create_task(idle())
        for _ in range(100):
            await opened.acquire()
        async with websocket(platform) as newcomer:
            newcomer.send(frame(BINARY, CONNECT))
            assert await newcomer.receive(4) == ACCEPTED
        leave.set()


FLOODS = {
    "pings": frame(PING) * 20_000,
    "empty messages": frame(BINARY) * 20_000,
    "messages of a byte": (frame(BINARY, PINGREQ[:1]) + frame(BINARY, PINGREQ[1:])) * 5_000,
    "empty fragments": (frame(BINARY, PINGREQ[:1], 0) + frame(CONTINUATION, first=0) * 5_000 + frame(CONTINUATION)) * 4,
    "packets in one message": frame(BINARY, PINGREQ * 20_000),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_of_frames_stops_nobody_else(platform: Platform, neighbour: Neighbour, what: str) -> None:
    beginning = handshake() + frame(BINARY, CONNECT)
    async with flooded(platform.stack.http_port, beginning, FLOODS[what]):
        for _ in range(10):
            await asyncio.to_thread(neighbour.goes_on)


async def test_a_client_that_vanishes_anywhere_costs_nothing(platform: Platform) -> None:
    whole = handshake() + frame(BINARY, CONNECT) + frame(BINARY, PINGREQ)
    for length in range(0, len(whole), 7):
        async with mqtt_connection(platform.stack.http_port) as (_, writer):
            writer.write(whole[:length])
            await writer.drain()
    async with websocket(platform) as client:
        client.send(frame(BINARY, CONNECT))
        assert await client.receive(4) == ACCEPTED
