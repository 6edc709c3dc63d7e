"""Extensions of others on NATS, two replicas of KPC, and devices like Kaa's: what is sent to them unasked."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from kaa_common import extension
from kaa_common.avro import decode, encode
from kaa_common.bus import BusMessage, connect
from kaa_common.messages.elce import CONNECTED, DISCONNECTED
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Rpc, event_header
from support.ports import free_port
from support.stack import SeparateStack, running_separate_stack
from support.waiting import until

from .conftest import CONNACK, PATIENCE, Endpoint, Message, MqttDevice, connect_packet, mqtt_connection, publish_packet

CEX, CMX = "cex", "cmx"
COMMANDS, CONFIGURATION = b'[{"id":1,"payload":{}}]', b'{"configId":"7","config":{"level":3}}'


@dataclass
class Replicas:
    """Two replicas of KPC of one platform, by their MQTT ports."""

    stack: SeparateStack
    ports: tuple[int, int]
    app_version: str = ""

    def register(self) -> Endpoint:
        with httpx.Client(headers=self.stack.headers, trust_env=False, timeout=PATIENCE) as rest:
            body = {"appVersion": {"name": self.app_version}}
            url = f"{self.stack.url_of('epr')}/epr/api/v1/endpoints"
            registered = rest.post(url, json=body).raise_for_status().json()
        return Endpoint(id=registered["endpointId"], token=registered["token"], app_version=self.app_version)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    environ = {"KPC_EXTENSIONS": f"epmx,{CEX},{CMX}"}
    with running_separate_stack(tmp_path_factory.mktemp("pushes"), environ) as stack:
        another_port = free_port()
        another = stack.process_of("kpc", environ={"KPC_MQTT_PORT": str(another_port)})
        another.start()
        try:
            replicas = Replicas(stack, (stack.mqtt_port, another_port))
            with httpx.Client(headers=stack.headers, base_url=stack.url_of("tekton"), trust_env=False) as rest:
                applications = "/tekton/api/v1/applications"
                rest.post(applications, json={"name": "pushed"}).raise_for_status()
                created = rest.post(f"{applications}/pushed/app-versions", json={"nameSuffix": "v1"})
                replicas.app_version = created.raise_for_status().json()["name"]
            yield replicas
        finally:
            another.stop()


@dataclass
class Extensions:
    """Commands and configuration, and all that is said on the bus about endpoints that come and go."""

    rpc: Rpc
    received: list[ClientData] = field(default_factory=list)
    replica_ids: dict[str, str] = field(default_factory=dict)
    """Endpoint id to the replica that its last request came through."""
    states: dict[str, list[str]] = field(default_factory=dict)

    async def start(self) -> None:
        for instance in (CEX, CMX):
            await extension.serve(self.rpc, instance, self._answer)
            await self.rpc.bus.subscribe(CLIENT_DATA.subject(instance), self._note)
        for event in (CONNECTED, DISCONNECTED):
            await self.rpc.bus.subscribe(event.subject("kpc"), self._hear)
        await self.rpc.bus.flush(PATIENCE)

    async def push(self, endpoint: Endpoint, instance: str, resource_path: str, payload: bytes) -> None:
        await extension.push(
            self.rpc,
            "kpc",
            instance=instance,
            app_version_name=endpoint.app_version,
            endpoint_id=endpoint.id,
            resource_path=resource_path,
            payload=payload,
        )

    async def _answer(self, request: ClientData) -> bytes:
        self.received.append(request)
        return COMMANDS if request.resource_path.startswith("/command") else CONFIGURATION

    async def _note(self, message: BusMessage) -> None:
        request = decode(ClientData, message.data)
        self.replica_ids[request.endpoint_id or ""] = message.reply

    async def _hear(self, message: BusMessage) -> None:
        what = message.subject.rpartition(".")[2]
        event = decode((CONNECTED if what == "connected" else DISCONNECTED).record, message.data)
        for endpoint_id in event.endpoints:
            self.states.setdefault(endpoint_id, []).append(what)


@pytest.fixture
async def extensions(replicas: Replicas) -> AsyncIterator[Extensions]:
    async with connect(replicas.stack.nats_url, "extensions") as bus:
        rpc = Rpc(bus, "extensions")
        await rpc.start()
        started = Extensions(rpc)
        await started.start()
        yield started


@asynccontextmanager
async def device_of(port: int) -> AsyncIterator[MqttDevice]:
    async with mqtt_connection(port) as (reader, writer):
        device = MqttDevice(reader, writer)
        device.send(connect_packet())
        assert await device.receive() == (CONNACK, b"\x00\x00")
        yield device


def topic_of(endpoint: Endpoint, instance: str, rest: str) -> str:
    return f"kp1/{endpoint.app_version}/{instance}/{endpoint.token}/{rest}"


async def test_a_command_reaches_a_device_that_only_subscribed_whichever_replica_it_is_on(
    replicas: Replicas, extensions: Extensions
) -> None:
    for port in replicas.ports:
        endpoint = replicas.register()
        async with device_of(port) as device:
            await device.subscribe(topic_of(endpoint, CEX, "command/reboot/+"))
            await until(lambda: endpoint.id in extensions.states)  # noqa: B023 # awaited
            await extensions.push(endpoint, CEX, "/command/reboot", COMMANDS)
            received = await device.next_message()
            assert (received.topic, received.payload) == (topic_of(endpoint, CEX, "command/reboot/status"), COMMANDS)
            device.send(publish_packet(topic_of(endpoint, CEX, "result/reboot"), b"[]", None))
            await until(lambda: any(it.resource_path == "/result/reboot" for it in extensions.received))
            assert (await device.next_message()).topic == topic_of(endpoint, CEX, "result/reboot/status")
            assert await device.settle() == []


async def test_a_configuration_reaches_a_device_that_only_published(replicas: Replicas, extensions: Extensions) -> None:
    endpoint = replicas.register()
    async with device_of(replicas.ports[0]) as device:
        device.send(publish_packet(topic_of(endpoint, CMX, "config/json"), b'{"observe":true}', None))
        answer = Message(topic_of(endpoint, CMX, "config/json/status"), CONFIGURATION, 0)
        assert await device.next_message() == answer
        await extensions.push(endpoint, CMX, "/config/json", CONFIGURATION)
        assert await device.next_message() == answer
        device.send(publish_packet(topic_of(endpoint, CMX, "applied/json/5"), b'{"configId":"7"}', None))
        assert (await device.next_message()).topic == topic_of(endpoint, CMX, "applied/json/5/status")
        assert await device.settle() == []


async def test_a_device_that_moves_to_another_replica_takes_its_messages_with_it(
    replicas: Replicas, extensions: Extensions
) -> None:
    endpoint = replicas.register()
    async with device_of(replicas.ports[0]) as before:
        before.send(publish_packet(topic_of(endpoint, CEX, "command/reboot"), b"", None))
        await before.next_message()
        await until(lambda: endpoint.id in extensions.replica_ids)
        first_subject = extensions.replica_ids[endpoint.id]
        await asyncio.sleep(0.002)  # to be the later one by the clock, too
        async with device_of(replicas.ports[1]) as after:
            after.send(publish_packet(topic_of(endpoint, CEX, "command/reboot"), b"", None))
            await after.next_message()
            await until(lambda: extensions.replica_ids[endpoint.id] != first_subject)
            await until(lambda: extensions.states[endpoint.id] == ["connected", "connected"])

            # To all, and to the replica that does not hold it any more.
            expected = Message(topic_of(endpoint, CEX, "command/reboot/status"), COMMANDS, 0)
            await extensions.push(endpoint, CEX, "/command/reboot", COMMANDS)
            assert await after.next_message() == expected
            assert await before.settle() == []
            await push_to(first_subject, extensions, endpoint)
            assert await after.next_message() == expected
            assert await after.settle() == await before.settle() == []
        # What is left is the older connection.
        await until(lambda: extensions.states[endpoint.id] == ["connected", "connected", "disconnected", "connected"])
        await extensions.push(endpoint, CEX, "/command/reboot", COMMANDS)
        assert await before.next_message() == expected
    await until(lambda: extensions.states[endpoint.id][4:] == ["disconnected"])


async def push_to(subject: str, extensions: Extensions, endpoint: Endpoint) -> None:
    """As `Extensions.push`, to the subject that a request had as its reply subject."""
    push = ExtensionData(
        **event_header(),
        app_version_name=None,
        extension_instance_name=CEX,
        endpoint_id=endpoint.id,
        resource_path="/command/reboot",
        request_id=None,
        payload=COMMANDS,
        status_code=200,
    )
    await extensions.rpc.bus.publish(subject, encode(push))
