"""Real clients against the server, which runs in a thread on the event loop of production, and on the standard one."""

import asyncio
import queue
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator

import gmqtt
import paho.mqtt.client as paho
import pytest
import uvloop
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode as PahoReasonCode

from kpc.mqtt.events import Disconnected
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.properties import Properties
from kpc.mqtt.reasons import DONE, WITHHELD, PublishResult, ReasonCode
from kpc.mqtt_connection import Connection
from kpc.mqtt_listeners import TcpListener
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits

PATIENCE = 10.0
WITHHELD_FOR = 0.5
V31, V311, V5 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


class EchoHandler:
    """Answers on the response topic, or `<topic>/status`, at the request's QoS; refuses who gives a wrong password."""

    def __init__(self) -> None:
        self.ended: queue.Queue[Disconnected] = queue.Queue()
        self.result = DONE

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        if connect.password == b"wrong":
            return ReasonCode.BAD_USER_NAME_OR_PASSWORD
        return ReasonCode.SUCCESS

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        topic = publish.properties.response_topic or f"{publish.topic}/status"
        properties = Properties(correlation_data=publish.properties.correlation_data)
        connection.publish(topic, publish.payload, min(publish.qos, 1), properties)
        return self.result

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        connection.publish("subscribed", subscribe.subscriptions[0].topic_filter.encode())

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        self.ended.put(disconnected)


class ServerThread:
    """A server with an event loop of its own, since these clients block or have one too."""

    def __init__(self, new_event_loop: Callable[[], AbstractEventLoop]) -> None:
        self.handler = EchoHandler()
        self.port = 0
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._new_event_loop = new_event_loop
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "ServerThread":
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        limits = ServerLimits(session=SessionLimits(withheld_for=WITHHELD_FOR))
        async with MqttServer(self.handler, [TcpListener("127.0.0.1", 0)], limits=limits) as server:
            self.port = server.port
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    with ServerThread(request.param) as thread:
        yield thread


class PahoDevice:
    """A paho client whose messages wait in a queue."""

    def __init__(self, client_id: str = "device", protocol: MQTTProtocolVersion = V311) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol)
        self.answers: queue.Queue[str] = queue.Queue()
        self.messages: queue.Queue[tuple[str, bytes, int]] = queue.Queue()
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.on_unsubscribe = lambda *_: self.answers.put("unsubscribed")

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: PahoReasonCode,
        _: PahoProperties | None,
    ) -> None:
        assert not flags.session_present
        self.answers.put(str(reason))

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload), message.qos))

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: object,
        packet_id: int,
        reasons: list[PahoReasonCode],
        _: PahoProperties | None,
    ) -> None:
        self.answers.put(", ".join(map(str, reasons)))

    def connect(self, port: int, properties: PahoProperties | None = None) -> str:
        self.client.connect("127.0.0.1", port, keepalive=60, properties=properties)
        self.client.loop_start()
        return self.answers.get(timeout=PATIENCE)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5"])
def device(request: pytest.FixtureRequest) -> Iterator[PahoDevice]:
    device = PahoDevice(protocol=request.param)
    yield device
    device.close()


def test_paho_delivers_everything_after_an_outage_longer_than_its_window(
    server: ServerThread, device: PahoDevice
) -> None:
    device.client.reconnect_delay_set(0.1, 0.1)  # type: ignore[arg-type] # annotated as int
    assert device.connect(server.port) == "Success"
    server.handler.result = WITHHELD
    more_than_its_window = 30
    sent = [device.client.publish("kp1/update", b"%d" % number, 1) for number in range(more_than_its_window)]
    assert device.messages.get(timeout=PATIENCE)
    server.handler.result = DONE
    for message in sent:
        message.wait_for_publish(PATIENCE)
        assert message.is_published()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_gets_an_answer_without_subscribing(server: ServerThread, device: PahoDevice, qos: int) -> None:
    assert device.connect(server.port) == "Success"
    for number in range(5):
        sent = device.client.publish(f"kp1/get/{number}", b"%d" % number, qos)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published()
        assert device.messages.get(timeout=PATIENCE) == (f"kp1/get/{number}/status", b"%d" % number, min(qos, 1))


def test_paho_says_goodbye(server: ServerThread, device: PahoDevice) -> None:
    device.connect(server.port)
    device.client.disconnect()
    assert server.handler.ended.get(timeout=PATIENCE).reason == "clean"


def test_paho_subscribes_and_unsubscribes(server: ServerThread, device: PahoDevice) -> None:
    device.connect(server.port)
    device.client.subscribe([("kp1/#", 2), ("topic_buffer", 0)])
    assert device.answers.get(timeout=PATIENCE) == "Granted QoS 1, Granted QoS 0"
    assert device.messages.get(timeout=PATIENCE) == ("subscribed", b"kp1/#", 0)
    device.client.unsubscribe("never/subscribed")
    assert device.answers.get(timeout=PATIENCE) == "unsubscribed"


def test_paho_sends_a_message_of_half_a_mebibyte(server: ServerThread, device: PahoDevice) -> None:
    device.connect(server.port)
    device.client.publish("large", b"x" * 524_288, 1)
    assert device.messages.get(timeout=PATIENCE) == ("large/status", b"x" * 524_288, 1)


def test_paho_leaves_a_will_and_retains(server: ServerThread, device: PahoDevice) -> None:
    device.client.will_set("gone", b"x", qos=2, retain=True)
    assert device.connect(server.port) == "Success"
    device.client.publish("a", b"x", retain=True)
    assert device.messages.get(timeout=PATIENCE) == ("a/status", b"x", 0)


def test_paho_of_version_3_1_is_served(server: ServerThread) -> None:
    device = PahoDevice(protocol=V31)
    try:
        assert device.connect(server.port) == "Success"
        device.client.publish("a", b"x", 1)
        assert device.messages.get(timeout=PATIENCE) == ("a/status", b"x", 1)
    finally:
        device.close()


def test_paho_without_a_client_id_is_served(server: ServerThread) -> None:
    device = PahoDevice(client_id="")
    try:
        assert device.connect(server.port) == "Success"
    finally:
        device.close()


def test_paho_with_a_wrong_password_is_refused(server: ServerThread, device: PahoDevice) -> None:
    device.client.username_pw_set("me", "wrong")
    assert device.connect(server.port) == "Bad user name or password"


def test_paho_of_version_5_asks_and_is_answered_by_properties(server: ServerThread) -> None:
    device = PahoDevice(protocol=V5)
    answered: queue.Queue[bytes] = queue.Queue()
    device.client.message_callback_add(
        "my/answers", lambda client, userdata, message: answered.put(correlation_of(message))
    )
    properties = properties_of(PacketTypes.PUBLISH, ResponseTopic="my/answers", CorrelationData=b"42")
    try:
        device.connect(server.port)
        device.client.publish("a", b"x", 1, properties=properties)
        assert answered.get(timeout=PATIENCE) == b"42"
    finally:
        device.close()


def correlation_of(message: paho.MQTTMessage) -> bytes:
    return bytes(getattr(message.properties, "CorrelationData", b""))


def properties_of(packet_type: int, **values: object) -> PahoProperties:
    properties = PahoProperties(packet_type)  # type: ignore[no-untyped-call] # paho's have no types
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


@pytest.mark.parametrize(
    ("qos", "reason"),
    # paho releases a QoS 2 message even after a PUBREC that refused it, and is told that there is none.
    [(1, (ReasonCode.QUOTA_EXCEEDED, "too fast")), (2, (ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, ""))],
)
def test_paho_of_version_5_is_told_that_a_message_was_refused(
    server: ServerThread, qos: int, reason: tuple[ReasonCode, str]
) -> None:
    device = PahoDevice(protocol=V5)
    told: queue.Queue[tuple[int, str]] = queue.Queue()
    device.client.on_publish = lambda client, userdata, packet_id, reason, properties: told.put(
        (reason.value, getattr(properties, "ReasonString", ""))
    )
    server.handler.result = PublishResult(reason_code=ReasonCode.QUOTA_EXCEEDED, reason_string="too fast")
    try:
        device.connect(server.port)
        device.client.publish("a", b"x", qos)
        assert told.get(timeout=PATIENCE) == reason
    finally:
        device.close()


def test_paho_of_version_5_is_sent_no_more_at_once_than_it_takes(server: ServerThread) -> None:
    device = PahoDevice(protocol=V5)
    properties = properties_of(PacketTypes.CONNECT, ReceiveMaximum=1)
    try:
        device.connect(server.port, properties)
        for number in range(50):
            device.client.publish("a", b"%d" % number, 1)
        assert [device.messages.get(timeout=PATIENCE)[1] for _ in range(50)] == [b"%d" % number for number in range(50)]
    finally:
        device.close()


def test_paho_notices_that_the_server_stops(server: ServerThread, device: PahoDevice) -> None:
    noticed: queue.Queue[str] = queue.Queue()
    device.client.on_disconnect = lambda client, userdata, flags, reason, properties: noticed.put(str(reason))
    device.connect(server.port)
    server.stop()
    is_told_why = device.client.protocol == V5
    assert noticed.get(timeout=PATIENCE) == ("Server shutting down" if is_told_why else "Unspecified error")
    assert server.handler.ended.get(timeout=PATIENCE).detail == "the server stops"


@pytest.mark.parametrize("version", [MQTTv311, MQTTv50])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_gmqtt_gets_an_answer_without_subscribing(server: ServerThread, qos: int, version: int) -> None:
    messages: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue()

    async def on_message(client: object, topic: str, payload: bytes, qos: int, properties: object) -> int:
        messages.put_nowait((topic, payload, qos))
        return 0

    client = gmqtt.Client("device")
    client.on_message = on_message
    async with asyncio.timeout(PATIENCE):
        await client.connect("127.0.0.1", server.port, version=version)
        for number in range(5):
            client.publish(f"kp1/get/{number}", b"%d" % number, qos=qos)
        for number in range(5):
            assert await messages.get() == (f"kp1/get/{number}/status", b"%d" % number, min(qos, 1))
        await client.disconnect()
