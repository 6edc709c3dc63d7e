"""The server on real sockets: what a client sees, and what the handler is called with."""

import asyncio
import logging
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from kaa_common.errors import StartError
from kpc.mqtt.events import Disconnected, DisconnectReason
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.reasons import DONE, WITHHELD, PublishResult, ReasonCode
from kpc.mqtt_connection import Connection
from kpc.mqtt_listeners import TcpListener
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
ACCEPTED, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
ECHO = b"\x30\x0b\x00\x08a/statusx"
PATIENCE = 10.0


def publish(qos: int, packet_id: int, payload: bytes = b"x") -> bytes:
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return bytes((0x30 | qos << 1, 3 + len(identifier) + len(payload), 0, 1)) + b"a" + identifier + payload


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def reset(writer: StreamWriter) -> None:
    """Close with RST instead of FIN."""
    linger_for_0_seconds = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_0_seconds)
    writer.transport.abort()


def _is_reset(writer: StreamWriter) -> bool:
    writer.write(PINGREQ)
    return writer.transport.is_closing()


class EchoHandler:
    """Answers `a` on `a/status`, as soon as its gate is open, and notes every call."""

    def __init__(self) -> None:
        self.reason_code = ReasonCode.SUCCESS
        self.gate = asyncio.Event()
        self.gate.set()
        self.accept_gate = asyncio.Event()
        self.accept_gate.set()
        self.answer = b"x"
        self.is_safe = True
        self.failure: Exception | None = None
        self.calls_of = Tally[Connection]()
        self.most_running = 0
        self.connections: list[Connection] = []
        self.handled: list[Publish] = []
        self.subscriptions: list[Subscribe] = []
        self.ended: list[Disconnected] = []

    @property
    def running(self) -> int:
        return self.calls_of.total()

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        self.connections.append(connection)
        await self.accept_gate.wait()
        return self.reason_code

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        self.calls_of[connection] += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.calls_of[connection] -= 1
        if self.failure is not None:
            raise self.failure
        self.handled.append(publish)
        connection.publish(publish.topic + "/status", self.answer)
        return DONE if self.is_safe else WITHHELD

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        self.subscriptions.append(subscribe)

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        assert not self.calls_of[connection]
        self.ended.append(disconnected)


def local_server(handler: EchoHandler, limits: ServerLimits | None = None) -> MqttServer:
    return MqttServer(handler, [TcpListener("127.0.0.1", 0)], limits=limits or ServerLimits())


@asynccontextmanager
async def client_of(server: MqttServer, first: bytes = CONNECT) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(first)
            yield reader, writer
        finally:
            writer.transport.abort()


async def test_a_reply_reaches_a_client_that_never_subscribed() -> None:
    async with local_server(EchoHandler()) as server, client_of(server) as (reader, writer):
        assert await reader.readexactly(4) == ACCEPTED
        writer.write(publish(0, 0))
        assert await reader.readexactly(13) == ECHO


async def test_messages_in_the_same_segment_as_connect_are_handled_once_the_client_is_accepted() -> None:
    handler = EchoHandler()
    handler.accept_gate.clear()
    first = CONNECT + publish(1, 1) + b"\x82\x06\x00\x05\x00\x01#\x00" + PINGREQ
    async with local_server(handler) as server, client_of(server, first) as (reader, _):
        await until(lambda: bool(handler.connections))
        assert not handler.running
        assert handler.connections[0] not in server.connections
        handler.accept_gate.set()
        assert await reader.readexactly(4) == ACCEPTED
        assert sorted((await reader.readexactly(5), await reader.readexactly(2))) == [b"\x90\x03\x00\x05\x00", PINGRESP]
        assert await reader.readexactly(17) == ECHO + b"\x40\x02\x00\x01"
        assert [packet.packet_id for packet in handler.subscriptions] == [5]
        assert handler.connections[0] in server.connections
        assert handler.connections[0].client_id == "c"


async def test_a_refused_client_is_told_why_and_closed() -> None:
    handler = EchoHandler()
    handler.reason_code = ReasonCode.NOT_AUTHORIZED
    async with local_server(handler) as server, client_of(server, CONNECT + publish(0, 0)) as (reader, _):
        assert await reader.read() == REFUSED
        assert not server.connections
    assert not handler.handled
    assert not handler.ended


async def test_a_message_is_acknowledged_with_its_reply_in_one_segment_when_it_was_handled() -> None:
    handler = EchoHandler()
    handler.gate.clear()
    async with local_server(handler) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(publish(1, 1) + publish(2, 2) + PINGREQ)
        assert await reader.readexactly(2) == PINGRESP
        assert handler.running == 2
        handler.gate.set()
        assert await reader.read(1000) == ECHO + b"\x40\x02\x00\x01" + ECHO + b"\x50\x02\x00\x02"


async def test_a_message_that_is_not_safe_is_not_acknowledged() -> None:
    handler = EchoHandler()
    handler.is_safe = False
    async with local_server(handler) as server, client_of(server) as (reader, writer):
        writer.write(publish(1, 1))
        assert await reader.readexactly(17) == ACCEPTED + ECHO
        handler.is_safe = True
        writer.write(publish(1, 2))
        assert await reader.readexactly(17) == ECHO + b"\x40\x02\x00\x02"


async def test_a_client_is_made_to_send_again_what_was_not_safe() -> None:
    handler = EchoHandler()
    handler.is_safe = False
    limits = ServerLimits(session=SessionLimits(withheld_for=0.05))
    async with local_server(handler, limits) as server, client_of(server) as (reader, writer):
        writer.write(publish(1, 1))
        assert await reader.read() == ACCEPTED + ECHO
    (end,) = handler.ended
    assert end.reason is DisconnectReason.CLOSED_BY_SERVER


async def test_bad_input_closes_its_own_connection_only() -> None:
    handler = EchoHandler()
    async with (
        local_server(handler) as server,
        client_of(server) as (reader, writer),
        client_of(server) as (other, bad),
    ):
        await reader.readexactly(4)
        bad.write(b"\x36\x00")
        assert await other.read() == ACCEPTED
        await until(lambda: bool(handler.ended))
        assert handler.ended[0].reason is DisconnectReason.PROTOCOL_ERROR
        writer.write(PINGREQ)
        assert await reader.readexactly(2) == PINGRESP
        assert len(server.connections) == 1


async def test_a_failing_handler_costs_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    handler = EchoHandler()
    async with (
        local_server(handler) as server,
        client_of(server) as (reader, writer),
        client_of(server) as (other, bad),
    ):
        await reader.readexactly(4)
        handler.failure = ValueError("broken")
        bad.write(publish(1, 1))
        assert await other.read() == ACCEPTED
        await until(lambda: bool(handler.ended))
        assert handler.ended == [Disconnected(reason=DisconnectReason.CLOSED_BY_SERVER, detail="internal error")]
        handler.failure = None
        writer.write(publish(0, 0))
        assert await reader.readexactly(13) == ECHO
    assert "ValueError: broken" in caplog.text


@pytest.mark.parametrize(
    ("goodbye", "reason"),
    [(DISCONNECT, DisconnectReason.CLEAN), (b"", DisconnectReason.EOF)],
    ids=["DISCONNECT", "EOF"],
)
async def test_the_end_of_a_connection_is_told_once_after_all_its_calls(
    goodbye: bytes, reason: DisconnectReason
) -> None:
    handler = EchoHandler()
    handler.gate.clear()
    async with local_server(handler) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(publish(1, 1) + goodbye)
        writer.write_eof()
        assert await reader.read() == b""
        assert handler.running == 1
        assert not server.connections
        assert not handler.connections[0].publish("a", b"")
        handler.gate.set()
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=reason)]


async def test_a_connection_that_is_reset_is_told_too() -> None:
    handler = EchoHandler()
    async with local_server(handler) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        reset(writer)
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.EOF)]


async def test_a_client_that_never_connects_is_closed() -> None:
    limits = ServerLimits(session=SessionLimits(connect_timeout=0.05))
    async with local_server(EchoHandler(), limits) as server, client_of(server, b"\x10") as (reader, _):
        assert await reader.read() == b""


async def test_a_client_that_is_not_decided_upon_is_told_so_and_its_end_is_told_to_the_handler() -> None:
    handler = EchoHandler()
    handler.accept_gate.clear()
    limits = ServerLimits(session=SessionLimits(connect_timeout=0.05))
    async with local_server(handler, limits) as server, client_of(server) as (reader, _):
        assert await reader.read() == b"\x20\x02\x00\x03"
        handler.accept_gate.set()
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.CONNECT_TIMEOUT)]


async def test_a_client_silent_beyond_its_keep_alive_is_closed() -> None:
    handler = EchoHandler()
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01c"
    async with local_server(handler) as server, client_of(server, connect) as (reader, _):
        started = asyncio.get_running_loop().time()
        assert await reader.read() == ACCEPTED
        assert asyncio.get_running_loop().time() - started > 1.4
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.KEEP_ALIVE)]


async def test_a_client_that_is_not_listened_to_is_not_silent() -> None:
    handler = EchoHandler()
    handler.gate.clear()
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01c"
    async with (
        local_server(handler, ServerLimits(max_calls=1)) as server,
        client_of(server, connect) as (reader, writer),
    ):
        await reader.readexactly(4)
        writer.write(publish(1, 1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.8):
                await reader.read()
        handler.gate.set()
        assert await reader.readexactly(17) == ECHO + b"\x40\x02\x00\x01"


async def test_no_more_calls_run_than_allowed_and_nothing_is_lost() -> None:
    handler = EchoHandler()
    handler.gate.clear()
    async with local_server(handler, ServerLimits(max_calls=3)) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(b"".join(publish(1, packet_id) for packet_id in range(1, 1001)) + PINGREQ)
        await until(lambda: handler.running == 3)
        handler.gate.set()
        answers = await reader.readexactly(1000 * 17 + 2)
        assert answers.endswith(PINGRESP) or PINGRESP in answers
        assert answers.count(b"\x40\x02") == 1000
        assert handler.most_running == 3
        assert [packet.packet_id for packet in handler.handled] == list(range(1, 1001))


async def test_a_client_that_floods_takes_turns_with_the_others() -> None:
    """Everything is there when the server looks: the flood first, then one message of somebody else."""
    handler, flood = EchoHandler(), 500
    async with local_server(handler) as server, client_of(server) as one, client_of(server) as other:
        for reader, _ in (one, other):
            assert await reader.readexactly(4) == ACCEPTED
        one[1].write(publish(1, 1, b"flood") + PINGREQ * flood + publish(1, 2, b"flood"))
        other[1].write(publish(1, 3, b"other"))
        await until(lambda: len(handler.handled) == 3)
        assert [message.payload for message in handler.handled] == [b"flood", b"other", b"flood"]
        assert (await one[0].readexactly(2 * flood + 34)).count(PINGRESP) == flood


def test_a_client_that_sends_much_at_once_takes_turns_with_the_others() -> None:
    """On uvloop, as in production: it would read all that is there of one client before it looks at the next."""

    async def send_at_once() -> None:
        async with local_server(handler) as server, client_of(server) as one, client_of(server) as other:
            for reader, _ in (one, other):
                assert await reader.readexactly(4) == ACCEPTED
            one[1].write(b"\x30\xd3\x86\x03\x00\x01a" + b"x" * 50_000)
            other[1].write(publish(1, 1, b"other"))
            await until(lambda: len(handler.handled) == 2)

    handler = EchoHandler()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_at_once())
    assert [len(message.payload) for message in handler.handled] == [5, 50_000]


async def test_newcomers_take_turns_and_keep_nobody_waiting() -> None:
    async with local_server(EchoHandler()) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        newcomers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
        for _, newcomer in newcomers:
            newcomer.write(CONNECT)
        writer.write(b"\xc0\x00")
        assert await reader.readexactly(2) == b"\xd0\x00"
        assert len(server.connections) < 25
        for _, newcomer in newcomers:
            newcomer.transport.abort()


async def test_a_client_that_reads_late_is_not_read_meanwhile_and_gets_everything() -> None:
    handler = EchoHandler()
    handler.answer = b"x" * 100_000
    async with local_server(handler, ServerLimits(max_calls=4)) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        count = 300
        writer.write(b"".join(publish(0, 0) for _ in range(count)))
        await until(lambda: bool(handler.handled))
        # Were it read on, far more would wait for it than the 4 MiB at which it is dropped.
        answer = b"\x30\xaa\x8d\x06\x00\x08a/status" + handler.answer
        assert await reader.readexactly(count * len(answer)) == count * answer


async def test_a_client_that_never_reads_is_dropped_after_a_while() -> None:
    handler = EchoHandler()
    handler.answer = b"x" * 100_000
    limits = ServerLimits(max_calls=4, write_timeout=0.05)
    async with local_server(handler, limits) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(b"".join(publish(0, 0) for _ in range(300)))
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.TOO_SLOW, detail="did not read for 0.05 s")]


async def test_what_a_client_sent_that_left_without_reading_is_handled() -> None:
    handler = EchoHandler()
    handler.answer = b"x" * 100_000
    async with local_server(handler, ServerLimits(max_calls=4)) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(b"".join(publish(0, 0) for _ in range(300)))
        await until(lambda: bool(handler.handled))
        assert len(handler.handled) < 300
        reset(writer)
        await until(lambda: bool(handler.ended))
    assert len(handler.handled) == 300
    assert handler.ended == [Disconnected(reason=DisconnectReason.EOF)]


async def test_a_client_is_dropped_when_too_much_waits_for_it() -> None:
    handler = EchoHandler()
    async with (
        local_server(handler, ServerLimits(max_write_buffer=1_000_000)) as server,
        client_of(server) as (reader, _),
    ):
        await reader.readexactly(4)
        connection = handler.connections[0]
        for _ in range(200):
            if not connection.publish("a", b"x" * 500_000):
                break
            await asyncio.sleep(0)
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.TOO_SLOW, detail="does not read what it is sent")]


async def test_a_packet_that_does_not_end_gives_way_to_those_of_others() -> None:
    handler, limits = EchoHandler(), ServerLimits(max_held=50_000)
    message = b"\x30\xc3\xb8\x02\x00\x01a" + b"x" * 40_000
    async with local_server(handler, limits) as server, client_of(server) as stuck, client_of(server) as slow:
        for reader, writer in (stuck, slow):
            assert await reader.readexactly(4) == ACCEPTED
            writer.write(message[:-1])
            await writer.drain()
            await until(lambda: any(connection.held() > 30_000 for connection in server.connections))
        assert await stuck[0].read() == b""
        slow[1].write(message[-1:])
        assert await slow[0].readexactly(13) == ECHO
    assert handler.ended[0].detail == "holds too much for too long"
    assert len(handler.handled) == 1


async def test_a_client_that_reads_nothing_gives_way_when_others_need_the_room() -> None:
    handler, limits = EchoHandler(), ServerLimits(max_held=10_000_000, max_write_buffer=100_000_000)
    async with local_server(handler, limits) as server, client_of(server) as (deaf, _), client_of(server) as (late, _):
        for reader in (deaf, late):
            assert await reader.readexactly(4) == ACCEPTED
        for connection in handler.connections:
            while connection.is_open and connection.held() < 6_000_000:
                connection.publish("a", bytes(500_000))
                await asyncio.sleep(0)
        await until(lambda: bool(handler.ended))
        assert [connection.is_open for connection in handler.connections] == [False, True]
    assert handler.ended[0] == Disconnected(reason=DisconnectReason.TOO_SLOW, detail="holds too much for too long")


async def test_a_client_has_no_more_bytes_in_calls_than_allowed() -> None:
    handler, limits = EchoHandler(), ServerLimits(max_bytes_in_calls=10_000)
    handler.gate.clear()
    async with local_server(handler, limits) as server, client_of(server) as (reader, writer):
        assert await reader.readexactly(4) == ACCEPTED
        writer.write((b"\x30\xa3\x9c\x01\x00\x01a" + b"x" * 20_000) * 4)
        await until(lambda: handler.running == 1 and handler.connections[0].held() > 0)
        handler.gate.set()
        await until(lambda: len(handler.handled) == 4)
    assert handler.most_running == 1


async def test_the_handler_can_close_a_connection() -> None:
    handler = EchoHandler()
    async with local_server(handler) as server, client_of(server) as (reader, _):
        await reader.readexactly(4)
        assert handler.connections[0].publish("a", b"last")
        handler.connections[0].close("taken over")
        assert await reader.read() == b"\x30\x07\x00\x01alast"
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.CLOSED_BY_SERVER, detail="taken over")]


async def test_a_client_that_vanished_unnoticed_can_be_closed() -> None:
    handler = EchoHandler()
    async with local_server(handler) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(CONNECT)
            await until(lambda: bool(server.connections))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connections[0].close("anything", ReasonCode.UNSPECIFIED_ERROR)
        await until(lambda: bool(handler.ended))
    assert handler.ended == [Disconnected(reason=DisconnectReason.CLOSED_BY_SERVER, detail="anything")]


async def test_a_closed_client_that_keeps_its_side_open_is_cut_off() -> None:
    async with local_server(EchoHandler(), ServerLimits(linger=0.05)) as server, client_of(server) as (reader, writer):
        await reader.readexactly(4)
        writer.write(b"\x36\x00")
        assert await reader.read() == b""
        await until(lambda: _is_reset(writer))


async def test_there_are_no_more_connections_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    handler = EchoHandler()
    async with local_server(handler, ServerLimits(max_connections=1)) as server:
        async with client_of(server) as (reader, writer):
            await reader.readexactly(4)
            for _ in range(3):
                async with client_of(server) as (other, _):
                    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                        await other.readexactly(1)
            assert server.turned_away == 3
            reset(writer)
        await until(lambda: bool(handler.ended))
        async with client_of(server) as (reader, _):
            assert await reader.readexactly(4) == ACCEPTED
    assert [record.message for record in caplog.records] == ["turning clients away: there are 1 connections"]


async def test_a_taken_port_is_one_sentence() -> None:
    async with local_server(EchoHandler()) as server:
        with pytest.raises(StartError, match="choose another port with KPC_MQTT_PORT"):
            await MqttServer(EchoHandler(), [TcpListener("127.0.0.1", server.port)]).__aenter__()


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with local_server(EchoHandler()):
            raise KeyError


async def test_a_stop_lets_calls_finish_and_closes_every_connection() -> None:
    handler = EchoHandler()
    handler.gate.clear()
    async with asyncio.TaskGroup() as tasks, local_server(handler) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CONNECT + publish(1, 1))
        idle_writer.write(CONNECT)
        assert await reader.readexactly(4) == await idle.readexactly(4) == ACCEPTED
        await until(lambda: handler.running == 1)

        async def release() -> None:
            await until(lambda: server.stopping)
            writer.write(publish(1, 2))
            while await is_accepted(server.port):
                pass
            handler.gate.set()

        tasks.create_task(release())
        for stream in (writer, idle_writer):
            tasks.create_task(_close_after(reader if stream is writer else idle, stream))
    assert [packet.packet_id for packet in handler.handled] == [1]
    assert handler.ended == 2 * [Disconnected(reason=DisconnectReason.CLOSED_BY_SERVER, detail="the server stops")]


async def is_accepted(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.transport.abort()
    return True


async def _close_after(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_a_stop_cancels_calls_that_do_not_finish_in_time() -> None:
    handler = EchoHandler()
    handler.gate.clear()
    limits = ServerLimits(stop_timeout=0.05, linger=0.05)
    async with asyncio.timeout(PATIENCE), local_server(handler, limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CONNECT + publish(1, 1))
        await until(lambda: handler.running == 1)
        gone, gone_writer = await asyncio.open_connection("127.0.0.1", server.port)
        gone_writer.write(CONNECT + publish(1, 1))
        await until(lambda: handler.running == 2)
        gone_writer.transport.abort()
        await until(lambda: len(server.connections) == 1)
    assert handler.running == 0
    assert not handler.handled
    assert sorted(end.reason for end in handler.ended) == [DisconnectReason.CLOSED_BY_SERVER, DisconnectReason.EOF]
    assert await reader.read() == ACCEPTED
    writer.close()
    assert await gone.read() == ACCEPTED
