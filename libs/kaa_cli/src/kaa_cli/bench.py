"""`kaa bench`: what a device's request costs, compared with a bare request over the bus below it.

A number of devices, each with an endpoint and a connection of its own, send one request after the other for a bounded
time: over MQTT and over HTTP a `get` of their metadata, which crosses KPC, the bus and EPR's store; over NATS a small
message to a responder in this process. All share the machine with the platform in the same run, so the ratios say
more than the rates do.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import nats
import uvloop
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from kaa_cli.errors import CommandError
from kaa_cli.rest_client import RestClient, path

DEVICES = 16
"""Requests in flight: a busy moment of a small site."""
ANSWER_TIMEOUT = 10.0
"""Seconds after which the platform is taken for broken."""

Exchange = Callable[[], Awaitable[None]]
"""One request and its answer."""
Connect = Callable[[str], AbstractAsyncContextManager[Exchange]]
"""A device's connection; the argument is the 1/KP path of its requests."""


def bench(client: RestClient, url: str, mqtt_port: int, nats_url: str, seconds: float) -> int:
    """Measure and print; the exit code of the process."""
    address = urlsplit(url)
    host, http_port = address.hostname or "127.0.0.1", address.port or 80
    measured: dict[str, Connect] = {
        "NATS request and reply": lambda _: _nats_exchange(nats_url),
        "device over MQTT": lambda topic: mqtt_exchange(host, mqtt_port, topic),
        "device over HTTP": lambda topic: _http_exchange(host, http_port, topic),
    }
    with _devices(client) as topics:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                rates = {name: runner.run(_measure(connect, topics, seconds)) for name, connect in measured.items()}
        except* (OSError, TimeoutError, NatsError, EOFError) as group:
            raise CommandError(f"the measurement was cut short: {_first(group)!r}") from group
    bare = next(iter(rates.values()))
    print(f"{DEVICES} requests in flight, {seconds:g} s each\n")
    for name, rate in rates.items():
        print(f"{name:24}{rate:10,.0f} a second{rate / bare:8.2f} of a NATS request and reply")
    return 0


@contextmanager
def _devices(client: RestClient) -> Iterator[Sequence[str]]:
    """The 1/KP paths of freshly registered devices, which are deleted at the end."""
    app = f"bench-{secrets.token_hex(4)}"
    version = f"{app}-v1"
    applications, endpoints = path("tekton", "applications"), path("epr", "endpoints")
    versions = path("tekton", "applications", app, "app-versions")
    with ExitStack() as made:

        def make(collection: str, name: str, body: object) -> Any:
            answer = client.call("POST", collection, body=body)
            made.callback(client.call, "DELETE", f"{collection}/{name}")
            return answer

        make(applications, app, {"name": app})
        make(versions, version, {"nameSuffix": "v1"})
        topics = []
        for number in range(DEVICES):
            endpoint_id = f"{app}-{number}"
            twin = {"appVersion": {"name": version}, "endpointId": endpoint_id, "metadata": {"model": "BFG 9000"}}
            token = make(endpoints, endpoint_id, twin)["token"]
            topics.append(f"kp1/{version}/epmx/{token}/get/1")
        yield topics


async def _measure(connect: Connect, topics: Sequence[str], seconds: float) -> float:
    """Exchanges a second of all devices together."""
    async with AsyncExitStack() as connections:
        exchanges = [await connections.enter_async_context(connect(topic)) for topic in topics]
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            counts = [tasks.create_task(_repeat(exchange, started + seconds)) for exchange in exchanges]
        return sum(count.result() for count in counts) / (time.perf_counter() - started)


async def _repeat(exchange: Exchange, end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await exchange()
        count += 1
    return count


@asynccontextmanager
async def _nats_exchange(url: str) -> AsyncIterator[Exchange]:
    client = await nats.connect(url, connect_timeout=2, allow_reconnect=False)
    subject = f"bench.{secrets.token_hex(8)}"

    async def answer(message: Msg) -> None:
        await message.respond(b"{}")

    async def exchange() -> None:
        await client.request(subject, b"{}", timeout=ANSWER_TIMEOUT)

    try:
        await client.subscribe(subject, cb=answer)
        yield exchange
    finally:
        await client.close()


@asynccontextmanager
async def mqtt_exchange(host: str, port: int, topic: str) -> AsyncIterator[Exchange]:
    """MQTT 3.1.1 written by hand: a client library would be most of what is measured."""
    async with _connection(host, port) as (reader, writer):
        connect = _mqtt_text("MQTT") + b"\x04\x02\x00\x3c" + _mqtt_text(secrets.token_hex(8))
        publish = _mqtt_packet(0x30, _mqtt_text(topic) + b"{}")

        async def exchange() -> None:
            writer.write(publish)
            answer = await _read_packet(reader)
            if not answer[2:].startswith(f"{topic}/status".encode()):
                raise ConnectionError("a device was answered with an error")

        writer.write(_mqtt_packet(0x10, connect))
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await _read_packet(reader)
        yield exchange


@asynccontextmanager
async def _http_exchange(host: str, port: int, topic: str) -> AsyncIterator[Exchange]:
    async with _connection(host, port) as (reader, writer):
        request = f"POST /{topic} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 2\r\n\r\n{{}}".encode()

        async def exchange() -> None:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.lower().split(b"\r\n")
            if b" 200 " not in status_line:
                raise ConnectionError(f"a device was answered with {status_line.decode()}")
            length = next(line for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))

        yield exchange


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    await reader.readexactly(1)
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return await reader.readexactly(length)


def _mqtt_text(text: str) -> bytes:
    return len(text).to_bytes(2) + text.encode()


def _mqtt_packet(first: int, rest: bytes) -> bytes:
    if len(rest) < 0x80:
        return bytes((first, len(rest))) + rest
    return bytes((first, len(rest) & 0x7F | 0x80, len(rest) >> 7)) + rest


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
