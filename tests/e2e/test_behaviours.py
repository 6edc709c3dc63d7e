"""What the devices, tutorials and clients of Kaa rely on, one test each, with real clients on the real platform.

The extensions that answer them stand for Kaa's own and are as small as can be; everything between them and the device
is the platform. The store makes no difference to any of this, so one of them is enough.
"""

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import gmqtt
import httpx
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv311
from paho.mqtt.enums import MQTTProtocolVersion

from .conftest import APPLICATION, PATIENCE, Endpoint, Message, Platform
from .kaa_extensions import BINARY_TOKEN, COMMANDS, CONFIGURATION, FIRMWARE, KaaExtensions, Received, kaa_extensions
from .paho_client import V31, V311, PahoClient, paho_client

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


@pytest.fixture
async def extensions(platform: Platform) -> AsyncIterator[KaaExtensions]:
    async with kaa_extensions(platform.stack.nats_url) as started:
        yield started


@pytest.fixture
def endpoint(platform: Platform) -> Endpoint:
    return platform.register(metadata=b'{"a":1}')


@pytest.fixture
async def device(platform: Platform) -> AsyncIterator[PahoClient]:
    """One that has said nothing yet but CONNECT."""
    async with paho_client(platform.stack.mqtt_port) as client:
        yield client


async def has_no_more(device: PahoClient, endpoint: Endpoint) -> bool:
    """Whether nothing else was sent to the device before what it asks for now."""
    topic = endpoint.path("/get/keys/31337")
    return (await device.ask(topic)).topic == f"{topic}/status"


async def until_here(device: PahoClient, endpoint: Endpoint) -> None:
    """Return when the platform knows where the endpoint is."""
    topic = endpoint.path("/get/keys/1")
    assert (await device.ask(topic)).topic == f"{topic}/status"


async def test_01_a_client_that_never_subscribes_gets_responses_and_pushes(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A client that only has callbacks for topics, and never sends SUBSCRIBE, gets responses and pushes."""
    assert await device.ask(endpoint.path("/get/1")) == Message(endpoint.path("/get/1/status"), b'{"a":1}', 0)
    await extensions.push(endpoint, "cex", "/command/reboot", COMMANDS)
    assert await device.next_message() == Message(endpoint.path("/command/reboot/status", "cex"), COMMANDS, 0)


async def test_02_commands_are_pushed_without_a_request_for_them(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """Commands come on `command/<type>/status`, to a client that only subscribed to them."""
    await device.subscribe(endpoint.path("/command/reboot/+", "cex"))
    pushed = False
    while not pushed:  # SUBACK does not wait until the platform knows whose token it is
        await extensions.push(endpoint, "cex", "/command/reboot", COMMANDS)
        try:
            async with asyncio.timeout(0.2):
                message = await device.messages.get()
            pushed = True
        except TimeoutError:
            continue
    assert message == Message(endpoint.path("/command/reboot/status", "cex"), COMMANDS, 0)
    assert [set(command) for command in json.loads(message.payload)] == [{"id", "payload"}]
    assert extensions.received.empty()


async def test_03_the_result_of_a_command_needs_no_request_id(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A device publishes to `result/<type>` without request id and expects nothing back."""
    device.publish(endpoint.path("/result/reboot", "cex"), b'[{"id":7,"statusCode":200,"payload":"done"}]')
    told = await extensions.next_received()
    assert (told.extension, told.endpoint_id, told.resource_path) == ("cex", endpoint.id, "/result/reboot")
    assert told.request_id is None
    assert await has_no_more(device, endpoint)


async def test_04_configuration_is_pushed_and_its_receipt_taken(
    platform: Platform, endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """Configuration comes on `config/json/status` and is confirmed on `applied/json`; a firmware's, on connecting."""
    await until_here(device, endpoint)
    await extensions.push(endpoint, "cmx", "/config/json", CONFIGURATION)
    assert await device.next_message() == Message(endpoint.path("/config/json/status", "cmx"), CONFIGURATION, 0)
    applied = endpoint.path("/applied/json/3", "cmx")
    assert await device.ask(applied, b'{"configId":"7","statusCode":200}') == Message(f"{applied}/status", b"", 0)

    updated = platform.register()
    extensions.firmware_for.add(updated.id)
    device.publish(updated.path("/get/1"))
    messages = [await device.next_message(), await device.next_message()]
    assert Message(updated.path("/get/1/status"), b"{}", 0) in messages
    assert Message(updated.path("/config/json/status", "cmx_ota"), FIRMWARE, 0) in messages


async def test_05_a_response_with_a_payload_comes_without_a_request_id_too(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A request without id is answered on `<topic>/status` when there is something to say."""
    token, config = endpoint.path("/token", "bcx"), endpoint.path("/config/json", "cmx")
    assert await device.ask(token) == Message(f"{token}/status", BINARY_TOKEN, 0)
    await device.subscribe(f"{config}/+")
    assert await device.ask(config) == Message(f"{config}/status", CONFIGURATION, 0)


async def test_06_request_id_0_is_a_request_id(endpoint: Endpoint, device: PahoClient) -> None:
    """The first request id of `itertools.count()` is 0, and is answered on `.../0/status`."""
    topic = endpoint.path("/update/keys/0")
    assert await device.ask(topic, b'{"b":2}') == Message(f"{topic}/status", b"", 0)


async def test_07_request_ids_go_up_to_99999_and_beyond(endpoint: Endpoint, device: PahoClient) -> None:
    """Arduino sketches draw request ids up to 99,999; 1/KP has no lower bound for what is too large."""
    for request_id in (99, 999, 99_999, 2**31 - 1, *random.sample(range(1, 100_000), 5)):
        topic = endpoint.path(f"/get/{request_id}")
        assert await device.ask(topic) == Message(f"{topic}/status", b'{"a":1}', 0)


async def test_08_the_request_id_is_the_level_before_the_last(endpoint: Endpoint, device: PahoClient) -> None:
    """Clients split a response's topic: `status` or `error` is last, the request id before it."""
    for resource, suffix in (("/get/17", "status"), ("/put/18", "error")):
        *_, request_id, last = (await device.ask(endpoint.path(resource))).topic.split("/")
        assert [request_id, last] == [resource.rpartition("/")[2], suffix]


async def test_09_an_answer_comes_within_five_seconds(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """Tutorials give up after 5 s, so a device is told in time that an extension is silent."""
    topic = endpoint.path("/silence/1", "dcx")
    began = time.monotonic()
    answer = await device.ask(topic)
    assert time.monotonic() - began < 5
    assert (answer.topic, json.loads(answer.payload)["statusCode"]) == (f"{topic}/error", 504)


async def test_10_subscriptions_with_wildcards_are_accepted(endpoint: Endpoint, device: PahoClient) -> None:
    """Clients of Kaa subscribe with wildcards wherever MQTT allows one."""
    config, base = endpoint.path("/config/json", "cmx"), endpoint.path("/get")
    await device.subscribe(f"{config}/#", f"{config}/status/#", f"{config}/+/status", f"{base}/+", "kp1/#", "#", "+/+")
    assert await device.ask(f"{base}/1") == Message(f"{base}/1/status", b'{"a":1}', 0)
    assert await has_no_more(device, endpoint)


async def test_11_overlapping_subscriptions_deliver_each_message_once(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """Handlers act on every copy of a message, so of three subscriptions that match only one delivers it."""
    config = endpoint.path("/config/json", "cmx")
    await device.subscribe(f"{config}/#", f"{config}/status/#", f"{config}/+", f"{config}/status", "kp1/#")
    assert (await device.ask(config)).topic == f"{config}/status"
    await extensions.push(endpoint, "cmx", "/config/json", CONFIGURATION)
    assert await device.next_message() == Message(f"{config}/status", CONFIGURATION, 0)
    assert await has_no_more(device, endpoint)


async def test_12_a_subscription_to_nonsense_does_not_disconnect(endpoint: Endpoint, device: PahoClient) -> None:
    """Sketches subscribe to a request's own topic, and to whatever their buffer is called."""
    await device.subscribe(endpoint.path("/config/json", "cmx"))
    await device.subscribe("topic_buffer")
    await device.subscribe("kp1/unknown-v1/epmx/unknown/get/+/status")
    assert await has_no_more(device, endpoint)
    assert device.ended.empty()


async def test_13_an_answer_may_come_before_the_suback(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A client that publishes first and subscribes then gets the answer, whichever comes first."""
    topic = endpoint.path("/json/1", "dcx")
    device.publish(topic, b'{"temperature":21}')
    packet_id = device.subscribe_nowait(f"{topic}/+")
    assert await device.next_message() == Message(f"{topic}/status", b"", 0)
    await device.wait_acknowledged(packet_id)
    assert await has_no_more(device, endpoint)


async def test_14_an_unsubscribe_from_what_was_never_subscribed_is_acknowledged(
    endpoint: Endpoint, device: PahoClient
) -> None:
    """A client unsubscribes from the base of what it had subscribed to, and waits for UNSUBACK."""
    await device.subscribe(endpoint.path("/get/+"))
    await device.unsubscribe(endpoint.path("/get"), "never/subscribed/to")
    assert await has_no_more(device, endpoint)


async def test_15_requests_may_be_empty(endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions) -> None:
    """Clients send `''` or None where there is nothing to say."""
    for payload in ("", None, b""):
        topic = endpoint.path("/get/keys/5")
        assert await device.ask(topic, payload) == Message(f"{topic}/status", b'["a"]', 0)
        token = endpoint.path("/token/6", "bcx")
        assert await device.ask(token, payload) == Message(f"{token}/status", BINARY_TOKEN, 0)


async def test_16_a_client_id_may_be_empty_with_a_clean_session(platform: Platform, endpoint: Endpoint) -> None:
    """`client_id=None` of paho and `clientid: ""` of Node-RED are an empty client id, many at a time."""
    port = platform.stack.mqtt_port
    async with paho_client(port, None) as first, paho_client(port, "", V31) as second:
        assert await has_no_more(first, endpoint)
        assert await has_no_more(second, endpoint)
        assert await has_no_more(first, endpoint)
        assert first.ended.empty()


async def test_17_devices_that_share_a_client_id_do_not_end_each_other(platform: Platform) -> None:
    """The tutorials have one client id for all their readers."""
    port, shared = platform.stack.mqtt_port, "client-id-123ab"
    endpoints = [platform.register() for _ in range(3)]
    async with paho_client(port, shared) as a, paho_client(port, shared) as b, paho_client(port, shared) as c:
        for _ in range(2):
            for device, endpoint in zip((a, b, c), endpoints, strict=True):
                assert await has_no_more(device, endpoint)
        assert a.ended.empty()
        assert b.ended.empty()


@pytest.mark.parametrize("protocol", [V31, V311])
async def test_18_mqtt_3_1_and_3_1_1_with_keep_alive_60_qos_0_and_retain(
    platform: Platform, endpoint: Endpoint, protocol: MQTTProtocolVersion
) -> None:
    """Clients of the field speak MQTT 3.1 (`compatmode`) or 3.1.1, keep alive 60, QoS 0, here and there with RETAIN."""
    topic = endpoint.path("/update/keys/1")
    async with paho_client(platform.stack.mqtt_port, "device", protocol) as device:
        device.publish(topic, b'{"b":2}', qos=0, retain=True)
        assert await device.next_message() == Message(f"{topic}/status", b"", 0)
    assert platform.metadata(endpoint) == b'{"a":1,"b":2}'


async def test_19_nobody_has_to_show_a_username_or_a_password(platform: Platform, endpoint: Endpoint) -> None:
    """As long as the tenant requires nothing, clients have neither."""
    client, messages = gmqtt.Client("device"), asyncio.Queue[str]()

    async def on_message(client: object, topic: str, payload: bytes, qos: int, properties: object) -> int:
        messages.put_nowait(topic)
        return 0

    client.on_message = on_message
    async with asyncio.timeout(PATIENCE):
        await client.connect("127.0.0.1", platform.stack.mqtt_port, version=MQTTv311)
        client.publish(endpoint.path("/get/1"), b"")
        assert await messages.get() == endpoint.path("/get/1/status")
        await client.disconnect()


async def test_20_one_connection_speaks_for_several_endpoints(
    platform: Platform, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A gateway has one connection for all its endpoints, and tells their messages apart by the token."""
    endpoints = [platform.register(metadata=b'{"n":%d}' % number) for number in range(3)]
    endpoints.append(platform.register(platform.new_app_version(), b'{"n":3}'))
    for number, endpoint in enumerate(endpoints):
        assert (await device.ask(endpoint.path("/get/1"))).payload == b'{"n":%d}' % number
    for endpoint in endpoints:
        await extensions.push(endpoint, "cex", "/command/reboot", COMMANDS)
        assert await device.next_message() == Message(endpoint.path("/command/reboot/status", "cex"), COMMANDS, 0)


async def test_21_the_topic_of_a_result_is_that_of_the_command_with_words_replaced(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """A client makes the topic of the result from the topic the command came on, by replacing text."""
    await until_here(device, endpoint)
    await extensions.push(endpoint, "cex", "/command/reboot", COMMANDS)
    command = await device.next_message()
    results = [{"id": it["id"], "statusCode": 200, "payload": "done"} for it in json.loads(command.payload)]
    device.publish(command.topic.replace("command/reboot/status", "result/reboot"), json.dumps(results))
    told = await extensions.next_received()
    assert (told.endpoint_id, told.resource_path) == (endpoint.id, "/result/reboot")
    assert json.loads(told.payload) == results


@pytest.mark.parametrize("request_id", ["/9", ""])
async def test_22_an_error_is_known_by_the_last_level_of_its_topic(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions, request_id: str
) -> None:
    """Clients look at the suffix `/error` alone, with a request id and without one."""
    faults = {
        endpoint.path(f"/put{request_id}"): 404,
        endpoint.path(f"/json{request_id}", "dcx"): 400,
        f"kp1/unknown-v1/epmx/{endpoint.token}/get{request_id}": 404,
        f"kp1/{endpoint.app_version}/nosuch/{endpoint.token}/get{request_id}": 404,
        f"kp1/{endpoint.app_version}/epmx/unknown/get{request_id}": 401,
    }
    for topic, status_code in faults.items():
        answer = await device.ask(topic, b"5")
        assert answer.topic == f"{topic}/error"
        error = json.loads(answer.payload)
        assert error == {"statusCode": status_code, "reasonPhrase": error["reasonPhrase"]}


async def test_23_a_device_may_ask_to_be_told_of_commands(
    endpoint: Endpoint, device: PahoClient, extensions: KaaExtensions
) -> None:
    """`{"observe":true}` to `command/ping` without id after CONNECT: more follows when there is more."""
    topic = endpoint.path("/command/ping", "cex")
    device.publish(topic, b'{"observe":true}')
    told = await extensions.next_received()
    assert told == Received("cex", endpoint.id, "/command/ping", None, b'{"observe":true}')
    assert await device.next_message() == Message(f"{topic}/status", COMMANDS, 0)
    await extensions.push(endpoint, "cex", "/command/ping", COMMANDS)
    assert await device.next_message() == Message(f"{topic}/status", COMMANDS, 0)


async def test_24_http_answers_a_success_with_exactly_200(
    platform: Platform, endpoint: Endpoint, extensions: KaaExtensions
) -> None:
    """A client of Kaa takes nothing but 200 for a success of `epmx/<token>/update/keys`, or `dcx/<token>/json`."""
    async with httpx.AsyncClient(base_url=platform.stack.http_url, trust_env=False, timeout=PATIENCE) as http:
        updated = await http.post(f"/{endpoint.path('/update/keys')}", json={"b": 2})
        assert (updated.status_code, updated.content) == (200, b"")
        collected = await http.post(f"/{endpoint.path('/json', 'dcx')}", json=[{"temperature": 21}])
        assert (collected.status_code, collected.content) == (200, b"")
        assert (await extensions.next_received()).request_id is not None  # else dcx would not answer


async def test_25_tls_with_the_root_certificate_and_with_a_chain_in_client_crt(
    platform: Platform, endpoint: Endpoint, tmp_path: Path
) -> None:
    """One-way TLS trusts what "Get root certificate" gives; two-way TLS offers the chain of client.crt."""
    root, chain, key = (tmp_path / name for name in ("ca.crt", "client.crt", "client.key"))
    root.write_text(platform.rest.get("/kpc/api/v1/root-certificate").raise_for_status().text)
    issued = platform.rest.post("/ccm/api/v1/x509-credentials", json={}).raise_for_status().json()
    chain.write_text(issued["certificateChain"])
    key.write_text(issued["privateKey"])

    def one_way(client: paho.Client) -> None:
        client.tls_set(str(root))

    def two_way(client: paho.Client) -> None:
        client.tls_set(str(root), str(chain), str(key), tls_version=ssl.PROTOCOL_TLS_CLIENT)

    for prepare in (one_way, two_way):
        async with paho_client(platform.stack.tls_port, "device", prepare=prepare) as device:
            assert await has_no_more(device, endpoint)


async def test_26_an_application_version_is_the_application_and_the_version_joined_by_a_hyphen(
    platform: Platform, device: PahoClient
) -> None:
    """A client is configured with application and version, and joins them for the path."""
    application, version = APPLICATION, platform.new_app_version().removeprefix(f"{APPLICATION}-")
    endpoint = platform.register(f"{application}-{version}", b'{"a":1}')
    topic = f"kp1/{application}-{version}/epmx/{endpoint.token}/get/1"
    assert await device.ask(topic) == Message(f"{topic}/status", b'{"a":1}', 0)
