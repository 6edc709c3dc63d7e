"""What clients of MQTT 3.1, 3.1.1 and HTTP may do, with paho-mqtt 2.x, gmqtt and httpx as their users write it."""

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gmqtt
import httpx
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from .conftest import (
    CONNACK,
    PATIENCE,
    Message,
    MqttDevice,
    Platform,
    connect_packet,
    mqtt_connection,
    publish_packet,
)

V31, V311 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311


class PahoDevice:
    """A paho client that never subscribes; what it is sent waits in a queue."""

    def __init__(self, client_id: str, protocol: MQTTProtocolVersion) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol)
        self.messages: queue.Queue[Message] = queue.Queue()
        self.connected: queue.Queue[tuple[bool, bool]] = queue.Queue()
        self.disconnected: queue.Queue[ReasonCode] = queue.Queue()
        self.client.on_message = lambda client, userdata, message: self.messages.put(
            Message(message.topic, bytes(message.payload), message.qos)
        )
        self.client.on_connect = lambda client, userdata, flags, reason, properties: self.connected.put(
            (reason.is_failure, flags.session_present)
        )
        self.client.on_disconnect = lambda client, userdata, flags, reason, properties: self.disconnected.put(reason)

    def connect(self, platform: Platform) -> None:
        self.client.connect("127.0.0.1", platform.stack.mqtt_port, keepalive=60)
        self.client.loop_start()
        assert self.connected.get(timeout=PATIENCE) == (False, False)

    def ask(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False) -> Message:
        sent = self.client.publish(topic, payload, qos, retain)
        answer = self.messages.get(timeout=PATIENCE)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published()
        assert self.messages.empty()
        return answer

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def paho_device(
    platform: Platform,
    client_id: str = "",
    protocol: MQTTProtocolVersion = V311,
    prepare: Callable[[paho.Client], None] = lambda client: None,
) -> Iterator[PahoDevice]:
    device = PahoDevice(client_id, protocol)
    prepare(device.client)
    try:
        device.connect(platform)
        yield device
    finally:
        device.close()


@pytest.mark.parametrize("protocol", [V31, V311])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_2_updates_and_reads(platform: Platform, protocol: MQTTProtocolVersion, qos: int) -> None:
    endpoint = platform.register()
    update, get, wrong = endpoint.path("/update/keys/0"), endpoint.path("/get/1"), endpoint.path("/put/2")
    with paho_device(platform, "device", protocol) as device:
        answered_at = min(qos, 1)
        assert device.ask(update, b'{"a":[1.0]}', qos) == Message(f"{update}/status", b"", answered_at)
        assert device.ask(get, b"", qos) == Message(f"{get}/status", b'{"a":[1.0]}', answered_at)
        error = b'{"statusCode":404,"reasonPhrase":"unknown resource path"}'
        assert device.ask(wrong, b"", qos) == Message(f"{wrong}/error", error, answered_at)
    assert platform.metadata(endpoint) == b'{"a":[1.0]}'


@pytest.mark.parametrize("protocol", [V31, V311])
def test_paho_2_may_have_no_client_id_a_will_and_retain(platform: Platform, protocol: MQTTProtocolVersion) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/0")

    def leave_a_will(client: paho.Client) -> None:
        client.will_set(endpoint.path("/update"), b'{"will":1}', qos=1, retain=True)

    with paho_device(platform, "", protocol, leave_a_will) as device:
        assert device.ask(topic, b"", 1, retain=True) == Message(f"{topic}/status", b'{"a":1}', 1)
        connection = device.client.socket()
        assert connection is not None
        connection.close()  # so that a broker would publish the will
    with paho_device(platform, "", protocol) as device:
        assert device.ask(topic, b"", 1) == Message(f"{topic}/status", b'{"a":1}', 1)


def test_paho_2_subscribes_and_unsubscribes_as_it_likes(platform: Platform) -> None:
    endpoint = platform.register()
    subscribed: queue.Queue[list[int]] = queue.Queue()
    unsubscribed: queue.Queue[None] = queue.Queue()

    def follow(client: paho.Client) -> None:
        client.on_subscribe = lambda client, userdata, mid, reasons, properties: subscribed.put(
            [reason.value for reason in reasons]
        )
        client.on_unsubscribe = lambda client, userdata, mid, reasons, properties: unsubscribed.put(None)

    with paho_device(platform, "device", V311, follow) as device:
        device.client.subscribe([("kp1/#", 2), (endpoint.path("/get/+/status"), 1), ("topic_buffer", 0)])
        assert subscribed.get(timeout=PATIENCE) == [1, 1, 0]
        topic = endpoint.path("/get/0")
        assert device.ask(topic, b"", 1) == Message(f"{topic}/status", b"{}", 1)
        device.client.unsubscribe(["never/subscribed", "kp1/#"])
        unsubscribed.get(timeout=PATIENCE)
        assert device.ask(topic, b"", 1) == Message(f"{topic}/status", b"{}", 1)


def test_devices_that_share_a_client_id_do_not_end_each_other(platform: Platform) -> None:
    endpoints = [platform.register(metadata=b'{"n":%d}' % number) for number in range(2)]
    with paho_device(platform, "client-id-123ab") as first, paho_device(platform, "client-id-123ab") as second:
        for _ in range(3):
            for number, device in enumerate((first, second)):
                topic = endpoints[number].path("/get/1")
                assert device.ask(topic, b"") == Message(f"{topic}/status", b'{"n":%d}' % number, 0)
        assert first.disconnected.empty()
        assert second.disconnected.empty()


def test_a_device_that_comes_back_ends_the_connection_it_left_behind(platform: Platform) -> None:
    topic = platform.register().path("/get/1")
    with paho_device(platform, "device") as left_behind:
        left_behind.ask(topic, b"")
        left_behind.client.reconnect_delay_set(min_delay=60, max_delay=60)
        with paho_device(platform, "device") as back:
            back.ask(topic, b"")
            assert left_behind.disconnected.get(timeout=PATIENCE).is_failure
            back.ask(topic, b"")


def test_many_endpoints_speak_over_one_connection(platform: Platform) -> None:
    endpoints = [platform.register(metadata=b'{"n":%d}' % number) for number in range(10)]
    newer_version = platform.new_app_version()
    endpoints.append(platform.register(newer_version, b'{"n":10}'))
    with paho_device(platform, "gateway") as gateway:
        for number, endpoint in enumerate(endpoints):
            topic = endpoint.path("/get/1")
            assert gateway.ask(topic, b"", 1) == Message(f"{topic}/status", b'{"n":%d}' % number, 1)


async def test_a_publish_right_behind_connect_is_answered(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/1")
    async with mqtt_connection(platform.stack.mqtt_port) as (reader, writer):
        device = MqttDevice(reader, writer)
        device.send(connect_packet("eager"), publish_packet(topic, b"", 1), publish_packet(topic, b"", None))
        assert await device.receive() == (CONNACK, b"\x00\x00")
        assert await device.next_message() == Message(f"{topic}/status", b'{"a":1}', 1)
        assert await device.receive() == (0x40, b"\x00\x01")
        assert await device.next_message() == Message(f"{topic}/status", b'{"a":1}', 0)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_gmqtt_updates_and_reads(platform: Platform, qos: int) -> None:
    endpoint = platform.register()
    messages: asyncio.Queue[Message] = asyncio.Queue()

    async def on_message(client: object, topic: str, payload: bytes, qos: int, properties: object) -> int:
        messages.put_nowait(Message(topic, payload, qos))
        return 0

    client = gmqtt.Client("device", clean_session=True)
    client.on_message = on_message
    async with asyncio.timeout(PATIENCE):
        await client.connect("127.0.0.1", platform.stack.mqtt_port, version=MQTTv311)
        for number in range(5):
            update, get = endpoint.path(f"/update/{number}"), endpoint.path(f"/get/{number}")
            client.publish(update, b'{"n":%d}' % number, qos=qos)
            client.publish(get, b"", qos=qos)
            assert await messages.get() == Message(f"{update}/status", b"", min(qos, 1))
            assert await messages.get() == Message(f"{get}/status", b'{"n":%d}' % number, min(qos, 1))
        await client.disconnect()
    assert messages.empty()
    assert platform.metadata(endpoint) == b'{"n":4}'


async def test_httpx_updates_and_reads_over_many_connections_at_once(platform: Platform) -> None:
    endpoint = platform.register()
    async with httpx.AsyncClient(base_url=platform.stack.http_url, trust_env=False, timeout=PATIENCE) as device:

        async def update(number: int) -> None:
            path = "/" + endpoint.path("/update/keys")
            answer = await device.post(path, json={f"k{number}": number})
            assert (answer.status_code, answer.content) == (200, b"")

        async with asyncio.TaskGroup() as updates:
            for number in range(30):
                updates.create_task(update(number))
        answer = await device.post("/" + endpoint.path("/get"))
    assert answer.json() == {f"k{number}": number for number in range(30)}
    assert answer.content == platform.metadata(endpoint)
