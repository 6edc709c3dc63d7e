"""The whole platform on each store, kpc in a process of its own, and devices that talk to it over MQTT and over HTTP.

A stack is started once per store and shared, so every test registers endpoints of its own. The MQTT client here is byte
for byte: a library would hide a second copy of a message, or an acknowledgement that comes too early.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Protocol

import httpx
import pymongo
import pytest

from support.stack import EdgeStack, Stack, running_edge_stack

PATIENCE = 10.0
"""Seconds until a test gives up waiting: far more than anything takes here."""
APPLICATION = "devices"
KAA_EXTENSIONS = ("cex", "cmx", "cmx_ota", "bcx", "dcx")
"""Extensions of Kaa that devices may address here; nobody serves them unless a test does."""

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 0x20, 0x30, 0x40, 0x90, 0xB0, 0xD0
PINGREQ = b"\xc0\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What a device needs to know."""

    id: str
    token: str
    app_version: str

    def path(self, resource: str, extension: str = "epmx") -> str:
        return f"kp1/{self.app_version}/{extension}/{self.token}{resource}"


class Platform:
    """A running stack and its REST interfaces; `rest` is authorised, and blocks."""

    def __init__(self, stack: Stack | EdgeStack, rest: httpx.Client) -> None:
        self.stack = stack
        self.rest = rest
        self._numbers = itertools.count(1)
        self.rest.post("/tekton/api/v1/applications", json={"name": APPLICATION}).raise_for_status()
        self.app_version = self.new_app_version()
        """One without any configuration."""

    def new_app_version(self, configurations: dict[str, Any] | None = None, application: str = APPLICATION) -> str:
        """`configurations`: service instance to what it is told about this version."""
        path = f"/tekton/api/v1/applications/{application}/app-versions"
        created = self.rest.post(path, json={"nameSuffix": f"v{next(self._numbers)}"}).raise_for_status()
        name: str = created.json()["name"]
        if configurations is not None:
            self.configure(name, configurations)
        return name

    def configure(self, app_version: str, configurations: dict[str, Any]) -> None:
        body = {
            instance: {"kaa": {"applications": {APPLICATION: {"versions": {app_version: configuration}}}}}
            for instance, configuration in configurations.items()
        }
        path = f"/tekton/api/v1/app-configs/applications/{APPLICATION}/app-versions/{app_version}"
        self.rest.put(path, json=body).raise_for_status()

    def register(self, app_version: str = "", metadata: bytes = b"{}", **members: str) -> Endpoint:
        name = app_version or self.app_version
        rest = json.dumps({"appVersion": {"name": name}, **members})
        body = rest.removesuffix("}").encode() + b', "metadata": ' + metadata + b"}"
        registered = self.rest.post("/epr/api/v1/endpoints", content=body).raise_for_status().json()
        return Endpoint(id=registered["endpointId"], token=registered["token"], app_version=name)

    def metadata(self, endpoint: Endpoint) -> bytes:
        """The JSON text of it."""
        return self.metadata_and_revision(endpoint)[0]

    def metadata_and_revision(self, endpoint: Endpoint) -> tuple[bytes, int]:
        answer = self.rest.get(metadata_url(endpoint)).raise_for_status()
        return answer.content, int(answer.headers["ETag"].strip('"'))

    def tokens(self, endpoint: Endpoint) -> list[dict[str, str]]:
        path = f"/cm/api/v1/endpoints/{endpoint.id}/tokens"
        content: list[dict[str, str]] = self.rest.get(path).raise_for_status().json()["content"]
        return content

    def move_token(self, endpoint: Endpoint, status: str) -> None:
        """Change the status of the endpoint's first token."""
        token_id = self.tokens(endpoint)[-1]["endpointTokenId"]
        path = f"/cm/api/v1/endpoints/{endpoint.id}/tokens/{token_id}/status"
        self.rest.put(path, json={"status": status}).raise_for_status()


def metadata_url(endpoint: Endpoint, key: str = "") -> str:
    return f"/epr/api/v1/endpoints/{endpoint.id}/metadata" + (f"/{key}" if key else "")


@pytest.fixture(scope="session")
def directory_in_memory() -> Iterator[Path]:
    """Where nobody waits for a disk that other tests keep busy, if the machine has such a place."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="session", params=["sqlite", "mongodb"])
def platform(request: pytest.FixtureRequest, directory_in_memory: Path) -> Iterator[Platform]:
    """The platform on each of the stores."""
    directory = Path(mkdtemp(dir=directory_in_memory))  # another each time, as pytest may come back to a store
    environ = {"KPC_EXTENSIONS": ",".join(("epmx", "tsx:unaware", *KAA_EXTENSIONS))}
    if request.param == "mongodb":
        uri, database = request.getfixturevalue("mongodb"), f"kaa_test_{secrets.token_hex(8)}"
        environ |= {"MONGODB_URI": uri, "MONGODB_DATABASE": database}
    with running_edge_stack(directory, environ) as stack, stack.rest(PATIENCE) as rest:
        yield Platform(stack, rest)
    if request.param == "mongodb":
        with pymongo.MongoClient[dict[str, object]](uri) as client:
            client.drop_database(database)


# MQTT


def packet(header: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    length, rest = bytearray(), len(body)
    while True:
        rest, seven_bits = divmod(rest, 128)
        length.append(seven_bits | (0x80 if rest else 0))
        if not rest:
            return bytes([header]) + length + body


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def connect_packet(client_id: str = "") -> bytes:
    return packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", text(client_id))


def publish_packet(topic: str, payload: bytes, packet_id: int | None, flags: int = 0) -> bytes:
    """At QoS 1, or at QoS 0 when there is no packet id."""
    if packet_id is None:
        return packet(PUBLISH | flags, text(topic), payload)
    return packet(PUBLISH | 0x02 | flags, text(topic), packet_id.to_bytes(2, "big"), payload)


@dataclass(frozen=True, slots=True)
class Message:
    """What the platform has published."""

    topic: str
    payload: bytes
    qos: int


class MqttDevice:
    """One MQTT 3.1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packet_ids = itertools.cycle(range(1, 0x10000))

    def next_packet_id(self) -> int:
        return next(self._packet_ids)

    def send(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))

    async def receive(self) -> tuple[int, bytes]:
        """The next packet: its type, and what follows the fixed header; for a PUBLISH its flags are in the type.

        Raises IncompleteReadError when the platform closed the connection.
        """
        async with asyncio.timeout(PATIENCE):
            header = (await self._reader.readexactly(1))[0]
            length, shift, more = 0, 0, True
            while more:
                byte = (await self._reader.readexactly(1))[0]
                length, shift, more = length | (byte & 0x7F) << shift, shift + 7, byte >= 0x80
            return header, await self._reader.readexactly(length)

    def message(self, header: int, body: bytes) -> Message:
        """The PUBLISH that was received; it is acknowledged."""
        assert header & 0xF0 == PUBLISH, f"unexpected packet {header:#x}"
        qos = header >> 1 & 0x03
        end = 2 + int.from_bytes(body[:2], "big")
        topic, payload = body[2:end].decode(), body[end:]
        if qos:
            self.send(packet(PUBACK, payload[:2]))
            payload = payload[2:]
        return Message(topic, payload, qos)

    async def messages_until(self, packet_type: int) -> tuple[list[Message], bytes]:
        """What is published before a packet of this type comes, and what that has."""
        messages = []
        while (received := await self.receive())[0] != packet_type:
            messages.append(self.message(*received))
        return messages, received[1]

    async def next_message(self) -> Message:
        return self.message(*await self.receive())

    async def publish(self, topic: str, payload: bytes) -> list[Message]:
        """Publish at QoS 1; what the platform publishes before it acknowledges."""
        packet_id = self.next_packet_id()
        self.send(publish_packet(topic, payload, packet_id))
        messages, body = await self.messages_until(PUBACK)
        assert body == packet_id.to_bytes(2, "big")
        return messages

    async def subscribe(self, *filters: str) -> list[Message]:
        """What was published before the platform confirmed."""
        self.send(packet(0x82, b"\x00\x01", *(text(topic_filter) + b"\x01" for topic_filter in filters)))
        messages, body = await self.messages_until(SUBACK)
        assert body == b"\x00\x01" + b"\x01" * len(filters)
        return messages

    async def settle(self) -> list[Message]:
        """All that is still on its way."""
        self.send(PINGREQ)
        return (await self.messages_until(PINGRESP))[0]


@asynccontextmanager
async def mqtt_connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def mqtt_device(platform: Platform, client_id: str = "") -> AsyncIterator[MqttDevice]:
    """A device that is connected, and says goodbye at the end."""
    async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer):
        device = MqttDevice(reader, writer)
        device.send(connect_packet(client_id))
        assert await device.receive() == (CONNACK, b"\x00\x00")
        yield device
        device.send(b"\xe0\x00")
        await writer.drain()


# One request, whatever carries it


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device is told. Over MQTT the status code of a success is not: it is 200 then."""

    status_code: int
    payload: bytes


class Ask(Protocol):
    """Sends a request as a device does."""

    async def __call__(self, path: str, payload: bytes) -> Answer: ...


def error_of(answer: Answer) -> tuple[int, str]:
    """Status code and reason phrase; fails unless the payload is what 1/KP says of an error, to the byte."""
    error = json.loads(answer.payload)
    assert list(error) == ["statusCode", "reasonPhrase"]
    assert type(error["statusCode"]) is int
    assert type(error["reasonPhrase"]) is str
    assert answer.payload == json.dumps(error, separators=(",", ":"), ensure_ascii=False).encode()
    assert error["statusCode"] == answer.status_code
    return error["statusCode"], error["reasonPhrase"]


def _asking_over_http(platform: Platform) -> Ask:
    async def ask(path: str, payload: bytes) -> Answer:
        answer = platform.rest.post(f"/{path}", content=payload)
        assert answer.headers["Content-Type"] == "application/json"
        return Answer(answer.status_code, answer.content)

    return ask


def _asking_over_mqtt(device: MqttDevice) -> Ask:
    async def ask(path: str, payload: bytes) -> Answer:
        """Asks in each of the ways there are; a repetition is answered like the first."""
        with_id, with_0 = f"{path}/42", f"{path}/0"
        answer = _answer_on(with_id, await device.publish(with_id, payload), 1)

        device.send(publish_packet(with_0, payload, None))
        assert _answer_on(with_0, [await device.next_message()], 0) == answer

        without_id = await device.publish(path, payload)
        if answer == Answer(200, b""):
            assert without_id == []
        else:
            assert _answer_on(path, without_id, 1) == answer
        assert await device.settle() == []
        return answer

    return ask


def _answer_on(topic: str, messages: Sequence[Message], qos: int) -> Answer:
    """The one message that answers a request."""
    (message,) = messages
    assert message.qos == qos
    if message.topic == f"{topic}/status":
        return Answer(200, message.payload)
    assert message.topic == f"{topic}/error"
    return Answer(json.loads(message.payload)["statusCode"], message.payload)


@pytest.fixture(params=["http", "mqtt"])
async def ask(request: pytest.FixtureRequest, platform: Platform) -> AsyncIterator[Ask]:
    """Requests over HTTP; over MQTT at both QoS, with a request id, with 0 and without."""
    if request.param == "http":
        yield _asking_over_http(platform)
    else:
        async with mqtt_device(platform) as device:
            yield _asking_over_mqtt(device)
