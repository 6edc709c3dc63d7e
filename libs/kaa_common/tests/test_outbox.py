import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from kaa_common.avro import decode
from kaa_common.bus import Handler
from kaa_common.clock import now_ms
from kaa_common.errors import PayloadTooLarge, Unavailable
from kaa_common.messages.scmp import ServiceSpecificConfigurationUpdateEvent
from kaa_common.outbox import MAX_CONFIRMED, MAX_UNSETTLED, PENDING, PENDING_STEP_MS, Entry, Outbox, entry, open_outbox
from kaa_common.store import Collection, Document, DocumentStore
from kaa_common.store.sqlite import SqliteStore

THINGS = Collection("things", (PENDING,))
TOO_LARGE = "kaa.v1.too-large"


class RecordingBus:
    """A bus that can be taken down, and remembers the order of what was published and confirmed."""

    def __init__(self) -> None:
        self.connected = True
        self.published: list[str] = []
        self.data: list[bytes] = []
        self.confirms = True
        self.flushed = 0
        self._callbacks: list[Callable[[], None]] = []

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if not self.connected:
            raise Unavailable("down")
        assert headers is not None
        if subject == TOO_LARGE:
            raise PayloadTooLarge("too large")
        self.published.append(headers["Nats-Msg-Id"])
        self.data.append(data)

    async def flush(self, timeout: float) -> None:
        if not self.connected or not self.confirms:
            raise Unavailable("down")
        self.flushed += 1

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 1) -> None:
        raise NotImplementedError

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def lose_connection(self) -> None:
        self.connected = False
        self._call_back()

    def reconnect(self) -> None:
        self.connected = True
        self._call_back()

    def _call_back(self) -> None:
        for callback in self._callbacks:
            callback()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with SqliteStore(tmp_path / "things.db") as store:
        await store.ensure([THINGS])
        yield store


@pytest.fixture
def bus() -> RecordingBus:
    return RecordingBus()


@pytest.fixture
def outbox(store: DocumentStore, bus: RecordingBus) -> Outbox:
    """One that does nothing in the background."""
    return Outbox(store, bus, THINGS)


def changed(revision: int, document_id: str = "a") -> Entry:
    record = ServiceSpecificConfigurationUpdateEvent(correlation_id="c", timestamp=revision, tenant_id=document_id)
    return entry("kaa.v1.service.x.scmp.configuration.upsert", record, f"{document_id}:{revision}:changed")


async def write_first(store: DocumentStore, outbox: Outbox, document_id: str = "a") -> Document:
    document = outbox.append({"_id": document_id, "revision": 1}, changed(1, document_id))
    await store.insert(THINGS, document)
    return document


async def write_next(store: DocumentStore, outbox: Outbox, before: Document) -> Document:
    revision = before["revision"] + 1
    document = outbox.append({**before, "revision": revision}, changed(revision))
    assert await store.replace(THINGS, document, before["revision"])
    return document


async def read(store: DocumentStore, document_id: str = "a") -> Document:
    return (await store.get(THINGS, [document_id]))[document_id]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_an_event_is_published_as_the_record_it_was(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    await outbox.publish(await write_first(store, outbox))
    assert decode(ServiceSpecificConfigurationUpdateEvent, bus.data[0]).tenant_id == "a"
    assert bus.published == ["a:1:changed"]


async def test_a_settled_document_has_its_revision_and_no_events(store: DocumentStore, outbox: Outbox) -> None:
    await outbox.publish(await write_first(store, outbox))
    await outbox.settle()
    assert await read(store) == {"_id": "a", "revision": 1}


async def test_events_stay_in_the_document_until_the_server_has_them(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    written = await write_first(store, outbox)
    bus.confirms = False
    await outbox.publish(written)
    await outbox.settle()
    assert await read(store) == written


async def test_a_change_without_events_costs_no_second_write(store: DocumentStore, outbox: Outbox) -> None:
    document = {"_id": "a", "revision": 1}
    assert outbox.append(document) == document


async def test_settling_an_older_revision_leaves_the_newer_one_alone(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    first = await write_first(store, outbox)
    await outbox.publish(first)
    second = await write_next(store, outbox, first)
    await outbox.settle()
    assert await read(store) == second
    assert [waiting["headers"]["Nats-Msg-Id"] for waiting in second["outbox"]] == ["a:1:changed", "a:2:changed"]


async def test_events_are_published_once_in_the_order_of_revisions_when_writers_overtake_each_other(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    first = await write_first(store, outbox)
    second = await write_next(store, outbox, first)
    await outbox.publish(second)
    await outbox.publish(first)
    await outbox.settle()
    assert bus.published == ["a:1:changed", "a:2:changed"]
    assert await read(store) == {"_id": "a", "revision": 2}


async def test_a_document_read_before_it_was_settled_does_not_publish_again(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    first = await write_first(store, outbox)
    await outbox.publish(first)
    await outbox.settle()
    second = await write_next(store, outbox, first)
    await outbox.publish(second)
    assert [waiting["headers"]["Nats-Msg-Id"] for waiting in second["outbox"]] == ["a:2:changed"]
    assert bus.published == ["a:1:changed", "a:2:changed"]


async def test_an_id_that_is_used_again_is_a_new_event(store: DocumentStore, bus: RecordingBus, outbox: Outbox) -> None:
    await outbox.publish(await write_first(store, outbox))
    await outbox.settle()
    await store.delete(THINGS, "a", 1)
    record = ServiceSpecificConfigurationUpdateEvent(correlation_id="other", timestamp=2, tenant_id="a")
    again = outbox.append({"_id": "a", "revision": 1}, entry("kaa.v1.x", record, "a:1:changed"))
    await store.insert(THINGS, again)
    await outbox.publish(again)
    assert bus.published == ["a:1:changed", "a:1:changed"]


async def test_a_tombstone_goes_with_its_events(store: DocumentStore, bus: RecordingBus, outbox: Outbox) -> None:
    first = await write_first(store, outbox)
    tombstone = outbox.append({**first, "revision": 2, "deleted": True}, changed(2))
    await store.replace(THINGS, tombstone, 1)
    await outbox.publish(tombstone)
    await outbox.settle()
    assert await store.get(THINGS, ["a"]) == {}
    assert bus.published == ["a:1:changed", "a:2:changed"]


async def test_the_bus_being_down_does_not_fail_the_writer(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    written = await write_first(store, outbox)
    bus.lose_connection()
    await outbox.publish(written)
    assert await read(store) == written


async def test_a_sweep_publishes_what_a_crash_left_behind(store: DocumentStore, bus: RecordingBus) -> None:
    crashed = Outbox(store, bus, THINGS)
    names = [f"thing-{i:03}" for i in range(250)]
    for name in names:
        await write_first(store, crashed, name)
    await store.insert(THINGS, {"_id": "quiet", "revision": 1})
    async with open_outbox(store, bus, THINGS):
        await eventually(lambda: len(bus.published) == len(names))
    assert bus.published == [f"{name}:1:changed" for name in names]
    assert all(set(document) == {"_id", "revision"} for document in (await store.get(THINGS, names)).values())


async def test_a_sweep_leaves_young_changes_to_their_writers(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    written = await write_first(store, outbox)
    await outbox.sweep(written["pending"] - 1)
    assert bus.published == []


async def test_what_was_written_while_the_bus_was_down_is_published_when_it_is_back(
    store: DocumentStore, bus: RecordingBus
) -> None:
    async with open_outbox(store, bus, THINGS) as outbox:
        bus.lose_connection()
        await outbox.publish(await write_first(store, outbox))
        assert bus.published == []
        bus.reconnect()
        await eventually(lambda: bus.published == ["a:1:changed"])
    assert await read(store) == {"_id": "a", "revision": 1}


async def test_what_was_sent_and_not_confirmed_before_a_loss_is_sent_again(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox
) -> None:
    bus.on_connection_lost(outbox.messages_lost)
    await outbox.publish(await write_first(store, outbox))
    bus.lose_connection()
    bus.reconnect()
    await outbox.settle()
    assert "outbox" in await read(store)
    await outbox.publish(await read(store))
    assert bus.published == ["a:1:changed", "a:1:changed"]


async def test_an_event_that_no_bus_takes_does_not_hold_up_the_next(
    store: DocumentStore, bus: RecordingBus, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    impossible = {**changed(1), "subject": TOO_LARGE}
    document = outbox.append({"_id": "a", "revision": 1}, impossible, changed(2))
    await store.insert(THINGS, document)
    await outbox.publish(document)
    await outbox.settle()
    assert bus.published == ["a:2:changed"]
    assert await read(store) == {"_id": "a", "revision": 1}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_writers_wait_when_too_much_is_unsettled(store: DocumentStore, bus: RecordingBus, outbox: Outbox) -> None:
    for number in range(MAX_UNSETTLED):
        await outbox.publish(outbox.append({"_id": f"thing-{number}", "revision": 1}, changed(1)))
    async with asyncio.TaskGroup() as tasks:
        held_back = tasks.create_task(outbox.publish(await write_first(store, outbox)))
        await asyncio.sleep(0)
        assert not held_back.done()
        await outbox.settle()
    assert bus.published[-1] == "a:1:changed"


async def test_concurrent_writers_lose_no_event(store: DocumentStore, bus: RecordingBus) -> None:
    async def change(outbox: Outbox) -> None:
        while True:
            before = await read(store)
            revision = before["revision"] + 1
            after = outbox.append({**before, "revision": revision}, changed(revision))
            if await store.replace(THINGS, after, before["revision"]):
                await outbox.publish(after)
                return

    async with open_outbox(store, bus, THINGS) as one, open_outbox(store, bus, THINGS) as other:
        await store.insert(THINGS, {"_id": "a", "revision": 1})
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(change(one))
                tasks.create_task(change(other))
    firsts = list(dict.fromkeys(bus.published))
    assert firsts == [f"a:{revision}:changed" for revision in range(2, 42)]


async def test_a_document_that_changes_again_soon_is_not_written_for_its_events_alone(
    store: DocumentStore, bus: RecordingBus
) -> None:
    async with open_outbox(store, bus, THINGS) as outbox:
        document = await write_first(store, outbox)
        await outbox.publish(document)
        for revision in range(2, 20):
            await eventually(lambda: bool(outbox._confirmed))
            document = await write_next(store, outbox, document)
            assert [waiting["headers"]["Nats-Msg-Id"] for waiting in document["outbox"]] == [f"a:{revision}:changed"]
            await outbox.publish(document)
        assert await read(store) == document
    assert await read(store) == {"_id": "a", "revision": 19}


async def test_only_events_that_were_confirmed_some_time_ago_are_taken_out(
    store: DocumentStore, outbox: Outbox
) -> None:
    await outbox.publish(await write_first(store, outbox, "a"))
    await outbox._confirm()
    between = asyncio.get_running_loop().time()
    young = await write_first(store, outbox, "b")
    await outbox.publish(young)
    await outbox._confirm()
    await outbox._take_out_confirmed(before=between)
    assert await store.get(THINGS, ["a", "b"]) == {"a": {"_id": "a", "revision": 1}, "b": young}


async def test_of_too_many_confirmed_documents_the_first_are_settled_at_once(
    store: DocumentStore, outbox: Outbox
) -> None:
    names = [f"thing-{number:03}" for number in range(MAX_CONFIRMED + 2)]
    for name in names:
        await outbox.publish(await write_first(store, outbox, name))
        if len(outbox._unsettled) == MAX_UNSETTLED:
            await outbox._confirm()
    await outbox._confirm()
    await outbox._take_out_confirmed(before=0)
    kept = await store.get(THINGS, names)
    assert [name for name in names if "outbox" not in kept[name]] == names[:2]


async def test_a_document_that_changes_all_the_time_seldom_moves_in_the_index(
    store: DocumentStore, outbox: Outbox
) -> None:
    before = now_ms()
    written = await write_first(store, outbox)
    assert written["pending"] % PENDING_STEP_MS == 0
    assert before - PENDING_STEP_MS < written["pending"] <= now_ms()
