"""Many at once, too slow, too fast or not there any more: it is a matter of time, and costs nobody else any."""

import asyncio
import random
import ssl

import pytest

from .attacks import (
    ACCEPTED,
    CONNACK,
    CONNECT,
    DISCONNECT,
    PACKET_ID,
    PATIENCE,
    PINGREQ,
    PUBACK,
    SUBSCRIBE,
    UNSUBSCRIBE,
    WEBSOCKET_HANDSHAKE,
    Message,
    MqttDevice,
    Platform,
    connect_5,
    connect_packet,
    flooded,
    mqtt_connection,
    mqtt_device,
    packet,
    packets,
    publish_packet,
    text,
)
from .conftest import Neighbour

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


async def test_noise_ends_each_connection_and_nothing_else(platform: Platform, neighbour: Neighbour) -> None:
    noise = random.Random(42)
    async with asyncio.timeout(PATIENCE):
        for number in range(100):
            beginning = CONNECT if number % 2 else b""
            async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer):
                writer.write(beginning + noise.randbytes(noise.randrange(1, 2000)))
                writer.write_eof()
                while await reader.read(65536):
                    pass
            if number % 10 == 0:
                await asyncio.to_thread(neighbour.goes_on)


async def test_packets_cut_off_anywhere_cost_nothing(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    whole = CONNECT + publish_packet(endpoint.path("/update"), b'{"a":2}', 1)
    for length in range(len(whole)):
        async with mqtt_connection(platform.stack.mqtt_port) as (_, writer):
            writer.write(whole[:length])
            await writer.drain()
    await asyncio.to_thread(neighbour.goes_on)
    assert platform.metadata(endpoint) == b'{"a":1}'


async def test_a_device_that_sends_byte_by_byte_is_served(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/1")
    async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer):
        device = MqttDevice(reader, writer)
        for byte in connect_packet() + publish_packet(topic, b"", None):
            writer.write(bytes([byte]))
            await writer.drain()
        assert await device.receive() == (CONNACK, b"\x00\x00")
        assert await device.next_message() == Message(f"{topic}/status", b'{"a":1}', 0)


async def test_many_connections_that_say_nothing_keep_nobody_out(platform: Platform, neighbour: Neighbour) -> None:
    async def idle() -> None:
        async with mqtt_connection(platform.stack.mqtt_port):
            opened.release()
            await leave.wait()

    opened, leave = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as connections:
        for _ in range(300):
            connections.create_task(idle())
        for _ in range(300):
            await opened.acquire()
        await asyncio.to_thread(neighbour.goes_on)
        async with mqtt_device(platform) as newcomer:
            assert await newcomer.settle() == []
        leave.set()


async def test_a_device_that_reads_nothing_keeps_nobody_waiting(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register(metadata=b'{"v":"' + b"x" * 200_000 + b'"}')
    async with mqtt_connection(platform.stack.mqtt_port) as (_, writer):
        writer.write(CONNECT + b"".join(publish_packet(endpoint.path("/get/1"), b"", None) for _ in range(100)))
        await writer.drain()
        for _ in range(5):
            await asyncio.to_thread(neighbour.goes_on)


FLOODS = {
    "pings": PINGREQ * 20_000,
    "messages for nobody": publish_packet("nobody/listens", b"x", None) * 10_000,
    "large messages for nobody": publish_packet("nobody/listens", b"x" * 1_000_000, None) * 5,
    "messages of unknown tokens": publish_packet("kp1/devices-v1/epmx/unknown/get/1", b"", None) * 5_000,
    "messages of unknown applications": publish_packet("kp1/unknown-v1/epmx/unknown/get/1", b"", None) * 5_000,
    "messages at QoS 2 that are never released": b"".join(
        packet(0x34, text("nobody/listens"), number.to_bytes(2, "big")) for number in range(1, 5_000)
    ),
    "the same message again": publish_packet("nobody/listens", b"x", 7) * 5_000,
    "subscriptions": packet(SUBSCRIBE, PACKET_ID, *[text("a/b/+/#") + b"\x01"] * 200) * 200,
    "ends of subscriptions": packet(UNSUBSCRIBE, PACKET_ID, *[text("a/b/+/#")] * 200) * 200,
    "acknowledgements of nothing": packet(PUBACK, PACKET_ID) * 20_000,
    "releases of nothing": packet(0x62, PACKET_ID) * 20_000,
    "a will of many": packet(0x10, text("MQTT"), b"\x04\x06\x00\x00", text("id"), text("w"), text(b"w" * 60_000)) * 50,
}


@pytest.mark.parametrize("what", FLOODS)
async def test_a_flood_of_ten_clients_stops_nobody_else(platform: Platform, neighbour: Neighbour, what: str) -> None:
    """They take their turns, no more."""
    async with flooded(platform.stack.mqtt_port, CONNECT, FLOODS[what]):
        for _ in range(10):
            await asyncio.to_thread(neighbour.goes_on)


def http_request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


HTTP_FLOODS = {
    "requests": http_request("/livez", "Content-Length: 0") * 5000,
    "requests of unknown devices": http_request("/kp1/devices-v1/epmx/unknown/get", "Content-Length: 0") * 5000,
    "requests of nothing": http_request("/nothing", "Content-Length: 0") * 5000,
    "long headers": http_request("/livez", "X-Long: " + "x" * 60_000, "Content-Length: 0") * 20,
    "headers": http_request("/livez", *["a: b"] * 100_000),
    "parts of a byte": http_request("/kp1/a/b/c/get", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 100_000,
    "headers after the body": http_request("/livez", "Transfer-Encoding: chunked") + b"0\r\n" + b"a: b\r\n" * 100_000,
}


@pytest.mark.parametrize("what", HTTP_FLOODS)
async def test_a_flood_over_http_stops_nobody_else(platform: Platform, neighbour: Neighbour, what: str) -> None:
    beginning = http_request("/livez", "Content-Length: 0")
    async with flooded(platform.stack.http_port, beginning, HTTP_FLOODS[what]):
        for _ in range(10):
            await asyncio.to_thread(neighbour.goes_on)


async def test_clients_that_come_and_go_at_once_keep_nobody_out(platform: Platform) -> None:
    async def come_and_go() -> None:
        for _ in range(20):
            async with mqtt_connection(platform.stack.mqtt_port) as (_, writer):
                writer.write(CONNECT)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
        for _ in range(20):
            clients.create_task(come_and_go())
    async with mqtt_device(platform) as newcomer:
        assert await newcomer.settle() == []


@pytest.mark.parametrize(("transport", "crowd"), [("tcp", 400), ("tls", 200), ("ws", 200)])
async def test_a_crowd_that_comes_and_leaves_at_once_keeps_nobody_waiting(
    platform: Platform, neighbour: Neighbour, transport: str, crowd: int
) -> None:
    """All of them with the same client id, as devices made from one tutorial."""
    tls = ssl.create_default_context(cafile=platform.stack.ca_file) if transport == "tls" else None
    port = {"tcp": platform.stack.mqtt_port, "tls": platform.stack.tls_port, "ws": platform.stack.http_port}[transport]

    async def come_and_leave() -> None:
        reader, writer = await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=tls)
        try:
            writer.write(WEBSOCKET_HANDSHAKE if transport == "ws" else CONNECT)
            assert await reader.readexactly(4)
            arrived.release()
            await leave.wait()
        finally:
            writer.transport.abort()

    arrived, leave = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
        for _ in range(crowd):
            clients.create_task(come_and_leave())
        for _ in range(crowd):
            await arrived.acquire()
        leave.set()


def connect_with_keep_alive(seconds: int) -> bytes:
    return packet(0x10, text("MQTT"), b"\x04\x02", seconds.to_bytes(2, "big"), text("silent"))


async def test_a_connection_that_is_half_open_ends_with_its_keep_alive(platform: Platform) -> None:
    """Of a client that says nothing, of one that never finishes a packet, and of one that speaks MQTT 5."""

    async def is_ended(*parts: bytes, trickle: bytes = b"") -> bytes:
        async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer):
            writer.write(b"".join(parts))
            said = b""
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        received = await reader.read(65536)
                except TimeoutError:
                    writer.write(trickle)
                    continue
                if not received:
                    return said
                said += received

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
        silent = clients.create_task(is_ended(connect_with_keep_alive(1)))
        unfinished = clients.create_task(is_ended(connect_with_keep_alive(1), b"\x30\x7f", trickle=b"\x00"))
        newer = clients.create_task(is_ended(connect_5(keep_alive=1)))
    assert silent.result() == ACCEPTED
    assert unfinished.result() == ACCEPTED
    (connack, _), (first, body) = packets(newer.result())
    assert (connack, first, body[0]) == (CONNACK, DISCONNECT, 0x8D)


async def test_http_requests_that_never_end_keep_nobody_waiting(platform: Platform, neighbour: Neighbour) -> None:
    async def dawdle(beginning: bytes) -> None:
        async with mqtt_connection(platform.stack.http_port) as (_, writer):
            writer.write(beginning)
            begun.release()
            await leave.wait()

    begun, leave = asyncio.Semaphore(0), asyncio.Event()
    request = b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    beginnings = [request[:length] for length in (0, 4, 30, 60, len(request))] * 40
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as clients:
        for beginning in beginnings:
            clients.create_task(dawdle(beginning))
        for _ in beginnings:
            await begun.acquire()
        await asyncio.to_thread(neighbour.goes_on)
        assert (await asyncio.to_thread(platform.rest.get, "/livez")).status_code == 200
        leave.set()
