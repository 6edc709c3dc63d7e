import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from kaa_common import event_stream
from kaa_common.bus import NatsBus, connect
from kaa_common.errors import Unavailable
from kaa_common.event_stream import EventStream, StreamLimits
from support.nats_server import NatsServer
from support.waiting import until

LIMITS = StreamLimits(max_age=3600, max_bytes=1024 * 1024)
TIMEOUT = 5.0


class Clock:
    """Stands still unless it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def jetstream(directory: Path) -> str:
    return f"jetstream: {json.dumps({'store_dir': str(directory / 'jetstream')})}"


@pytest.fixture(scope="module")
def keeping_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server with JetStream."""
    directory = tmp_path_factory.mktemp("nats")
    server = NatsServer(directory, jetstream(directory))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_keeping_server(tmp_path: Path) -> Iterator[NatsServer]:
    """One of the test alone."""
    server = NatsServer(tmp_path, jetstream(tmp_path))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def instance() -> str:
    return f"epr-{secrets.token_hex(4)}"


@asynccontextmanager
async def opened(
    server: NatsServer, instance: str, clock: Clock | None = None, limits: StreamLimits = LIMITS
) -> AsyncIterator[tuple[EventStream, NatsBus]]:
    async with connect(server.url, "test") as bus:
        stream = EventStream(bus, instance, limits, clock or Clock())
        await stream.start()
        yield stream, bus


async def publish(stream: EventStream, instance: str, number: int) -> None:
    headers = {"Nats-Msg-Id": f"e:{number}:metadata.updated"}
    await stream.publish(f"kaa.v1.events.{instance}.endpoint.metadata.updated", b"%d" % number, headers=headers)


async def kept(server: NatsServer, instance: str) -> list[tuple[bytes, str]]:
    """The events of the stream: payload and Nats-Msg-Id."""
    client = await nats.connect(server.url)
    found = []
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(f"kaa-{instance}-events")).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await jetstream.get_msg(f"kaa-{instance}-events", sequence)
            found.append((message.data or b"", (message.headers or {})["Nats-Msg-Id"]))
    finally:
        await client.close()
    return found


async def config_of(server: NatsServer, instance: str) -> StreamConfig:
    client = await nats.connect(server.url)
    try:
        return (await client.jetstream().stream_info(f"kaa-{instance}-events")).config
    finally:
        await client.close()


async def test_what_is_flushed_is_in_the_stream_in_its_order(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance) as (stream, _):
        for number in range(300):
            await publish(stream, instance, number)
        await stream.flush(TIMEOUT)
        assert await kept(keeping_server, instance) == [
            (b"%d" % number, f"e:{number}:metadata.updated") for number in range(300)
        ]


async def test_a_repeated_event_is_kept_once(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance) as (stream, _):
        for number in (1, 2, 1, 2, 3):
            await publish(stream, instance, number)
        await stream.flush(TIMEOUT)
    assert [data for data, _ in await kept(keeping_server, instance)] == [b"1", b"2", b"3"]


async def test_the_stream_has_the_limits_that_were_set_last(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance):
        assert (await config_of(keeping_server, instance)).max_age == 3600
    async with opened(keeping_server, instance, limits=StreamLimits(max_age=60, max_bytes=2000)):
        config = await config_of(keeping_server, instance)
    assert (config.max_age, config.max_bytes, config.duplicate_window) == (60, 2000, 60)


async def test_what_an_operator_set_besides_stays(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance):
        pass
    client = await nats.connect(keeping_server.url)
    config = await config_of(keeping_server, instance)
    await client.jetstream().update_stream(config.evolve(max_msgs=5))
    await client.close()
    async with opened(keeping_server, instance, limits=StreamLimits(max_age=60, max_bytes=2000)):
        config = await config_of(keeping_server, instance)
    assert (config.max_age, config.max_msgs) == (60, 5)


async def test_two_replicas_share_one_stream(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance) as (one, _), opened(keeping_server, instance) as (other, _):
        await publish(one, instance, 1)
        await publish(other, instance, 1)
        await publish(other, instance, 2)
        await one.flush(TIMEOUT)
        await other.flush(TIMEOUT)
    assert [data for data, _ in await kept(keeping_server, instance)] == [b"1", b"2"]


async def test_a_listener_hears_each_event_once(keeping_server: NatsServer, instance: str) -> None:
    heard = []
    async with connect(keeping_server.url, "listener") as listener, opened(keeping_server, instance) as (stream, _):

        async def hear(message: Any) -> None:
            heard.append(message.data)

        await listener.subscribe(f"kaa.v1.events.{instance}.>", hear)
        await listener.flush(TIMEOUT)
        await publish(stream, instance, 1)
        await stream.flush(TIMEOUT)
        await listener.flush(TIMEOUT)
    assert heard == [b"1"]


async def test_without_jetstream_events_are_published_and_flushed(nats_server: NatsServer, instance: str) -> None:
    async with opened(nats_server, instance) as (stream, _):
        await publish(stream, instance, 1)
        await stream.flush(TIMEOUT)


async def test_what_the_stream_has_acknowledged_survives_that_the_server_is_killed(
    own_keeping_server: NatsServer, instance: str
) -> None:
    async with opened(own_keeping_server, instance) as (stream, bus):
        for number in range(500):
            await publish(stream, instance, number)
        await stream.flush(TIMEOUT)
        own_keeping_server.kill()
        own_keeping_server.start()
        assert len(await kept(own_keeping_server, instance)) == 500
        await until(lambda: bus.connected)
        await publish(stream, instance, 500)
        await stream.flush(TIMEOUT)
    assert len(await kept(own_keeping_server, instance)) == 501


async def test_nothing_counts_as_kept_that_was_on_its_way_when_the_connection_was_lost(
    own_keeping_server: NatsServer, instance: str
) -> None:
    async with opened(own_keeping_server, instance) as (stream, bus):
        await publish(stream, instance, 1)
        own_keeping_server.kill()
        await until(lambda: not bus.connected)
        with pytest.raises(Unavailable):
            await stream.flush(TIMEOUT)
        own_keeping_server.start()


async def test_a_stream_that_somebody_deletes_is_made_again(
    keeping_server: NatsServer, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(keeping_server, instance) as (stream, _):
        await publish(stream, instance, 1)
        await stream.flush(TIMEOUT)
        client = await nats.connect(keeping_server.url)
        await client.jetstream().delete_stream(f"kaa-{instance}-events")
        await client.close()

        await publish(stream, instance, 2)
        with pytest.raises(Unavailable, match="nobody keeps them"):
            await stream.flush(TIMEOUT)
        await stream.flush(TIMEOUT)
        await publish(stream, instance, 2)
        await stream.flush(TIMEOUT)
    assert [data for data, _ in await kept(keeping_server, instance)] == [b"2"]


async def test_an_event_that_the_stream_refuses_does_not_count_as_published(
    keeping_server: NatsServer, instance: str
) -> None:
    async with opened(keeping_server, instance) as (stream, _):
        client = await nats.connect(keeping_server.url)
        config = await config_of(keeping_server, instance)
        await client.jetstream().update_stream(config.evolve(max_msg_size=500))
        await client.close()
        await publish(stream, instance, 10**500)
        with pytest.raises(Unavailable, match="refuses"):
            await stream.flush(TIMEOUT)
        await publish(stream, instance, 1)
        await stream.flush(TIMEOUT)


async def test_a_stream_that_was_there_is_waited_for_a_while(
    own_keeping_server: NatsServer, instance: str, tmp_path: Path
) -> None:
    clock = Clock()
    without = NatsServer(tmp_path, "", own_keeping_server.port)
    try:
        async with opened(own_keeping_server, instance, clock) as (stream, bus):
            own_keeping_server.stop()
            await until(lambda: not bus.connected)
            without.start()
            await until(lambda: bus.connected)
            await publish(stream, instance, 1)
            with pytest.raises(Unavailable, match=r"away|the connection was lost"):
                await stream.flush(TIMEOUT)
            clock.now += event_stream.ABSENT_FOR
            await stream.flush(TIMEOUT)
    finally:
        without.stop()


async def test_a_stream_that_cannot_be_made_is_done_without(
    keeping_server: NatsServer, instance: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = await nats.connect(keeping_server.url)
    await client.jetstream().add_stream(name=f"other-{instance}", subjects=[f"kaa.v1.events.{instance}.>"])
    try:
        async with opened(keeping_server, instance) as (stream, _):
            await publish(stream, instance, 1)
            await stream.flush(TIMEOUT)
        with pytest.raises(NotFoundError):
            await client.jetstream().stream_info(f"kaa-{instance}-events")
    finally:
        await client.close()
    assert [record.levelname for record in caplog.records if record.name == event_stream.__name__] == ["ERROR"]


async def test_a_flush_waits_only_for_what_was_published_before(keeping_server: NatsServer, instance: str) -> None:
    async with opened(keeping_server, instance) as (stream, _), asyncio.TaskGroup() as tasks:
        going_on = True

        async def go_on() -> None:
            number = 0
            while going_on:
                await publish(stream, instance, number)
                number += 1
                await asyncio.sleep(0)

        tasks.create_task(go_on())
        for _ in range(5):
            await stream.flush(TIMEOUT)
        going_on = False
