"""The MQTT binding with real clients on real sockets, an extension and the other services over a real bus."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kaa_common.avro import encode
from kaa_common.budget import Budget
from kaa_common.messages.elce import CONNECTED, DISCONNECTED, ConnectedEvent, DisconnectedEvent
from kaa_common.messages.esp import ExtensionData
from kaa_common.rpc import Rpc, event_header
from kaa_common.subjects import replica_subject, service_subject
from kpc.client_auth import ClientAuth
from kpc.connectivity import Connectivity, announcing
from kpc.device_mqtt import DeviceMqtt, result_of
from kpc.edge import Edge, Outcome
from kpc.mqtt_listeners import TcpListener
from kpc.mqtt_server import MqttServer
from kpc.pushes import Pushes
from kpc.rate_limits import RateLimit
from kpc.tenants import Tenants
from support.waiting import until

from .conftest import APP_VERSION, ENDPOINT, OTHER_ENDPOINT, OTHER_TOKEN, TOKEN, TOKEN_ID, Backend
from .mqtt_device import PUBACK, Message, mqtt_device


@dataclass
class Replica:
    """A communication replica, and what was heard of it."""

    rpc: Rpc
    backend: Backend
    handler: DeviceMqtt
    server: MqttServer
    heard: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    async def push(self, *, to_all: bool = False, **values: Any) -> None:
        """Send what an extension sends of its own accord."""
        push = replace(
            ExtensionData(
                **event_header(),
                app_version_name=None,
                extension_instance_name=self.backend.extension,
                endpoint_id=ENDPOINT,
                resource_path="/command/reboot",
                request_id=None,
                payload=b"[1]",
                status_code=200,
            ),
            **values,
        )
        subject = (
            service_subject(self.backend.kpc, "esp", "ExtensionData")
            if to_all
            else replica_subject(self.rpc.replica_id, "esp", "ExtensionData")
        )
        await self.backend.rpc.bus.publish(subject, encode(push))
        await self.backend.rpc.bus.flush(5)
        await self.rpc.bus.flush(5)


@asynccontextmanager
async def working(edge: Edge, rpc: Rpc, backend: Backend, **options: Any) -> AsyncIterator[Replica]:
    connectivity = Connectivity(rpc, backend.kpc)
    client_auth = ClientAuth(rpc, backend.ccm, Tenants(rpc, backend.tekton, backend.kpc), "default")
    handler = DeviceMqtt(edge, connectivity, client_auth, **{"connection_rate": 10_000.0, **options})
    pushes = Pushes(rpc, backend.kpc, handler, connectivity.presence, handler.listeners, edge.traffic)
    await pushes.start()
    heard: list[tuple[str, dict[str, str]]] = []

    async def came(event: ConnectedEvent) -> None:
        heard.append(("connected", dict(event.endpoints)))

    async def went(event: DisconnectedEvent) -> None:
        heard.append(("disconnected", dict(event.endpoints)))

    await backend.rpc.listen(CONNECTED, backend.kpc, came)
    await backend.rpc.listen(DISCONNECTED, backend.kpc, went)
    await backend.rpc.bus.flush(5)
    async with announcing(connectivity), MqttServer(handler, [TcpListener("127.0.0.1", 0)]) as server:
        await rpc.bus.flush(5)
        yield Replica(rpc, backend, handler, server, heard)


@pytest.fixture
async def replica(edge: Edge, edge_rpc: Rpc, backend: Backend) -> AsyncIterator[Replica]:
    await backend.serve_extension()
    async with working(edge, edge_rpc, backend) as replica:
        yield replica


def pushed_to(backend: Backend, token: str = TOKEN, rest: str = "command/reboot/status", qos: int = 0) -> Message:
    return Message(f"kp1/{APP_VERSION}/{backend.extension}/{token}/{rest}", b"[1]", qos)


# Pushes


@pytest.mark.parametrize("to_all", [False, True])
async def test_a_push_reaches_a_client_that_has_only_published(
    replica: Replica, backend: Backend, to_all: bool
) -> None:
    async with mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"))
        await device.next_message()
        await replica.push(to_all=to_all)
        assert await device.next_message() == pushed_to(backend)
        assert await device.settle() == []


async def test_a_push_reaches_a_client_that_has_only_subscribed_once(replica: Replica, backend: Backend) -> None:
    async with mqtt_device(replica.port) as device:
        filters = [backend.path(f"{TOKEN}/command/reboot/+"), backend.path(f"{TOKEN}/#"), "kp1/#"]
        assert await device.subscribe(*filters) == []
        await until(lambda: bool(replica.heard))
        await replica.push()
        assert await device.next_message() == pushed_to(backend)
        assert await device.settle() == []
    assert backend.received == []
    assert replica.heard[0] == ("connected", {ENDPOINT: APP_VERSION})


async def test_a_push_is_sent_at_the_highest_qos_that_the_client_has_used_at_most_1(
    replica: Replica, backend: Backend
) -> None:
    async with mqtt_device(replica.port) as device:
        await device.subscribe(backend.path(f"{TOKEN}/#"), qos=2)
        await until(lambda: bool(replica.heard))
        device.publish(backend.path(f"{TOKEN}/get/1"))
        await device.next_message()
        await replica.push()
        assert await device.next_message() == pushed_to(backend, qos=1)


async def test_a_push_with_a_request_id_an_error_or_a_version_has_it_on_its_topic(
    replica: Replica, backend: Backend
) -> None:
    async with mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"))
        await device.next_message()
        await replica.push(request_id=0)
        assert (await device.next_message()).topic.endswith(f"{TOKEN}/command/reboot/0/status")
        await replica.push(app_version_name="app-v7", payload=None)
        message = await device.next_message()
        assert (message.topic, message.payload) == (
            f"kp1/app-v7/{backend.extension}/{TOKEN}/command/reboot/status",
            b"",
        )
        await replica.push(status_code=410, reason_phrase="gone", payload=b"not shown")
        error = await device.next_message()
        assert error.topic == backend.path(f"{TOKEN}/command/reboot/error")
        assert json.loads(error.payload) == {"statusCode": 410, "reasonPhrase": "gone"}


async def test_a_push_goes_to_every_connection_of_its_endpoint_with_the_token_used_there_and_to_no_other(
    replica: Replica, backend: Backend
) -> None:
    backend.tokens["second"] = (ENDPOINT, "token-id-2")
    async with (
        mqtt_device(replica.port) as first,
        mqtt_device(replica.port) as second,
        mqtt_device(replica.port) as stranger,
    ):
        for device, token in ((first, TOKEN), (second, "second"), (stranger, OTHER_TOKEN)):
            device.publish(backend.path(f"{token}/get/1"))
            await device.next_message()
        await replica.push(to_all=True)
        assert await first.next_message() == pushed_to(backend)
        assert await second.next_message() == pushed_to(backend, "second")
        assert await stranger.settle() == []
    await until(lambda: len(replica.heard) == 4)
    assert sorted(what for what, endpoints in replica.heard if ENDPOINT in endpoints) == ["connected", "disconnected"]


async def test_a_push_of_an_endpoint_unaware_extension_reaches_whoever_addressed_it(
    replica: Replica, backend: Backend
) -> None:
    topic = f"kp1/{APP_VERSION}/{backend.unaware}/time"
    async with (
        mqtt_device(replica.port) as publisher,
        mqtt_device(replica.port) as subscriber,
        mqtt_device(replica.port) as stranger,
    ):
        publisher.publish(f"{topic}/1")
        assert (await publisher.next_message()).topic == f"{topic}/1/error"  # nobody serves it
        await subscriber.subscribe(f"{topic}/#")
        stranger.publish(backend.path(f"{TOKEN}/get/1"))
        await stranger.next_message()
        await until(lambda: len(replica.handler.listeners.of(APP_VERSION, backend.unaware)) == 2)
        await replica.push(
            endpoint_id=None,
            app_version_name=APP_VERSION,
            extension_instance_name=backend.unaware,
            resource_path="/time",
        )
        for device in (publisher, subscriber):
            assert await device.next_message() == Message(f"{topic}/status", b"[1]", 0)
        assert await stranger.settle() == []


async def test_a_push_to_a_replica_that_does_not_hold_the_endpoint_is_passed_on_once_to_all(
    replica: Replica, backend: Backend
) -> None:
    heard: list[bytes] = []

    async def hear(message: object) -> None:
        heard.append(b"")

    await backend.rpc.bus.subscribe(service_subject(backend.kpc, "esp", "ExtensionData"), hear)
    await backend.rpc.bus.flush(5)
    await replica.push()
    await until(lambda: bool(heard))
    await replica.push(to_all=True)
    await until(lambda: len(heard) == 2)
    await replica.rpc.bus.flush(5)
    await backend.rpc.bus.flush(5)
    assert len(heard) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"extension_instance_name": None},
        {"endpoint_id": None},
        {"status_code": 99},
        {"resource_path": "command"},
        {"resource_path": "/command/#"},
        {"resource_path": "/" + "a" * 5000},
        {"timestamp": 1, "timeout": 1},
    ],
    ids=lambda values: next(iter(values)),
)
async def test_a_push_that_cannot_be_delivered_to_anybody_harms_nobody(
    replica: Replica, backend: Backend, values: dict[str, Any]
) -> None:
    async with mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"))
        await device.next_message()
        await replica.push(**values)
        await replica.push()
        assert await device.next_message() == pushed_to(backend)


async def test_an_answer_that_comes_too_late_is_no_push(replica: Replica, backend: Backend, edge: Edge) -> None:
    edge._limits = replace(edge._limits, request_timeout=0.2)
    backend.silent_for = ENDPOINT
    async with mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"))
        assert (await device.next_message()).topic.endswith("/get/1/error")
        (request,) = backend.received
        await replica.push(correlation_id=request.correlation_id)
        await replica.push()
        assert await device.next_message() == pushed_to(backend)


# Who is here


async def test_endpoints_and_versions_share_a_connection_and_go_with_it_in_one_event(
    replica: Replica, backend: Backend
) -> None:
    backend.versions.add("app-v2")
    async with mqtt_device(replica.port) as gateway:
        gateway.publish(backend.path(f"{TOKEN}/get/1"))
        gateway.publish(backend.path(f"{OTHER_TOKEN}/get/1").replace(APP_VERSION, "app-v2"))
        assert {(await gateway.next_message()).topic.split("/")[1] for _ in range(2)} == {APP_VERSION, "app-v2"}
    await until(lambda: len(replica.heard) == 3)
    assert replica.heard[2] == ("disconnected", {ENDPOINT: APP_VERSION, OTHER_ENDPOINT: "app-v2"})


@pytest.mark.parametrize(
    "topic_filter",
    ["topic_buffer", "#", "kp1/#", "kp1/app-v1/{extension}/wrong/#", "kp1/none/{extension}/t0ken/get", "kp1/+/+/+/+"],
)
async def test_a_subscription_that_names_nobody_is_confirmed_and_says_nothing(
    replica: Replica, backend: Backend, topic_filter: str
) -> None:
    async with mqtt_device(replica.port) as device:
        assert await device.subscribe(topic_filter.format(extension=backend.extension)) == []
        device.publish(backend.path(f"{TOKEN}/get/1"))
        await device.next_message()
    await until(lambda: len(replica.heard) == 2)
    assert [what for what, _ in replica.heard] == ["connected", "disconnected"]


async def test_wrong_tokens_in_subscriptions_are_counted_as_guesses(replica: Replica, backend: Backend) -> None:
    guesses = replica.handler._guesses = Budget(burst=20, per_second=0, max_names=10)
    async with mqtt_device(replica.port) as device:
        await device.subscribe(*(backend.path(f"wrong{number}/#") for number in range(50)))
        (connection_id,) = replica.handler.clients.connections
        await until(lambda: guesses.is_exhausted(str(connection_id), 0.0))
        device.publish(backend.path(f"{TOKEN}/get/1"))
        error = await device.next_message()
        assert json.loads(error.payload) == {"statusCode": 429, "reasonPhrase": "too many wrong endpoint tokens, wait"}
    assert backend.validations == 20


async def test_who_subscribed_while_creds_was_away_is_asked_for_again(replica: Replica, backend: Backend) -> None:
    backend.token_status = 503
    async with mqtt_device(replica.port) as device, mqtt_device(replica.port) as gone:
        for client in (device, gone):
            await client.subscribe(backend.path(f"{TOKEN}/command/+"))
        await until(lambda: len(replica.handler.subscribers._waiting) == 2)
        await replica.handler.subscribers.ask_again()
        assert backend.validations == 4
        gone.close()
        await until(lambda: len(replica.handler.clients.connections) == 1)
        backend.token_status = 200
        await replica.handler.subscribers.ask_again()
        assert backend.validations == 5
        await replica.push()
        assert await device.next_message() == pushed_to(backend)
    await until(lambda: len(replica.heard) == 2)
    assert not replica.handler.connectivity.presence.tokens()


async def test_a_revoked_token_ends_the_sessions_on_all_connections_but_not_the_connections(
    replica: Replica, backend: Backend
) -> None:
    async with mqtt_device(replica.port) as first, mqtt_device(replica.port) as second:
        for device in (first, second):
            device.publish(backend.path(f"{TOKEN}/get/1"))
            await device.next_message()
        assert await replica.handler.end_sessions(ENDPOINT, [TOKEN_ID]) == 2
        await replica.push()
        for device in (first, second):
            assert await device.settle() == []
    await until(lambda: len(replica.heard) == 2)


# Who came back


async def test_a_device_that_came_back_ends_its_older_connection(replica: Replica, backend: Backend) -> None:
    async with mqtt_device(replica.port, "device") as older, mqtt_device(replica.port, "device") as newer:
        for device in (older, newer):
            device.publish(backend.path(f"{TOKEN}/get/1"))
            await device.next_message()
        await older.until_closed()
        await replica.push()
        assert await newer.next_message() == pushed_to(backend)
    await until(lambda: len(replica.heard) == 2)
    assert [what for what, _ in replica.heard] == ["connected", "disconnected"]


@pytest.mark.parametrize(("client_ids", "tokens"), [(("a", "b"), (TOKEN, TOKEN)), (("a", "a"), (TOKEN, OTHER_TOKEN))])
async def test_who_shares_only_a_client_id_or_only_an_endpoint_ends_nobody(
    replica: Replica, backend: Backend, client_ids: tuple[str, str], tokens: tuple[str, str]
) -> None:
    async with mqtt_device(replica.port, client_ids[0]) as one, mqtt_device(replica.port, client_ids[1]) as other:
        for device, token in ((one, tokens[0]), (other, tokens[1]), (one, tokens[0])):
            device.publish(backend.path(f"{token}/get/1"))
            await device.next_message()
        assert await one.settle() == await other.settle() == []


async def test_a_strict_take_over_ends_whoever_had_the_client_id(edge: Edge, edge_rpc: Rpc, backend: Backend) -> None:
    async with (
        working(edge, edge_rpc, backend, strict_take_over=True) as replica,
        mqtt_device(replica.port, "a") as first,
        mqtt_device(replica.port, "b") as other,
        mqtt_device(replica.port) as nameless,
        mqtt_device(replica.port, "a") as second,
        mqtt_device(replica.port),
    ):
        await first.until_closed()
        assert await second.settle() == await other.settle() == await nameless.settle() == []
    assert not replica.handler.clients.connections
    assert not replica.handler.clients._by_client_id


# Too much


async def test_a_connection_over_its_rate_is_told_so_and_acknowledged(
    edge: Edge, edge_rpc: Rpc, backend: Backend
) -> None:
    await backend.serve_extension()
    async with working(edge, edge_rpc, backend, connection_rate=0.001) as replica, mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"))
        assert (await device.next_message()).topic.endswith("/get/1/status")
        device.publish(backend.path(f"{TOKEN}/get/2"), qos=1)
        (error,) = await device.messages_until(PUBACK)
        assert error.topic == backend.path(f"{TOKEN}/get/2/error")
        assert json.loads(error.payload) == {
            "statusCode": 429,
            "reasonPhrase": "too many messages of this connection, wait 1000 s",
        }
        async with mqtt_device(replica.port) as another:
            another.publish(backend.path(f"{OTHER_TOKEN}/get/1"))
            assert (await another.next_message()).topic.endswith("/get/1/status")


async def test_a_flood_keeps_nobody_waiting(replica: Replica, backend: Backend) -> None:
    count = 2000
    async with mqtt_device(replica.port) as flooding, mqtt_device(replica.port) as device:
        for _ in range(count):
            flooding.publish(backend.path(f"{TOKEN}/update"))
        for number in range(10):
            device.publish(backend.path(f"{OTHER_TOKEN}/get/{number}"))
            assert (await device.next_message()).topic.endswith(f"/get/{number}/status")
        before = sum(request.endpoint_id == ENDPOINT for request in backend.received)
        assert before < count, "the device was answered after all of the flood"


@pytest.mark.parametrize(
    ("status_code", "reason_code"),
    [(400, 0x83), (401, 0x87), (403, 0x87), (404, 0x90), (409, 0x83), (413, 0x97), (429, 0x97)],
)
def test_a_refusal_has_its_reason_code_in_mqtt_5(status_code: int, reason_code: int) -> None:
    result = result_of(Outcome(status_code=status_code, reason_phrase="so it is"))
    assert (result.reason_code, result.reason_string, result.is_withheld) == (reason_code, "so it is", False)


@pytest.mark.parametrize(("status_code", "is_withheld"), [(200, False), (299, False), (500, True), (503, True)])
def test_what_is_not_known_to_be_done_stays_with_the_client(status_code: int, is_withheld: bool) -> None:
    result = result_of(Outcome(status_code=status_code))
    assert (result.reason_code, result.is_withheld) == (0, is_withheld)


async def test_an_endpoint_over_its_rate_is_told_so_wherever_it_comes_from(replica: Replica, backend: Backend) -> None:
    replica.handler._edge._rates = RateLimit("endpoint", 0.001, 10)
    async with mqtt_device(replica.port) as one, mqtt_device(replica.port) as other:
        one.publish(backend.path(f"{TOKEN}/get/1"))
        assert (await one.next_message()).topic.endswith("/get/1/status")
        other.publish(backend.path(f"{TOKEN}/get/2"))
        error = await other.next_message()
        assert json.loads(error.payload)["reasonPhrase"] == "too many messages of this endpoint, wait 1000 s"
        one.publish(backend.path(f"{OTHER_TOKEN}/get/1"))
        assert (await one.next_message()).topic.endswith("/get/1/status")


async def test_traffic_is_counted_as_the_platform_sees_it(replica: Replica, backend: Backend) -> None:
    backend.answer = (200, b"12345", None)
    async with mqtt_device(replica.port) as device:
        device.publish(backend.path(f"{TOKEN}/get/1"), b"123")
        await device.next_message()
        await replica.push()
        await device.next_message()
    (count,) = replica.handler._edge.traffic._counts.items()
    (tenant_id, app_name, endpoint_id), it = count
    assert (tenant_id, app_name, endpoint_id) == ("default", "app", ENDPOINT)
    assert (it.received_payload, it.received_messages, it.sent_payload, it.sent_messages) == (3, 1, 8, 2)
