"""Many at once, too slow, too fast or not there any more: it is a matter of time, and costs nobody else any."""

import asyncio
import random

import pytest

from .attacks import (
    CONNACK,
    CONNECT,
    PATIENCE,
    Message,
    MqttDevice,
    Platform,
    connect_packet,
    mqtt_connection,
    mqtt_device,
    publish_packet,
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
