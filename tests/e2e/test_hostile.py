"""Input that nobody sane would send: it costs the connection it came on, and nobody else anything.

Beside each attack a well-behaved device goes on over a connection that was there before; afterwards no part of the
platform has logged an unexpected error.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
from nats.aio.client import Client

from kaa_common.messages.protocols import PROTOCOLS, Protocol

from .conftest import (
    CONNACK,
    PATIENCE,
    PINGREQ,
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

CONNECT = connect_packet("hostile")
SUBSCRIBE, UNSUBSCRIBE = 0x82, 0xA2
PACKET_ID = b"\x00\x01"
TLS_CLIENT_HELLO = bytes.fromhex("160301003a010000360303") + bytes(32) + bytes.fromhex("000002130101000000")


def short(value: object) -> str:
    """What a test is called after it."""
    return repr(value)[:60]


class Neighbour:
    """A device that minds its own business."""

    def __init__(self, endpoint: Endpoint, device: MqttDevice) -> None:
        self._endpoint = endpoint
        self._device = device
        self._n = time.time_ns()

    async def goes_on(self) -> None:
        self._n += 1
        update, get = self._endpoint.path("/update/1"), self._endpoint.path("/get/2")
        changed = await self._device.publish(update, b'{"n":%d}' % self._n)
        assert changed == [Message(f"{update}/status", b"", 1)]
        read = await self._device.publish(get, b"")
        assert read == [Message(f"{get}/status", b'{"n":%d}' % self._n, 1)]


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Endpoint:
    """That of the neighbour."""
    return platform.register()


@pytest.fixture
async def neighbour(platform: Platform, endpoint: Endpoint) -> AsyncIterator[Neighbour]:
    async with mqtt_device(platform, "neighbour") as device:
        neighbour = Neighbour(endpoint, device)
        await neighbour.goes_on()
        yield neighbour
        await neighbour.goes_on()


@pytest.fixture(autouse=True)
def nothing_unexpected(platform: Platform) -> Iterator[None]:
    """No part of the platform was surprised, and all parts are ready."""
    before = len(platform.stack.output())
    yield
    logged = platform.stack.output()[before:]
    assert "Traceback" not in logged
    assert " ERROR " not in logged
    assert platform.stack.is_ready()


# MQTT


async def closed_after(platform: Platform, *parts: bytes) -> bytes:
    """What the platform says before it closes the connection, which it must."""
    async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer), asyncio.timeout(PATIENCE):
        said = b""
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            while data := await reader.read(65536):
                said += data
        except ConnectionError:
            pass  # closed while much of the input was unread
        return said


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x00\x00",
        b"\xf0\x00",
        b"\xff" * 100,
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\xff\xff\xff\x7f",
        b"\x10\x00",
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        TLS_CLIENT_HELLO,
        b"\r\n" * 100,
        PINGREQ,
        publish_packet("kp1/a/b/c/get", b"", None),
        packet(0x10, text("MQTT"), b"\x04\x02\x00"),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", b"\x00\x09short"),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", text(b"\xff\xfe")),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", text("id"), b"left over"),
        packet(0x10, text("MQTT"), b"\x04\x03\x00\x00", text("reserved flag")),
        packet(0x10, text("MQTT"), b"\x04\x1e\x00\x00", text("id"), text("will"), text("QoS 3")),
        packet(0x10, text("MQTT"), b"\x04\x22\x00\x00", text("will retain without a will")),
        packet(0x10, text("MQTT"), b"\x04\x42\x00\x00", text("id"), text("password without a user name")),
        packet(0x10, text("NOTMQTT"), b"\x04\x02\x00\x00", text("id")),
        packet(0x1F, text("MQTT"), b"\x04\x02\x00\x00", text("header flags")),
    ],
    ids=short,
)
async def test_a_connection_that_does_not_begin_with_mqtt_is_closed(
    platform: Platform, neighbour: Neighbour, data: bytes
) -> None:
    assert await closed_after(platform, data) == b""


@pytest.mark.parametrize(
    ("connect", "return_code"),
    [
        (packet(0x10, text("MQTT"), b"\x06\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQTT"), b"\x00\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQIsdp"), b"\x04\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQTT"), b"\x04\x00\x00\x00", text("")), 2),
    ],
    ids=short,
)
async def test_a_connect_that_cannot_be_accepted_is_refused_with_its_reason(
    platform: Platform, neighbour: Neighbour, connect: bytes, return_code: int
) -> None:
    assert await closed_after(platform, connect, PINGREQ) == bytes([CONNACK, 2, 0, return_code])


@pytest.mark.parametrize(
    "data",
    [
        CONNECT,
        b"\x00\x00",
        b"\xf0\x00",
        b"\x20\x02\x00\x00",
        b"\x90\x03\x00\x01\x00",
        b"\xb0\x02\x00\x01",
        b"\xd0\x00",
        b"\xc0\x01\x00",
        b"\xc1\x00",
        b"\xe0\x01\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x80\x80\x80\x80\x80",
        b"\x30\x00",
        b"\x30\x01a",
        b"\x30\x04\x00\x09ab",
        publish_packet("", b"", None),
        publish_packet("kp1/+/epmx/t/get", b"", None),
        publish_packet("kp1/#", b"", None),
        publish_packet("kp1/\0/epmx/t/get", b"", None),
        packet(0x30, text(b"kp1/\xff/epmx/t/get")),
        packet(0x30, text(b"kp1/\xed\xa0\x80/epmx/t/get")),
        packet(0x36, text("QoS/3"), PACKET_ID),
        packet(0x38, text("DUP/at/QoS/0")),
        packet(0x32, text("no/packet/id")),
        packet(0x32, text("packet/id/0"), b"\x00\x00"),
        packet(0x40),
        packet(0x40, b"\x01"),
        packet(0x40, PACKET_ID, b"\x00"),
        packet(0x60, PACKET_ID),
        packet(0x50, PACKET_ID),
        packet(0x70, PACKET_ID),
        packet(SUBSCRIBE, PACKET_ID),
        packet(SUBSCRIBE, b"\x00\x00", text("a"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a")),
        packet(SUBSCRIBE, PACKET_ID, text("a"), b"\x03"),
        packet(SUBSCRIBE, PACKET_ID, text(""), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a/#/b"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a+"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a\0"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text(b"\xc0\xaf"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, *[text("a") + b"\x00"] * 10_000),
        packet(0x80, PACKET_ID, text("flags"), b"\x00"),
        packet(UNSUBSCRIBE, PACKET_ID),
        packet(UNSUBSCRIBE, PACKET_ID, text("")),
        packet(0xA0, PACKET_ID, text("flags")),
    ],
    ids=short,
)
async def test_a_violation_of_mqtt_ends_the_connection_it_came_on(
    platform: Platform, neighbour: Neighbour, data: bytes
) -> None:
    assert await closed_after(platform, CONNECT, data + PINGREQ) == bytes([CONNACK, 2, 0, 0])


async def test_a_packet_larger_than_allowed_ends_its_connection_before_it_is_there(
    platform: Platform, neighbour: Neighbour
) -> None:
    header = b"\x30" + b"\x81\x80\x40"  # a mebibyte and one byte
    assert await closed_after(platform, CONNECT, header) == bytes([CONNACK, 2, 0, 0])


async def test_what_came_before_a_violation_is_done(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register()
    update = publish_packet(endpoint.path("/update"), b'{"a":1}', 1)
    said = await closed_after(platform, CONNECT, update + b"\xf0\x00" + publish_packet("b", b"", 2))
    assert said.startswith(bytes([CONNACK, 2, 0, 0]))
    async with asyncio.timeout(PATIENCE):
        while platform.metadata(endpoint) != b'{"a":1}':
            await asyncio.sleep(0.01)


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
                await neighbour.goes_on()


async def test_packets_cut_off_anywhere_cost_nothing(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    whole = CONNECT + publish_packet(endpoint.path("/update"), b'{"a":2}', 1)
    for length in range(len(whole)):
        async with mqtt_connection(platform.stack.mqtt_port) as (_, writer):
            writer.write(whole[:length])
            await writer.drain()
    await neighbour.goes_on()
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
        await neighbour.goes_on()
        async with mqtt_device(platform) as newcomer:
            assert await newcomer.settle() == []
        leave.set()


async def test_a_device_that_reads_nothing_keeps_nobody_waiting(platform: Platform, neighbour: Neighbour) -> None:
    endpoint = platform.register(metadata=b'{"v":"' + b"x" * 200_000 + b'"}')
    async with mqtt_connection(platform.stack.mqtt_port) as (_, writer):
        writer.write(CONNECT + b"".join(publish_packet(endpoint.path("/get/1"), b"", None) for _ in range(100)))
        await writer.drain()
        for _ in range(5):
            await neighbour.goes_on()


# HTTP


HTTP_GARBAGE = [
    b"\x00" * 100,
    b"\xff\xfe\xfd" * 50 + b"\r\n\r\n",
    TLS_CLIENT_HELLO,
    CONNECT,
    b"\r\n\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"POST /kp1 HTTP/9.9\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    b"POST /kp1/\xff\xfe/b/c/get HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/%ff%fe/%00/%2f/get HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 200_000 + b"\r\nConnection: close\r\n\r\n",
    b"POST /" + b"a/" * 100_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST /kp1/a/b/c/get HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\ncut off",
]


@pytest.mark.parametrize("data", HTTP_GARBAGE, ids=short)
async def test_garbage_over_http_is_refused_and_costs_nobody_anything(
    platform: Platform, neighbour: Neighbour, data: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.stack.http_port)
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            writer.write_eof()
            while received := await reader.read(65536):
                answer += received
    except ConnectionError:
        pass  # closed while much of the input was unread
    finally:
        writer.transport.abort()
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert platform.rest.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/epr/api/v1/endpoints/%00",
        "/epr/api/v1/endpoints/%ff/metadata",
        "/epr/api/v1/endpoints/..%2f..%2fetc/metadata/a",
        "/epr/api/v1/endpoints/x/metadata/$where",
        "/epr/api/v1/endpoints?limit=99999999999999999999",
        "/epr/api/v1/endpoints?offset=-1",
        "/epr/api/v1/endpoints?offset=9223372036854775808",
        "/epr/api/v1/endpoints?applicationName=%00%ff",
        "/epr/api/v1/endpoints?endpointId=" + ",".join("a" * 100 for _ in range(500)),
        "/cm/api/v1/endpoints/%00/tokens/%00",
        "/cm/api/v1/endpoints/x/tokens?status=%ff",
        "/tekton/api/v1/applications/%00",
        "/tekton/api/v1/applications/a.b%2f$where",
        "/tekton/api/v1/app-configs/applications/%ff/app-versions/%ff",
    ],
)
def test_strange_paths_of_the_rest_interfaces_are_a_refusal(platform: Platform, path: str) -> None:
    answer = platform.rest.get(path)
    assert answer.status_code in {200, 400, 404}, answer.text
    assert answer.status_code != 200 or answer.json()["content"] == []


# NATS

INSTANCES = {"extension": ["epmx"], "creds": ["cm", "ccm"], "epr": ["epr"], "tekton": ["tekton"], "kpc": ["kpc"]}


def subjects(protocol: Protocol) -> Iterator[str]:
    """All that services and listeners subscribe to."""
    for endpoint in protocol.endpoints:
        yield from map(endpoint.subject, INSTANCES[endpoint.owner])
    for event in protocol.events:
        yield from (event.wildcard(instance).replace("*", "filter") for instance in INSTANCES[event.owner])


SUBJECTS = {subject for protocol in PROTOCOLS for subject in subjects(protocol)} | {
    "kaa.v1.service.kpc.scmp.configuration.upsert",
    "kaa.v1.service.epmx.scmp.configuration.delete",
}

NO_DATUMS = [
    b"",
    b"\x00",
    b"\x02",
    b"{}",
    b"\xff" * 20,
    b"\x80" * 50,
    b"\x10too short",
    b"\x02\xff" + bytes(50),
    # An endpoint id and then an array of 2**62 items.
    b"\x02x\x00\x00\x02e" + b"\xfe" + b"\xff" * 7 + b"\x7f" + bytes(50),
    bytes(1024 * 1024),
]


async def test_garbage_on_nats_stops_no_service(platform: Platform, neighbour: Neighbour) -> None:
    noise = random.Random(7)
    payloads = NO_DATUMS + [noise.randbytes(noise.randrange(1, 300)) for _ in range(20)]
    client = await nats.connect(platform.stack.nats_url)
    try:
        for subject in sorted(SUBJECTS | await replica_subjects(client, platform)):
            for payload in payloads:
                await client.publish(subject, payload)
                await client.publish(subject, payload, reply="hostile.reply")
            await client.flush()
        await neighbour.goes_on()
    finally:
        await client.close()
    endpoint = platform.register(metadata=b'{"a":1}')
    answer = platform.rest.post(f"/{endpoint.path('/get')}")
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


async def replica_subjects(client: Client, platform: Platform) -> set[str]:
    """Where replicas of the platform expect answers, learned from what they ask for a new endpoint."""
    requests = await client.subscribe("kaa.v1.service.>")
    await client.flush()
    endpoint = platform.register()
    assert platform.rest.post(f"/{endpoint.path('/get')}").status_code == 200
    found = set()
    while True:
        request = await requests.next_msg(PATIENCE)
        found.add(request.reply)
        if request.subject.endswith(".esp.ClientData"):
            break
    await requests.unsubscribe()
    assert all(subject.startswith("kaa.v1.replica.") for subject in found)
    return found
