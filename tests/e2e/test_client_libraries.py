"""Client libraries of the field, unmodified, over each transport and in each version of MQTT that they know.

Every one does the same: it changes its endpoint's metadata, reads it back, and asks for what there is not. Libraries
that would collide with those of the tests, or are not Python, have a process of their own. A test that needs a tool
which cannot be had here is skipped, and says which.
"""

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from paho.mqtt.enums import MQTTProtocolVersion

from .conftest import PATIENCE, Endpoint, Message, Platform
from .kaa_extensions import COMMANDS, kaa_extensions
from .paho_client import V5, V31, V311, paho_client

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

Transport = Literal["tcp", "tls", "mutual-tls", "ws"]
TRANSPORTS: tuple[Transport, ...] = ("tcp", "tls", "mutual-tls", "ws")
WITHOUT_WS = TRANSPORTS[:3]
VERSIONS: tuple[MQTTProtocolVersion, ...] = (V31, V311, V5)
UPDATED = b'{"a":[1.0]}'
UNKNOWN = b'{"statusCode":404,"reasonPhrase":"unknown resource path"}'
PROCESS_TIMEOUT = 45


@dataclass(frozen=True, slots=True)
class Route:
    """How a client gets to the platform: what it is configured with."""

    transport: Transport
    port: int
    ca_file: str
    certificate_file: str
    key_file: str

    @property
    def tls(self) -> ssl.SSLContext | None:
        if self.transport not in ("tls", "mutual-tls"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.transport == "mutual-tls":
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the platform has issued."""

    id: str
    certificate_file: Path
    key_file: Path


@pytest.fixture
def certificate(platform: Platform, tmp_path: Path) -> Certificate:
    issued = platform.rest.post("/ccm/api/v1/x509-credentials", json={}).raise_for_status().json()
    certificate = Certificate(issued["id"], tmp_path / "client.crt", tmp_path / "client.key")
    certificate.certificate_file.write_text(issued["certificateChain"])
    certificate.key_file.write_text(issued["privateKey"])
    return certificate


@pytest.fixture
def route(
    request: pytest.FixtureRequest, platform: Platform, certificate: Certificate, transport: Transport
) -> Iterator[Route]:
    """Afterwards a certificate was used exactly when the transport has it shown."""
    stack = platform.stack
    port = {"tcp": stack.mqtt_port, "ws": stack.http_port}.get(transport, stack.tls_port)
    files = (certificate.certificate_file, certificate.key_file) if transport == "mutual-tls" else ("", "")
    yield Route(transport, port, str(stack.ca_file), *map(str, files))
    state = platform.rest.get(f"/ccm/api/v1/x509-credentials/{certificate.id}").raise_for_status().json()["state"]
    assert state == ("Active" if transport == "mutual-tls" else "Inactive")


def requests_of(endpoint: Endpoint) -> list[tuple[str, bytes]]:
    return [(endpoint.path("/update/0"), UPDATED), (endpoint.path("/get/1"), b""), (endpoint.path("/put/2"), b"")]


def answers_of(endpoint: Endpoint) -> list[Message]:
    """At QoS 1, as the requests were."""
    update, get, wrong = (topic for topic, _ in requests_of(endpoint))
    return [
        Message(f"{update}/status", b"", 1),
        Message(f"{get}/status", UPDATED, 1),
        Message(f"{wrong}/error", UNKNOWN, 1),
    ]


def run(command: list[str], **environ: str) -> str:
    """What a program prints."""
    ended = subprocess.run(
        command, env=environ or None, capture_output=True, text=True, check=False, timeout=PROCESS_TIMEOUT
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_paho_2(platform: Platform, route: Route, version: MQTTProtocolVersion) -> None:
    endpoint = platform.register()

    def prepare(client: paho.Client) -> None:
        if route.tls is not None:
            client.tls_set_context(route.tls)
        elif route.transport == "ws":
            client.ws_set_options("/ws")

    kind: Literal["tcp", "websockets"] = "websockets" if route.transport == "ws" else "tcp"
    async with paho_client(route.port, "device", version, kind, prepare) as device:
        answers = [await device.ask(topic, payload, 1) for topic, payload in requests_of(endpoint)]
        assert device.messages.empty()
    assert answers == answers_of(endpoint)


PAHO_1 = "paho-mqtt==1.6.1"
PAHO_1_DEVICE = """
import json, queue, sys

import paho.mqtt.client as paho
from paho import mqtt

assert mqtt.__version__ == "1.6.1"
route, devices = json.loads(sys.argv[1])
answers = []
for version, topics in devices:
    connected, messages = queue.Queue(), queue.Queue()
    transport = "websockets" if route["transport"] == "ws" else "tcp"
    client = paho.Client("device", protocol=version, transport=transport)
    if transport == "websockets":
        client.ws_set_options("/ws")
    if route["transport"] in ("tls", "mutual-tls"):
        client.tls_set(route["ca_file"], route["certificate_file"] or None, route["key_file"] or None)
    def on_connect(client, userdata, flags, code, properties=None):
        connected.put(getattr(code, "value", code))
    client.on_connect = on_connect
    client.on_message = lambda client, userdata, message: messages.put(message)
    client.will_set("gone", b"x", qos=1, retain=True)
    client.connect("127.0.0.1", route["port"], keepalive=60)
    client.loop_start()
    assert connected.get(timeout=10) == 0
    for topic, payload in topics:
        client.publish(topic, payload, qos=1).wait_for_publish()
        answer = messages.get(timeout=10)
        answers.append([answer.topic, answer.payload.decode(), answer.qos])
    client.disconnect()
    client.loop_stop()
print(json.dumps(answers))
"""


@pytest.fixture(scope="session")
def paho_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where paho-mqtt 1.x is, which devices of the field are written with; the tests' own environment has 2.x."""
    directory = tmp_path_factory.mktemp("paho-1")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(directory), PAHO_1], check=True, timeout=50)
    return directory


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_paho_1(platform: Platform, route: Route, paho_1: Path) -> None:
    endpoints = [platform.register() for _ in VERSIONS]
    command = [sys.executable, "-c", PAHO_1_DEVICE, arguments_of(route, list(map(int, VERSIONS)), endpoints)]
    printed = json.loads(run(command, PYTHONPATH=str(paho_1)))
    assert messages_of(printed) == [answer for endpoint in endpoints for answer in answers_of(endpoint)]


def arguments_of(route: Route, versions: list[int], endpoints: list[Endpoint]) -> str:
    """What a program in another process is to do."""
    requests = [[[topic, payload.decode()] for topic, payload in requests_of(endpoint)] for endpoint in endpoints]
    return json.dumps([asdict(route), list(zip(versions, requests, strict=True))])


def messages_of(printed: list[tuple[str, str, int]]) -> list[Message]:
    return [Message(topic, payload.encode(), qos) for topic, payload, qos in printed]


@pytest.mark.parametrize("transport", WITHOUT_WS)
@pytest.mark.parametrize("version", [MQTTv311, MQTTv50], ids=["3.1.1", "5"])
async def test_gmqtt(platform: Platform, route: Route, version: int) -> None:
    endpoint, messages = platform.register(), asyncio.Queue[Message]()

    async def on_message(client: object, topic: str, payload: bytes, qos: int, properties: object) -> int:
        messages.put_nowait(Message(topic, payload, qos))
        return 0

    client = gmqtt.Client("device", clean_session=True)
    client.on_message = on_message
    async with asyncio.timeout(PATIENCE):
        await client.connect("127.0.0.1", route.port, ssl=route.tls or False, version=version)
        answers = []
        for topic, payload in requests_of(endpoint):
            client.publish(topic, payload, qos=1)
            answers.append(await messages.get())
        await client.disconnect()
    assert answers == answers_of(endpoint)
    assert messages.empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "version", [aiomqtt.ProtocolVersion.V31, aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5]
)
async def test_aiomqtt(platform: Platform, route: Route, version: aiomqtt.ProtocolVersion) -> None:
    endpoint = platform.register()
    connect = partial(aiomqtt.Client, "127.0.0.1", route.port, identifier="device", protocol=version, timeout=PATIENCE)
    if route.transport == "ws":
        client = connect(transport="websockets", websocket_path="/ws")
    else:
        client = connect(tls_context=route.tls)
    answers = []
    async with asyncio.timeout(PATIENCE), client:
        for topic, payload in requests_of(endpoint):
            await client.publish(topic, payload, qos=1)
            told = await anext(client.messages)
            answers.append(Message(str(told.topic), bytes(told.payload or b""), told.qos))
    assert answers == answers_of(endpoint)


needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto_rr") is None, reason="the clients of Mosquitto are not installed (mosquitto-clients)"
)


def mosquitto(program: str, route: Route, version: str) -> list[str]:
    command = [program, "-h", "127.0.0.1", "-p", str(route.port), "-V", version, "-q", "1"]
    if route.transport != "tcp":
        command += ["--cafile", route.ca_file]
    if route.transport == "mutual-tls":
        command += ["--cert", route.certificate_file, "--key", route.key_file]
    return command


@needs_mosquitto
@pytest.mark.parametrize("transport", WITHOUT_WS)
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
async def test_mosquitto(platform: Platform, route: Route, version: str) -> None:
    """mosquitto_pub says it and goes, mosquitto_rr asks and waits, mosquitto_sub waits for commands."""
    endpoint = platform.register()
    start = partial(mosquitto, route=route, version=version)
    client_id = ["-i", "device"] if version == "mqttv31" else []
    update = [*start("mosquitto_pub"), *client_id, "-t", endpoint.path("/update"), "-m", UPDATED.decode()]
    assert await asyncio.to_thread(run, update) == ""
    assert platform.metadata(endpoint) == UPDATED

    get = endpoint.path("/get/1")
    ask = [*start("mosquitto_rr"), *client_id, "-t", get, "-e", f"{get}/status", "-n", "-W", "10"]
    assert await asyncio.to_thread(run, ask) == UPDATED.decode() + "\n"

    commands = endpoint.path("/command/reboot/+", "cex")
    listen = [*start("mosquitto_sub"), *client_id, "-t", commands, "-C", "1", "-W", "10"]
    async with AsyncExitStack() as stack:
        extensions = await stack.enter_async_context(kaa_extensions(platform.stack.nats_url))
        listening = await stack.enter_async_context(asyncio.TaskGroup())
        heard = listening.create_task(asyncio.to_thread(run, listen), name="mosquitto_sub")
        while not heard.done():
            await extensions.push(endpoint, "cex", "/command/reboot", COMMANDS)
            await asyncio.wait([heard], timeout=0.1)
    assert heard.result() == COMMANDS.decode() + "\n"


@needs_mosquitto
@pytest.mark.parametrize("transport", ["tcp"])
async def test_mosquitto_rr_waits_where_it_likes(platform: Platform, route: Route) -> None:
    """With MQTT 5 a request says itself where its answer is wanted."""
    endpoint = platform.register(metadata=UPDATED)
    ask = mosquitto("mosquitto_rr", route, "mqttv5")
    ask += ["-t", endpoint.path("/get"), "-e", "answers/to/me", "-n", "-W", "10"]
    assert await asyncio.to_thread(run, ask) == UPDATED.decode() + "\n"


MQTT_JS_DEVICE = """
const fs = require('fs'), mqtt = require('mqtt');
const [route, devices] = JSON.parse(process.argv[1]);
const names = {3: 'MQIsdp', 4: 'MQTT', 5: 'MQTT'};
const schemes = {tcp: 'mqtt', tls: 'mqtts', 'mutual-tls': 'mqtts', ws: 'ws'};
const path = route.transport === 'ws' ? '/ws' : '';
const read = (file) => file ? fs.readFileSync(file) : undefined;
(async () => {
  const answers = [];
  for (const [version, topics] of devices) {
    const client = await mqtt.connectAsync(`${schemes[route.transport]}://127.0.0.1:${route.port}${path}`, {
      clientId: 'device', protocolId: names[version], protocolVersion: version, reconnectPeriod: 0,
      ca: read(route.ca_file), cert: read(route.certificate_file), key: read(route.key_file),
    });
    for (const [topic, payload] of topics) {
      const answered = new Promise((resolve) => client.once('message', (...message) => resolve(message)));
      // With MQTT 5 the acknowledgement of what is refused says so: Topic Name invalid stands for 404.
      await client.publishAsync(topic, payload, {qos: 1}).catch((error) => { if (error.code !== 0x90) throw error; });
      const [told, content, packet] = await answered;
      answers.push([told, content.toString(), packet.qos]);
    }
    await client.endAsync();
  }
  console.log(JSON.stringify(answers));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_mqtt_js(platform: Platform, route: Route, mqtt_js: Path) -> None:
    endpoints = [platform.register() for _ in VERSIONS]
    command = ["node", "-e", MQTT_JS_DEVICE, arguments_of(route, list(map(int, VERSIONS)), endpoints)]
    printed = json.loads(run(command, NODE_PATH=str(mqtt_js), PATH=str(Path(shutil.which("node") or "").parent)))
    assert messages_of(printed) == [answer for endpoint in endpoints for answer in answers_of(endpoint)]
