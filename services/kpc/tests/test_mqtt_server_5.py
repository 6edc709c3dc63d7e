"""MQTT 5 on real sockets: that a client reads why its connection ends, and what its limits mean for the handler."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kpc.mqtt.events import DisconnectReason
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connack, Connect, Disconnect, Publish, ServerPacket
from kpc.mqtt.properties import NO_PROPERTIES, Properties
from kpc.mqtt.reasons import DONE, PublishResult, ReasonCode
from kpc.mqtt.versions import MQTT_3_1_1, MQTT_5
from kpc.mqtt_connection import Connection
from kpc.mqtt_listeners import TcpListener
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits
from support import mqtt_codec
from support.waiting import until

from . import echo
from .echo import EchoHandler
from .test_mqtt_5 import BAD_CONNECTS, HELLO, VIOLATIONS

PATIENCE = 10.0
QOS_3 = b"\x36\x06\x00\x01a\x00\x01\x00"


def local_server(handler: EchoHandler, limits: ServerLimits | None = None) -> MqttServer:
    return MqttServer(handler, [TcpListener("127.0.0.1", 0)], limits=limits or ServerLimits())


@asynccontextmanager
async def client_of(
    server: MqttServer, properties: Properties = NO_PROPERTIES, client_id: str = "c"
) -> AsyncIterator[tuple[StreamReader, StreamWriter, Connack]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            connect = Connect(version=MQTT_5, client_id=client_id, properties=properties)
            writer.write(mqtt_codec.encode(connect, MQTT_5))
            connack, rest = mqtt_codec.decode(await reader.read(1000), MQTT_5)
            assert isinstance(connack, Connack)
            assert rest == b""
            yield reader, writer, connack
        finally:
            writer.transport.abort()


async def all_of(reader: StreamReader) -> list[ServerPacket]:
    return mqtt_codec.decode_all(await reader.read(), MQTT_5)


def reason_of(packets: list[ServerPacket]) -> ReasonCode:
    (disconnect,) = packets
    assert isinstance(disconnect, Disconnect)
    return disconnect.reason_code


async def test_a_client_reads_why_it_is_closed_however_much_it_goes_on_sending() -> None:
    async with local_server(EchoHandler()) as server, client_of(server) as (reader, writer, _):
        writer.write(QOS_3 + bytes(500_000))
        await writer.drain()
        writer.write(bytes(500_000))
        assert reason_of(await all_of(reader)) is ReasonCode.MALFORMED_PACKET


async def test_whatever_has_to_be_closed_is_closed_with_its_reason_and_a_neighbour_goes_on() -> None:
    handler = EchoHandler()
    hostile = [(HELLO + data, reason) for data, reason in VIOLATIONS.values()] + list(BAD_CONNECTS.values())
    async with local_server(handler) as server, client_of(server) as (reader, writer, _):
        for data, reason_code in hostile:
            bad_reader, bad_writer = await asyncio.open_connection("127.0.0.1", server.port)
            bad_writer.write(data)
            packets = await all_of(bad_reader)
            bad_writer.close()
            last = packets[-1]
            assert isinstance(last, (Connack, Disconnect))
            assert last.reason_code is reason_code
            writer.write(mqtt_codec.encode(Publish(topic="a", payload=b"x"), MQTT_5))
            answer, rest = mqtt_codec.decode(await reader.read(1000), MQTT_5)
            assert (answer, rest) == (Publish(topic="a/status", payload=b"x"), b"")
        assert len(server.connections) == 1


async def test_a_client_is_told_that_the_server_stops() -> None:
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks, local_server(EchoHandler()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(mqtt_codec.encode(Connect(version=MQTT_5, client_id="c"), MQTT_5))
        mqtt_codec.decode(await reader.read(1000), MQTT_5)

        async def read_to_the_end() -> ReasonCode:
            packets = await all_of(reader)
            writer.close()
            return reason_of(packets)

        reason_code = tasks.create_task(read_to_the_end())
    assert reason_code.result() is ReasonCode.SERVER_SHUTTING_DOWN


async def test_the_handler_ends_a_connection_with_its_reason() -> None:
    handler = EchoHandler()
    async with local_server(handler) as server, client_of(server) as (reader, _, _connack):
        handler.connections[0].close("not any more", ReasonCode.NOT_AUTHORIZED)
        assert reason_of(await all_of(reader)) is ReasonCode.NOT_AUTHORIZED


async def test_a_client_without_a_client_id_gets_one_of_its_own() -> None:
    handler = EchoHandler()
    async with (
        local_server(handler) as server,
        client_of(server, client_id="") as (_, _, first),
        client_of(server, client_id="") as (_, _, second),
    ):
        told = [connack.properties.assigned_client_identifier for connack in (first, second)]
        assert told == [connection.client_id for connection in handler.connections]
        assert len(set(told)) == 2


async def test_the_handler_is_told_of_a_message_that_the_client_does_not_take() -> None:
    handler = EchoHandler()
    properties = Properties(maximum_packet_size=50)
    async with local_server(handler) as server, client_of(server, properties) as (reader, _, _connack):
        connection = handler.connections[0]
        assert not connection.publish("a", b"x" * 50)
        assert connection.is_open
        assert connection.publish("a", b"y")
        assert mqtt_codec.decode(await reader.read(100), MQTT_5)[0] == Publish(topic="a", payload=b"y")


async def test_a_client_that_acknowledges_nothing_is_closed_when_too_much_waits() -> None:
    handler = EchoHandler()
    limits = ServerLimits(session=SessionLimits(max_queued=2))
    properties = Properties(receive_maximum=1)
    async with local_server(handler, limits) as server, client_of(server, properties) as (reader, _, _connack):
        sent = [handler.connections[0].publish("a", b"", 1) for _ in range(4)]
        assert sent == [True, True, True, False]
        published, disconnect = await all_of(reader)
        assert isinstance(published, Publish)
        assert reason_of([disconnect]) is ReasonCode.QUOTA_EXCEEDED
        await until(lambda: bool(handler.ended))
    assert handler.ended[0].reason is DisconnectReason.TOO_SLOW


class SlowFirst(EchoHandler):
    """Is done with the first message last."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.handled = 0

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        if publish.packet_id == 1:
            await self.gate.wait()
        self.handled += 1
        return DONE


async def test_a_client_is_not_read_while_too_many_of_its_messages_wait_for_one() -> None:
    handler = SlowFirst()
    limits = ServerLimits(session=SessionLimits(max_inflight=4))
    async with local_server(handler, limits) as server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(echo.CONNECT)
        assert await reader.readexactly(4) == echo.ACCEPTED
        messages = (Publish(topic="a", payload=b"", qos=1, packet_id=number) for number in range(1, 11))
        writer.write(b"".join(mqtt_codec.encode(message, MQTT_3_1_1) for message in messages))
        await until(lambda: handler.handled == 3)
        handler.gate.set()
        assert await reader.readexactly(40) == b"".join(bytes((0x40, 2, 0, number)) for number in range(1, 11))
        writer.close()


@pytest.mark.parametrize("receive_maximum", [None, 1])
async def test_answers_come_in_order_whatever_the_client_takes_at_once(receive_maximum: int | None) -> None:
    handler = EchoHandler()
    properties = Properties(receive_maximum=receive_maximum)
    async with local_server(handler) as server, client_of(server, properties) as (reader, writer, _):
        for number in range(20):
            assert handler.connections[0].publish("a", b"%d" % number, 1)
        payloads: list[bytes] = []
        while len(payloads) < 20:
            for packet in mqtt_codec.decode_all(await reader.read(10_000), MQTT_5):
                assert isinstance(packet, Publish)
                assert packet.packet_id is not None
                payloads.append(packet.payload)
                writer.write(b"\x40\x02" + packet.packet_id.to_bytes(2, "big"))
        assert payloads == [b"%d" % number for number in range(20)]
