import secrets
from collections.abc import AsyncIterator

import pytest

from kaa_common import extension
from kaa_common.avro import decode
from kaa_common.bus import BusMessage, NatsBus, connect
from kaa_common.clock import Deadline
from kaa_common.errors import Forbidden
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Rpc, request_header
from support.nats_server import NatsServer
from support.waiting import until


@pytest.fixture
async def other_rpc(nats_server: NatsServer) -> AsyncIterator[Rpc]:
    """A process that is not the extension's."""
    async with connect(nats_server.url, "other") as connection:
        started = Rpc(connection, f"other-{secrets.token_hex(4)}")
        await started.start()
        yield started


def request_of(payload: bytes) -> ClientData:
    return ClientData(
        **request_header(Deadline.after(10)),
        app_version_name="app-v1",
        endpoint_id="endpoint-1",
        resource_path="/echo",
        request_id=3,
        payload=payload,
    )


async def test_an_extension_is_a_handler_of_payloads(rpc: Rpc, other_rpc: Rpc) -> None:
    async def echo(request: ClientData) -> bytes:
        if request.payload == b"secret":
            raise Forbidden("not that")
        return request.payload

    instance = f"echo-{secrets.token_hex(4)}"
    await extension.serve(rpc, instance, echo)
    await rpc.bus.flush(5.0)
    answer = (await other_rpc.call(CLIENT_DATA, instance, request_of(b"hello"))).message
    refusal = (await other_rpc.call(CLIENT_DATA, instance, request_of(b"secret"))).message

    assert (answer.status_code, answer.reason_phrase, answer.payload) == (200, None, b"hello")
    assert (answer.extension_instance_name, answer.app_version_name) == (instance, "app-v1")
    assert (answer.endpoint_id, answer.resource_path, answer.request_id) == ("endpoint-1", "/echo", 3)
    assert (refusal.status_code, refusal.reason_phrase, refusal.payload) == (403, "not that", None)
    assert (refusal.endpoint_id, refusal.resource_path, refusal.request_id) == ("endpoint-1", "/echo", 3)


async def test_a_push_reaches_every_replica_of_kpc(rpc: Rpc, bus: NatsBus, nats_server: NatsServer) -> None:
    kpc, received = f"kpc-{secrets.token_hex(4)}", list[ExtensionData]()

    async def receive(message: BusMessage) -> None:
        received.append(decode(ExtensionData, message.data))

    async with connect(nats_server.url, "kpc") as other:
        for replica in (bus, other):
            await replica.subscribe(f"kaa.v1.service.{kpc}.esp.ExtensionData", receive)
            await replica.flush(5.0)
        await extension.push(
            rpc,
            kpc,
            instance="cex",
            app_version_name="app-v1",
            endpoint_id="endpoint-1",
            resource_path="/command/reboot",
            payload=b"[]",
        )
        await until(lambda: len(received) == 2)

    assert received[0] == received[1]
    assert (received[0].extension_instance_name, received[0].app_version_name) == ("cex", "app-v1")
    assert (received[0].endpoint_id, received[0].resource_path) == ("endpoint-1", "/command/reboot")
    assert (received[0].request_id, received[0].payload, received[0].status_code) == (None, b"[]", 200)
