import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import pytest

from kaa_common import bus as bus_module
from kaa_common.bus import BusMessage, NatsBus, connect
from kaa_common.errors import PayloadTooLarge, StartError, Unavailable
from support.nats_server import NatsServer
from support.ports import free_port
from support.waiting import until

WHILE_IT_CLOSES = 0.05
NOTHING_LISTENS = "nats://127.0.0.1:1"


@pytest.fixture
async def received(bus: NatsBus) -> list[BusMessage]:
    """The messages that arrive on `test.>`."""
    messages: list[BusMessage] = []

    async def keep(message: BusMessage) -> None:
        messages.append(message)

    await bus.subscribe("test.>", keep)
    return messages


def messages_in(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


async def test_a_message_arrives_as_it_was_published(bus: NatsBus, received: list[BusMessage]) -> None:
    await bus.publish("test.a", b"\x00data", reply="test.reply", headers={"Kaa-Endpoint-Revision": "7"})

    await until(lambda: bool(received))
    assert received == [BusMessage("test.a", b"\x00data", "test.reply", {"Kaa-Endpoint-Revision": "7"})]


async def test_messages_of_a_subject_are_handled_in_their_order(bus: NatsBus) -> None:
    handled: list[bytes] = []

    async def handle(message: BusMessage) -> None:
        await asyncio.sleep(0 if int(message.data) % 3 else 0.001)
        handled.append(message.data)

    await bus.subscribe("test.order", handle)
    expected = [str(number).encode() for number in range(100)]
    for data in expected:
        await bus.publish("test.order", data)

    await until(lambda: len(handled) == len(expected))
    assert handled == expected


async def test_a_plain_function_handles_messages_in_their_order_and_what_it_returns_is_waited_for(bus: NatsBus) -> None:
    handled: list[bytes] = []

    async def wait(message: BusMessage) -> None:
        await asyncio.sleep(0.001)
        handled.append(message.data)

    def handle(message: BusMessage) -> Awaitable[None] | None:
        if int(message.data) % 3 == 0:
            return wait(message)
        handled.append(message.data)
        return None

    await bus.subscribe("test.plain", handle)
    expected = [str(number).encode() for number in range(20)]
    for data in expected:
        await bus.publish("test.plain", data)
    await until(lambda: handled == expected)


async def test_what_is_published_in_one_go_arrives_in_its_order(bus: NatsBus, received: list[BusMessage]) -> None:
    expected = [str(number).encode() for number in range(2_000)]
    for data in expected:
        await bus.publish("test.many", data, headers={"Name": "value"} if int(data) % 2 else None)
        if int(data) % 100 == 0:
            await asyncio.sleep(0)

    await until(lambda: len(received) == len(expected))
    assert [message.data for message in received] == expected


async def test_no_more_messages_are_handled_at_once_than_asked_for(bus: NatsBus) -> None:
    at_once, most, done = 0, 0, 0
    go_on = asyncio.Event()

    async def handle(_: BusMessage) -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await go_on.wait()
        at_once -= 1
        done += 1

    await bus.subscribe("test.concurrent", handle, concurrency=3)
    for _ in range(20):
        await bus.publish("test.concurrent", b"")
    await until(lambda: at_once == 3)
    await bus.flush(5)
    go_on.set()

    await until(lambda: done == 20)
    assert most == 3


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_failing_handler_is_logged_and_the_next_message_handled(
    bus: NatsBus, caplog: pytest.LogCaptureFixture, concurrency: int
) -> None:
    handled: list[bytes] = []

    async def handle(message: BusMessage) -> None:
        handled.append(message.data)
        if message.data == b"bad":
            raise RuntimeError("of the handler")

    await bus.subscribe("test.failing", handle, concurrency=concurrency)
    await bus.publish("test.failing", b"bad")
    await bus.publish("test.failing", b"good")

    await until(lambda: len(handled) == 2)
    assert messages_in(caplog, "the handler of test.failing failed")


async def test_a_handler_that_finds_a_part_unavailable_is_a_line_and_no_traceback(
    bus: NatsBus, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_: BusMessage) -> None:
        raise Unavailable("the store is away")

    await bus.subscribe("test.unavailable", handle)
    await bus.publish("test.unavailable", b"")

    await until(lambda: bool(messages_in(caplog, "the store is away")))
    assert all(record.exc_info is None for record in caplog.records)


async def test_one_of_a_queue_gets_each_message(bus: NatsBus, nats_server: NatsServer) -> None:
    first: list[bytes] = []
    second: list[bytes] = []

    async def to_first(message: BusMessage) -> None:
        first.append(message.data)

    async def to_second(message: BusMessage) -> None:
        second.append(message.data)

    async with connect(nats_server.url, "other") as other:
        await bus.subscribe("test.queue", to_first, queue="service")
        await other.subscribe("test.queue", to_second, queue="service")
        await bus.flush(5)
        await other.flush(1)
        expected = [str(number).encode() for number in range(50)]
        for data in expected:
            await bus.publish("test.queue", data)

        await until(lambda: len(first) + len(second) >= len(expected))
        await bus.flush(5)
        await other.flush(1)
        assert sorted(first + second) == sorted(expected)
        assert first
        assert second


async def test_a_message_longer_than_the_server_takes_is_refused(bus: NatsBus) -> None:
    with pytest.raises(PayloadTooLarge, match="1048576 bytes"):
        await bus.publish("test.long", bytes(1024 * 1024 + 1))


async def test_headers_count_as_part_of_a_message(bus: NatsBus) -> None:
    await bus.publish("test.long", bytes(1024 * 1024 - 100), headers={"Name": "short"})
    with pytest.raises(PayloadTooLarge, match="1048576 bytes"):
        await bus.publish("test.long", bytes(1024 * 1024 - 100), headers={"Name": "long" * 25})
    await bus.flush(5)
    assert bus.connected


@pytest.mark.parametrize("subject", ["", "test.a b", "test.a\r\nPUB test.b 0\r\n"])
async def test_a_subject_that_would_be_another_command_is_refused(bus: NatsBus, subject: str) -> None:
    with pytest.raises(Unavailable):
        await bus.publish(subject, b"")


async def test_a_header_that_would_be_two_is_refused(bus: NatsBus) -> None:
    with pytest.raises(ValueError, match="line break"):
        await bus.publish("test.header", b"", headers={"Name": "value\r\nOther: value"})


async def test_a_server_that_speaks_something_else_is_left_and_tried_again() -> None:
    begun = ended = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun, ended
        begun += 1
        with suppress(ConnectionError):
            writer.write(b'INFO {"max_payload": 100}\r\n')
            async for line in reader:
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
                    await asyncio.sleep(0.05)
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended += 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        async with connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", "test"):
            await until(lambda: ended > 0 and begun > 1)
        await until(lambda: ended == begun)


async def test_a_publish_is_refused_when_too_much_waits_to_be_sent(
    own_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "MAX_UNSENT_BYTES", 100_000)
    async with connect(own_nats_server.url, "test") as bus:

        async def publish_without_end() -> None:
            while True:
                await bus.publish("test.backlog", bytes(500_000))

        own_nats_server.freeze()
        try:
            with pytest.raises(Unavailable, match="does not keep up"):
                await publish_without_end()
        finally:
            own_nats_server.thaw()
        await bus.flush(5)
        await bus.publish("test.backlog", b"")


async def test_flushing_does_not_overtake_what_waits_to_be_sent() -> None:
    commands: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"headers": true, "max_payload": 100}\r\n')
        async for line in reader:
            commands.append(line.split()[0])
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    async def ignore(_: BusMessage) -> None:
        pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", "test") as bus:
        await bus.subscribe("test.flush", ignore)
        await bus.flush(5)
        assert commands == [b"CONNECT", b"PING", b"SUB", b"PING"]


async def test_a_restarted_server_is_found_again_and_the_subscriptions_with_it(
    own_nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    received: list[bytes] = []
    times_lost = 0

    async def keep(message: BusMessage) -> None:
        received.append(message.data)

    def lost() -> None:
        nonlocal times_lost
        times_lost += 1

    async with connect(own_nats_server.url, "test") as bus:
        bus.on_connection_lost(lost)
        await bus.subscribe("test.restart", keep)
        own_nats_server.kill()
        await until(lambda: not bus.connected)
        await until(lambda: times_lost == 1)
        own_nats_server.start()
        await until(lambda: bus.connected)
        # Once more, as what was cached while the connection came back may be outdated too.
        await until(lambda: times_lost == 2)
        await bus.publish("test.restart", b"after")
        await until(lambda: received == [b"after"])

    assert len(messages_in(caplog, "lost the connection to NATS at 127.0.0.1")) == 1
    assert len(messages_in(caplog, "connected to NATS at 127.0.0.1")) == 2
    assert all(record.exc_info is None for record in caplog.records)


async def test_what_is_subscribed_while_the_server_is_away_works_when_it_is_back(own_nats_server: NatsServer) -> None:
    received: list[bytes] = []

    async def keep(message: BusMessage) -> None:
        received.append(message.data)

    async with connect(own_nats_server.url, "test") as bus:
        own_nats_server.stop()
        await until(lambda: not bus.connected)
        await bus.subscribe("test.later", keep)
        own_nats_server.start()
        await until(lambda: bus.connected)
        await bus.publish("test.later", b"once")
        await bus.flush(5)
        await until(lambda: received == [b"once"])


async def test_without_a_connection_a_publish_fails_at_once(own_nats_server: NatsServer) -> None:
    async with connect(own_nats_server.url, "test") as bus:
        own_nats_server.stop()
        await until(lambda: not bus.connected)
        async with asyncio.timeout(0.2):
            with pytest.raises(Unavailable):
                await bus.publish("test.away", b"")
            with pytest.raises(Unavailable):
                await bus.flush(5)


async def test_a_server_that_starts_later_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = NatsServer(tmp_path, port=free_port())

    async def start_it() -> None:
        await until(lambda: len(messages_in(caplog, "waiting for NATS")) == 1)
        await asyncio.to_thread(server.start)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(start_it())
            async with connect(server.url, "test") as bus:
                await bus.flush(5)
    finally:
        server.stop()
    assert len(messages_in(caplog, "waiting for NATS at 127.0.0.1")) == 1


async def test_waiting_for_a_server_can_be_given_up(caplog: pytest.LogCaptureFixture) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6), connect(NOTHING_LISTENS, "test"):
            pass
    assert asyncio.all_tasks() == before
    assert len(messages_in(caplog, "waiting for NATS")) == 1


async def test_a_wrong_password_is_said_once_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = NatsServer(tmp_path, 'authorization { user: kaa, password: "right" }')
    server.start()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), connect(f"nats://kaa:wrong@127.0.0.1:{server.port}", "test"):
                pass
        async with connect(f"nats://kaa:right@127.0.0.1:{server.port}", "test") as bus:
            await bus.flush(5)
    finally:
        server.stop()
    assert len(messages_in(caplog, "Authorization Violation")) == 1
    assert "wrong" not in caplog.text
    assert "right" not in caplog.text


async def test_a_password_changed_on_the_server_does_not_end_the_bus_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = 'authorization { user: kaa, password: "old" }'
    server = NatsServer(tmp_path, old)
    server.start()
    try:
        async with connect(f"nats://kaa:old@127.0.0.1:{server.port}", "test") as bus:
            server.reload('authorization { user: kaa, password: "new" }')
            await until(lambda: not bus.connected)
            await until(lambda: bool(messages_in(caplog, "waiting for NATS")))
            server.reload(old)
            await until(lambda: bus.connected)
            await bus.flush(5)
    finally:
        server.stop()


async def test_a_forbidden_subject_is_reported_and_the_connection_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(
        tmp_path, 'authorization { users: [{user: kaa, password: "x", permissions: {publish: "allowed.>"}}] }'
    )
    server.start()
    lost: list[None] = []
    try:
        async with connect(f"nats://kaa:x@127.0.0.1:{server.port}", "test") as bus:
            bus.on_connection_lost(lambda: lost.append(None))
            await bus.publish("forbidden", b"")
            await bus.publish("forbidden", b"")
            await bus.flush(5)
            assert bus.connected
    finally:
        server.stop()
    assert len(messages_in(caplog, "permissions violation")) == 1
    assert not lost


async def test_messages_beyond_the_limit_are_dropped_with_one_line_and_count_as_missed(
    bus: NatsBus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "PENDING_MESSAGES", 5)
    go_on = asyncio.Event()
    missed: list[None] = []
    bus.on_connection_lost(lambda: missed.append(None))

    async def handle(_: BusMessage) -> None:
        await go_on.wait()

    await bus.subscribe("test.flood", handle)
    for _ in range(20):
        await bus.publish("test.flood", b"")
    await until(lambda: len(missed) >= 14)
    go_on.set()

    assert len(messages_in(caplog, "more on test.flood than can be handled")) == 1


async def test_closing_waits_for_the_handlers_in_progress_and_sends_what_they_publish(
    bus: NatsBus, received: list[BusMessage], nats_server: NatsServer
) -> None:
    started = asyncio.Event()
    go_on = asyncio.Event()

    async with asyncio.TaskGroup() as tasks, connect(nats_server.url, "closing") as closing:

        async def handle(message: BusMessage) -> None:
            started.set()
            await go_on.wait()
            await closing.publish("test.done", message.data)

        await closing.subscribe("work", handle, concurrency=2)
        await closing.subscribe("ordered", handle)
        await closing.publish("work", b"shared")
        await closing.publish("ordered", b"in order")
        await started.wait()

        async def go_on_while_it_closes() -> None:
            await asyncio.sleep(0.05)
            go_on.set()

        tasks.create_task(go_on_while_it_closes())
    await until(lambda: {message.data for message in received} == {b"shared", b"in order"})


async def test_a_handler_in_progress_still_gets_the_answers_it_waits_for_when_the_bus_closes(
    nats_server: NatsServer,
) -> None:
    asked = asyncio.Event()
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    results: list[bytes] = []

    async with asyncio.TaskGroup() as tasks, connect(nats_server.url, "closing") as closing:

        async def receive_answer(message: BusMessage) -> None:
            answer.set_result(message.data)

        async def handle(_: BusMessage) -> None:
            asked.set()
            results.append(await answer)

        await closing.subscribe("answers", receive_answer)
        await closing.subscribe("questions", handle, queue="service", concurrency=2)
        await closing.publish("questions", b"")
        await asked.wait()

        async def answer_while_it_closes() -> None:
            await asyncio.sleep(0.05)
            await closing.publish("answers", b"42")

        tasks.create_task(answer_while_it_closes())
    assert results == [b"42"]


async def test_left_queues_are_the_other_replicas_and_the_rest_is_heard_on(
    bus: NatsBus, nats_server: NatsServer
) -> None:
    heard: list[bytes] = []
    shared: list[bytes] = []

    async def hear(message: BusMessage) -> None:
        heard.append(message.data)

    async def take(message: BusMessage) -> None:
        shared.append(message.data)

    await bus.subscribe("test.event", hear)
    await bus.subscribe("test.request", take, queue="service")
    await bus.leave_queues()
    await bus.publish("test.request", b"for the others")
    await bus.publish("test.event", b"for all")

    await until(lambda: heard == [b"for all"])
    assert shared == []


async def test_a_handler_that_does_not_end_is_given_up_when_the_bus_closes(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "DRAIN_TIMEOUT", 0.05)
    before = asyncio.all_tasks()
    stuck = 0

    async def handle(_: BusMessage) -> None:
        nonlocal stuck
        stuck += 1
        await asyncio.Event().wait()

    async with connect(nats_server.url, "closing") as closing:
        await closing.subscribe("stuck.together", handle, concurrency=2)
        await closing.subscribe("stuck.alone", handle)
        for _ in range(10):
            await closing.publish("stuck.together", b"")
            await closing.publish("stuck.alone", b"")
        await until(lambda: stuck == 3)

    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert len(messages_in(caplog, "giving up on them")) == 1


async def test_the_bus_closes_quickly_while_the_server_is_away(
    own_nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()

    async def ignore(_: BusMessage) -> None:
        pass

    async with asyncio.timeout(2):
        async with connect(own_nats_server.url, "closing") as closing:
            await closing.subscribe("test.one", ignore, queue="service", concurrency=2)
            await closing.subscribe("test.two", ignore)
            own_nats_server.kill()
            await until(lambda: not closing.connected)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:4222", "http://127.0.0.1:4222", "nats://kaa:secret", "nats://:4222", "nats://a:4222,"]
)
async def test_an_address_that_cannot_be_used_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(StartError) as failed:
        async with connect(url, "test"):
            pass
    assert "NATS_URL" in str(failed.value)
    assert "secret" not in str(failed.value)
