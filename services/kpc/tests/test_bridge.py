"""The bridge between real brokers and the edge; devices are clients of the broker and know of nothing else."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gmqtt
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from kaa_common.errors import StartError
from kaa_common.settings import load
from kpc import bridge as bridge_module
from kpc import bridge_connection
from kpc.bridge import bridging
from kpc.bridge_settings import BridgeSettings, Broker
from kpc.edge import Edge, Outcome
from kpc.tokens import Guesser
from support.certificates import make_certificate
from support.mqtt_broker import MOSQUITTO, Mosquitto, running_rumqttd
from support.ports import free_port
from support.waiting import until

from .conftest import ENDPOINT, TOKEN, Backend

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
PASSWORD = "password-of-the-bridge"


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    qos: int
    properties: dict[str, Any] = field(default_factory=dict, compare=False)


class Device:
    """A client of the broker that hears all that is said below a topic."""

    def __init__(self) -> None:
        self.client = gmqtt.Client(None)
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.subscribed = asyncio.Event()
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self.subscribed.set()

    async def _on_message(
        self, client: object, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
    ) -> int:
        if topic.endswith(("/status", "/error")):
            self.messages.put_nowait(Message(topic, payload, qos, properties))
        return 0

    async def next_message(self) -> Message:
        async with asyncio.timeout(10):
            return await self.messages.get()


@asynccontextmanager
async def device_of(port: int, topic_filter: str = "kp1/#") -> AsyncIterator[Device]:
    device = Device()
    async with asyncio.timeout(10):
        await device.client.connect("127.0.0.1", port)
        device.client.subscribe(topic_filter, qos=1)
        await device.subscribed.wait()
    yield device
    await device.client.disconnect()


@dataclass
class Answers:
    """An edge that does as it is told."""

    answer: Callable[[], Outcome]
    asked: int = 0
    bytes_sent: int = 0
    go_on: asyncio.Event | None = None

    async def request(self, transport: str, path: str, payload: bytes, *, guesser: Guesser) -> Outcome:
        self.asked += 1
        if self.go_on is not None:
            await self.go_on.wait()
        return self.answer()

    def sent(self, outcome: Outcome, size: int) -> None:
        self.bytes_sent += size


def settings_of(port: int, **members: object) -> BridgeSettings:
    url = SecretStr(f"mqtt://127.0.0.1:{port}")
    return BridgeSettings.model_validate({"url": url, "client_id": "bridge", **members})


@asynccontextmanager
async def bridge_to(port: int, edge: Edge | Answers, **members: object) -> AsyncIterator[None]:
    """A bridge that is connected."""
    async with bridging(edge, settings_of(port, **members), max_payload=1000):
        await until(is_connected)
        yield


def is_connected() -> bool:
    return REGISTRY.get_sample_value("kpc_bridge_connected") == 1


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=[pytest.param("mosquitto", marks=needs_mosquitto), "rumqttd"])
def broker_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """That of any broker there is."""
    if request.param == "mosquitto":
        yield request.getfixturevalue("mosquitto").port
    else:
        with running_rumqttd(tmp_path) as port:
            yield port


async def test_a_device_of_the_broker_is_answered(broker_port: int, edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    async with device_of(broker_port) as device, bridge_to(broker_port, edge):
        for qos, request in ((0, "get/1"), (1, "get/2"), (2, "get/3"), (1, "get")):
            topic = backend.path(f"{TOKEN}/{request}")
            device.client.publish(topic, b"{}", qos=qos)
            # rumqttd sends at the QoS of the subscription, whatever the message was published at.
            told = await device.next_message()
            assert (told.topic, told.payload) == (f"{topic}/status", b"{}")
            assert (backend.received[-1].endpoint_id, backend.received[-1].resource_path) == (ENDPOINT, "/get")
        wrong = backend.path("wrong/get/1")
        device.client.publish(wrong, b"", qos=1)
        error = b'{"statusCode":401,"reasonPhrase":"unknown endpoint token"}'
        assert await device.next_message() == Message(f"{wrong}/error", error, 1)
        assert device.messages.empty()
    assert len(backend.received) == 4


async def test_a_success_without_payload_is_told_to_whom_asked_with_an_id(
    broker_port: int, edge: Edge, backend: Backend
) -> None:
    backend.answer = (200, b"", None)
    await backend.serve_extension()
    async with device_of(broker_port) as device, bridge_to(broker_port, edge):
        device.client.publish(backend.path(f"{TOKEN}/update"), b"{}", qos=1)
        topic = backend.path(f"{TOKEN}/update/0")
        device.client.publish(topic, b"{}", qos=1)
        assert await device.next_message() == Message(f"{topic}/status", b"", 1)
        assert len(backend.received) == 2


async def test_what_is_said_in_answers_is_no_request(broker_port: int, edge: Edge, backend: Backend) -> None:
    await backend.serve_extension()
    async with device_of(broker_port) as device, bridge_to(broker_port, edge):
        for suffix in ("status", "error", "get/1/status", "get/1/error"):
            device.client.publish(backend.path(f"{TOKEN}/{suffix}"), b"{}", qos=1)
        # A resource of such a name can be asked for with a request id.
        topic = backend.path(f"{TOKEN}/status/7")
        device.client.publish(topic, b"", qos=1)
        while (await device.next_message()).topic != f"{topic}/status":
            pass
    assert [request.resource_path for request in backend.received] == ["/status"]


async def test_more_answers_wait_than_the_broker_takes_at_once(broker_port: int) -> None:
    edge = Answers(lambda: Outcome(status_code=200, payload=b"{}", has_request_id=True), go_on=asyncio.Event())
    assert edge.go_on is not None
    topics = [f"kp1/v/x/t/get/{number}" for number in range(60)]
    async with device_of(broker_port) as device, bridge_to(broker_port, edge):
        for number, topic in enumerate(topics):
            device.client.publish(topic, b"", qos=1)
            await until(lambda: edge.asked > number)  # noqa: B023 # awaited here
        edge.go_on.set()
        answered = sorted([(await device.next_message()).topic for _ in topics])
    assert answered == sorted(f"{topic}/status" for topic in topics)


@needs_mosquitto
async def test_more_messages_at_once_than_allowed_are_refused_or_left_with_the_broker(mosquitto: Mosquitto) -> None:
    edge = Answers(lambda: Outcome(status_code=200, has_request_id=True), go_on=asyncio.Event())
    assert edge.go_on is not None
    async with device_of(mosquitto.port) as device, bridge_to(mosquitto.port, edge, max_in_flight=5):
        for number in range(8):
            device.client.publish(f"kp1/v/x/t/qos0/{number}", b"", qos=0)
        refused = [await device.next_message() for _ in range(3)]
        assert [message.topic for message in refused] == [f"kp1/v/x/t/qos0/{number}/error" for number in (5, 6, 7)]
        assert b'"statusCode":429' in refused[0].payload
        for number in range(8):
            device.client.publish(f"kp1/v/x/t/qos1/{number}", b"", qos=1)
        await until(lambda: edge.asked == 10)
        edge.go_on.set()
        done = {(await device.next_message()).topic for _ in range(13)}
    requests = [f"qos0/{number}" for number in range(5)] + [f"qos1/{number}" for number in range(8)]
    assert done == {f"kp1/v/x/t/{request}/status" for request in requests}


@needs_mosquitto
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_an_answer_has_the_qos_of_its_request_at_most_1(mosquitto: Mosquitto, qos: int) -> None:
    edge = Answers(lambda: Outcome(status_code=200, has_request_id=True))
    async with device_of(mosquitto.port) as device, bridge_to(mosquitto.port, edge):
        device.client.publish("kp1/v/x/t/update/1", b"{}", qos=qos)
        # The shared subscription is at QoS 1, so a request at QoS 2 is one at QoS 1 here.
        assert await device.next_message() == Message("kp1/v/x/t/update/1/status", b"", min(qos, 1))


async def test_an_answer_has_the_properties_of_mqtt_5(broker_port: int) -> None:
    edge = Answers(lambda: Outcome(status_code=404, reason_phrase="unknown extension"))
    async with device_of(broker_port) as device, bridge_to(broker_port, edge):
        device.client.publish("kp1/v/x/t/get", b"", qos=1, correlation_data=b"\x00\xff")
        properties = (await device.next_message()).properties
    assert properties["user_property"] == [("statusCode", "404"), ("reasonPhrase", "unknown extension")]
    assert properties["correlation_data"] == [b"\x00\xff"]
    assert edge.bytes_sent == len(b'{"statusCode":404,"reasonPhrase":"unknown extension"}')


@needs_mosquitto
async def test_a_topic_that_has_no_room_for_an_answer_is_not_answered(mosquitto: Mosquitto) -> None:
    edge = Answers(lambda: Outcome(status_code=400, reason_phrase="path longer than 1024 characters"))
    async with device_of(mosquitto.port) as device, bridge_to(mosquitto.port, edge):
        for length in (65_528, 65_529):
            device.client.publish("kp1/".ljust(length, "x"), b"", qos=1)
        assert len((await device.next_message()).topic) == 65_528 + len("/error")
        await until(lambda: edge.asked == 2)
        device.client.publish("kp1/v/x/t/get", b"", qos=1)
        assert (await device.next_message()).topic == "kp1/v/x/t/get/error"


@needs_mosquitto
async def test_what_could_not_be_done_is_told_and_comes_again(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_connection, "WITHHELD_FOR", 0.1)
    monkeypatch.setattr(bridge_module, "FIRST_DELAY", 0.01)
    outcomes = iter([Outcome(status_code=503, reason_phrase="nobody serves x"), *[Outcome(status_code=200)] * 100])
    edge = Answers(lambda: next(outcomes))
    async with device_of(mosquitto.port) as device, bridge_to(mosquitto.port, edge):
        device.client.publish("kp1/v/x/t/update", b"{}", qos=1)
        error = b'{"statusCode":503,"reasonPhrase":"nobody serves x"}'
        assert await device.next_message() == Message("kp1/v/x/t/update/error", error, 1)
        await until(lambda: edge.asked == 2)
        # It is acknowledged now, so another connection does not get it again.
        await until(is_connected)
    asked = edge.asked
    async with bridge_to(mosquitto.port, edge), device_of(mosquitto.port) as device:
        device.client.publish("kp1/v/x/t/update", b"{}", qos=1)
        await until(lambda: edge.asked > asked)
    assert edge.asked == asked + 1


@needs_mosquitto
async def test_a_request_in_progress_is_finished_when_the_bridge_stops(mosquitto: Mosquitto) -> None:
    edge = Answers(lambda: Outcome(status_code=200, has_request_id=True), go_on=asyncio.Event())
    assert edge.go_on is not None
    async with device_of(mosquitto.port) as device:
        async with bridge_to(mosquitto.port, edge):
            device.client.publish("kp1/v/x/t/update/1", b"{}", qos=1)
            await until(lambda: edge.asked == 1)
            asyncio.get_running_loop().call_later(0.1, edge.go_on.set)
        assert (await device.next_message()).topic == "kp1/v/x/t/update/1/status"
        async with bridge_to(mosquitto.port, edge):
            device.client.publish("kp1/v/x/t/update/2", b"{}", qos=1)
            assert (await device.next_message()).topic == "kp1/v/x/t/update/2/status"
    assert edge.asked == 2


@needs_mosquitto
async def test_what_a_killed_replica_left_unacknowledged_its_successor_does(mosquitto: Mosquitto) -> None:
    frozen = Answers(lambda: Outcome(status_code=200), go_on=asyncio.Event())
    successor = Answers(lambda: Outcome(status_code=200, has_request_id=True))
    async with device_of(mosquitto.port) as device, bridge_to(mosquitto.port, frozen):
        device.client.publish("kp1/v/x/t/update/1", b"{}", qos=1)
        await until(lambda: frozen.asked == 1)
        # The same client id: for the broker the first one is gone.
        async with bridging(successor, settings_of(mosquitto.port), max_payload=1000):
            assert (await device.next_message()).topic == "kp1/v/x/t/update/1/status"
        assert frozen.go_on is not None
        frozen.go_on.set()


@needs_mosquitto
async def test_replicas_share_the_messages(mosquitto: Mosquitto) -> None:
    replicas = [Answers(lambda: Outcome(status_code=200)) for _ in range(2)]
    async with (
        device_of(mosquitto.port) as device,
        bridge_to(mosquitto.port, replicas[0], client_id="first"),
        bridge_to(mosquitto.port, replicas[1], client_id="second"),
    ):

        def both_are_asked() -> bool:
            device.client.publish("kp1/v/x/t/hello", b"", qos=0)
            return all(replica.asked for replica in replicas)

        await until(both_are_asked)
        before = [replica.asked for replica in replicas]
        for _ in range(40):
            device.client.publish("kp1/v/x/t/update", b"", qos=0)
        await until(lambda: sum(replica.asked for replica in replicas) >= sum(before) + 40)
    assert min(replica.asked for replica in replicas) >= 10


@needs_mosquitto
async def test_the_bridge_waits_for_its_broker_and_says_so(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(bridge_module, "LONGEST_DELAY", 0.2)
    edge = Answers(lambda: Outcome(status_code=200, has_request_id=True))
    with caplog.at_level(logging.INFO, logger="kpc.bridge"):
        async with bridge_to(mosquitto.port, edge):
            mosquitto.stop()
            await until(lambda: any("is not connected" in message for message in caplog.messages))
            assert any(message.endswith("again: the connection was lost") for message in caplog.messages)
            assert not is_connected()
            mosquitto.start()
            await until(is_connected)
            async with device_of(mosquitto.port) as device:
                device.client.publish("kp1/v/x/t/get/1", b"", qos=1)
                assert (await device.next_message()).topic == "kp1/v/x/t/get/1/status"


@needs_mosquitto
async def test_the_bridge_shows_its_password_to_the_broker_and_to_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto = Mosquitto(tmp_path, password=PASSWORD)
    mosquitto.start()
    edge = Answers(lambda: Outcome(status_code=200))
    with caplog.at_level(logging.DEBUG):
        right = SecretStr(f"mqtt://kpc:{PASSWORD}@127.0.0.1:{mosquitto.port}")
        async with bridge_to(mosquitto.port, edge, url=right):
            assert is_connected()
        wrong = settings_of(mosquitto.port, url=SecretStr(f"mqtt://kpc:{PASSWORD}x@127.0.0.1:{mosquitto.port}"))
        async with bridging(edge, wrong, max_payload=1000):
            await until(lambda: "not connected" in caplog.text)
    mosquitto.stop()
    assert "ot authorized" in caplog.text or "ot authorised" in caplog.text
    assert PASSWORD not in caplog.text
    assert PASSWORD not in repr(wrong) + repr(Broker.of(right))


@needs_mosquitto
async def test_the_bridge_trusts_the_authorities_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_certificate("authority", is_authority=True)
    certificate_file, key_file = make_certificate("localhost", authority).write(tmp_path, "broker")
    mosquitto = Mosquitto(tmp_path, certificate=(certificate_file, key_file))
    mosquitto.start()
    edge, url = Answers(lambda: Outcome(status_code=200)), SecretStr(f"mqtts://localhost:{mosquitto.port}")
    try:
        async with bridging(edge, settings_of(mosquitto.port, url=url), max_payload=1000):
            with pytest.raises(TimeoutError):
                await until(is_connected, 0.3)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path, "authority")[0]))
        async with bridge_to(mosquitto.port, edge, url=url):
            pass
    finally:
        mosquitto.stop()


async def test_a_bridge_without_its_broker_can_be_stopped() -> None:
    edge = Answers(lambda: Outcome(status_code=200))
    async with asyncio.timeout(5), bridging(edge, settings_of(free_port()), max_payload=1000):
        await asyncio.sleep(0)


async def test_there_is_no_bridge_without_a_url() -> None:
    async with bridging(Answers(lambda: Outcome(status_code=200)), BridgeSettings(), max_payload=1000):
        assert not any(task.get_name() == "bridge" for task in asyncio.all_tasks())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", Broker("broker", 1883, False, None, None)),
        ("mqtts://broker", Broker("broker", 8883, True, None, None)),
        ("mqtt://a%40b:c%2Fd@[::1]:2883/", Broker("::1", 2883, False, "a@b", "c/d")),
    ],
)
def test_a_url_says_where_the_broker_is(url: str, expected: Broker) -> None:
    assert Broker.of(SecretStr(url)) == expected


@pytest.mark.parametrize(
    "url", ["broker:1883", "http://broker", "mqtt://", "mqtt://h:99999", "mqtt://secret@h:x", "mqtt://h/path"]
)
def test_an_unusable_url_is_a_problem_of_the_start(url: str) -> None:
    with pytest.raises(StartError, match=r"KPC_BRIDGE_URL.*must be mqtt://") as raised:
        load(BridgeSettings, {"KPC_BRIDGE_URL": url}, "KPC_BRIDGE_")
    assert "secret" not in str(raised.value)


def test_replicas_on_different_hosts_have_different_names() -> None:
    assert load(BridgeSettings, {}, "KPC_BRIDGE_").client_id == f"kpc-{socket.gethostname()}"
    assert load(BridgeSettings, {}, "KPC_BRIDGE_").url is None
