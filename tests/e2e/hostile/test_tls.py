"""What is not TLS on the port for it, handshakes that never end, and what is not MQTT within TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from .attacks import (
    ACCEPTED,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PATIENCE,
    PINGREQ,
    TLS_CLIENT_HELLO,
    Platform,
    closed_after,
    connect_5,
    mqtt_connection,
    packets,
    short,
)

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

ALERT = 0x15
"""The type of the only record that TLS answers garbage with."""
STUCK = 100
"""Handshakes at once that stop at the same point."""


def client_hello(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL begins with."""
    context = ssl.create_default_context()
    context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = client_hello()

NO_TLS = {
    "one byte": b"\x00",
    "zeros": b"\x00" * 100,
    "ones": b"\xff" * 100,
    "empty lines": b"\r\n" * 100,
    "MQTT 3.1.1": CONNECT,
    "MQTT 5": connect_5(),
    "MQTT without CONNECT": PINGREQ,
    "HTTP": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37),
    "the longest record": b"\x16\x03\x01\xff\xff" + bytes(100),
    "an empty record": b"\x16\x03\x01\x00\x00",
    "what a server says": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    "a handshake longer than its record": b"\x16\x03\x01\x00\x04\x01\xff\xff\xff" + bytes(100),
    "TLS 9.9": b"\x16\x09\x09\x00\x04\x01\x00\x00\x00",
    "a change of ciphers": b"\x14\x03\x03\x00\x01\x01",
    "a fatal alert": b"\x15\x03\x03\x00\x02\x02\x00",
    "a goodbye": b"\x15\x03\x03\x00\x02\x01\x00",
    "data before the handshake": b"\x17\x03\x03\x00\x05hello",
    "a heartbeat that asks for too much": b"\x18\x03\x03\x00\x03\x01\x40\x00",
    "a record of no type": b"\x99\x03\x03\x00\x05hello",
    "a hello that makes no sense": TLS_CLIENT_HELLO,
    "a hello that ends early": TLS_CLIENT_HELLO[:-1],
    "the first byte of a hello": HELLO[:1],
    "the header of a hello": HELLO[:5],
    "a part of a hello": HELLO[:50],
    "nearly a hello": HELLO[:-1],
    "a hello of SSL 2": HELLO[:9] + b"\x02\x00" + HELLO[11:],
    "a hello of nonsense": HELLO[:50] + b"\xff" * (len(HELLO) - 50),
}
GOES_ON = {
    "the longest record": b"\x16\x03\x03\xff\xff" + bytes(100),
    "data in plain": b"\x17\x03\x03\x00\x05hello",
    "another hello": HELLO,
    "MQTT": CONNECT,
    "noise": b"\x99" * 100,
    "the end": b"",
}
"""What follows a hello."""


@pytest.mark.parametrize("what", NO_TLS)
async def test_what_is_no_handshake_is_closed_with_an_alert_at_most(platform: Platform, what: str) -> None:
    said = await closed_after(platform.stack.tls_port, NO_TLS[what], eof=True)
    assert not said or said[0] == ALERT


@pytest.mark.parametrize("what", GOES_ON)
async def test_a_handshake_that_does_not_go_on_as_one_is_closed(platform: Platform, what: str) -> None:
    assert ACCEPTED not in await closed_after(platform.stack.tls_port, HELLO + GOES_ON[what], eof=True)


@asynccontextmanager
async def tls_connection(platform: Platform) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.create_default_context(cafile=platform.stack.ca_file)
    reader, writer = await asyncio.open_connection("localhost", platform.stack.tls_port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_over_tls(platform: Platform, data: bytes) -> bytes:
    """What a client over TLS is told before it is closed."""
    said = b""
    async with asyncio.timeout(PATIENCE), tls_connection(platform) as (reader, writer):
        writer.write(data)
        while received := await reader.read(65536):
            said += received
    return said


@pytest.mark.parametrize(
    ("reason_code", "data"),
    [
        (0x81, b"\x00\x00"),
        (0x82, connect_5()),
        (0x82, b"\x30\x03\x00\x00\x00"),
        (0x81, b"\x82\x00"),
        (0x95, b"\x30\xff\xff\xff\x7f"),
        (0x82, b"\xf0\x00"),
    ],
)
async def test_a_violation_within_tls_ends_its_connection_with_its_reason(
    platform: Platform, reason_code: int, data: bytes
) -> None:
    (connack, _), (first, body) = packets(await answer_over_tls(platform, connect_5() + data))
    assert (connack, first, f"{body[0]:#x}") == (CONNACK, DISCONNECT, f"{reason_code:#x}")


@pytest.mark.parametrize(
    "data", [b"\x00\x00", PINGREQ, b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", TLS_CLIENT_HELLO], ids=short
)
async def test_what_is_no_mqtt_within_tls_is_closed(platform: Platform, data: bytes) -> None:
    assert await answer_over_tls(platform, data) == b""


class TlsClient:
    """TLS over a raw connection, so that a test can spoil what is sent."""

    def __init__(self, platform: Platform, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=platform.stack.ca_file)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def connect(self) -> None:
        """Shake hands, and be accepted by MQTT."""
        while not await self._is_done():
            await self._receive()
        self._writer.write(self.encrypted(CONNECT))
        said = b""
        while said != ACCEPTED:
            try:
                said += self._tls.read(len(ACCEPTED) - len(said))
            except ssl.SSLWantReadError:
                await self._receive()

    def encrypted(self, data: bytes) -> bytes:
        """The records with this."""
        self._tls.write(data)
        return self._outgoing.read()

    async def wait_closed(self) -> None:
        while await self._reader.read(65536):
            pass

    async def _is_done(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._writer.write(self._outgoing.read())
        return True

    async def _receive(self) -> None:
        data = await self._reader.read(65536)
        assert data, "closed"
        self._incoming.write(data)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda record: CONNECT, id="plain text"),
        pytest.param(lambda record: record[:-1] + bytes([record[-1] ^ 1]), id="a changed bit"),
        pytest.param(lambda record: record + record, id="a record twice"),
        pytest.param(lambda record: record[5:], id="a record without its header"),
        pytest.param(lambda record: b"\x17\x03\x03\xff\xff" + bytes(0xFFFF), id="a record that is too long"),
        pytest.param(lambda record: b"\x17\x03\x03\x00\x00", id="an empty record"),
        pytest.param(lambda record: b"\x16\x03\x03\x00\x04\x00\x00\x00\x00", id="a plain handshake"),
        pytest.param(lambda record: b"\x15\x03\x03\x00\x02\x02\x28", id="a plain alert"),
        pytest.param(lambda record: HELLO, id="another handshake"),
        pytest.param(lambda record: b"\x99" * 100, id="noise"),
    ],
)
async def test_a_connection_whose_records_are_spoilt_is_closed(
    platform: Platform, spoil: Callable[[bytes], bytes]
) -> None:
    async with asyncio.timeout(PATIENCE), mqtt_connection(platform.stack.tls_port) as (reader, writer):
        client = TlsClient(platform, reader, writer)
        await client.connect()
        writer.write(spoil(client.encrypted(PINGREQ)))
        with suppress(ConnectionError):
            await client.wait_closed()


async def test_handshakes_that_never_end_keep_nobody_out(platform: Platform) -> None:
    async def hang(beginning: bytes) -> None:
        async with mqtt_connection(platform.stack.tls_port) as (reader, writer):
            writer.write(beginning)
            if beginning == HELLO:
                assert await reader.read(1)
            hung.release()
            await leave.wait()

    hung, leave = asyncio.Semaphore(0), asyncio.Event()
    beginnings = [b"", HELLO[:3], HELLO[:-1], HELLO] * STUCK
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as connections:
        for beginning in beginnings:
            connections.create_task(hang(beginning))
        for _ in beginnings:
            await hung.acquire()
        async with tls_connection(platform) as (reader, writer):
            writer.write(CONNECT + PINGREQ)
            assert await reader.readexactly(6) == ACCEPTED + b"\xd0\x00"
        leave.set()


async def test_clients_that_leave_in_the_middle_of_a_handshake_cost_nothing(platform: Platform) -> None:
    for length in range(0, len(HELLO) + 1, 20):
        async with mqtt_connection(platform.stack.tls_port) as (_, writer):
            writer.write(HELLO[:length])
            await writer.drain()
    async with asyncio.timeout(PATIENCE), tls_connection(platform) as (reader, writer):
        writer.write(CONNECT)
        assert await reader.readexactly(4) == ACCEPTED
