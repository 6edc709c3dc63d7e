"""How concurrent writes share bulk writes, and what becomes of them when one fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pymongo import DeleteOne
from pymongo.errors import AutoReconnect, DuplicateKeyError

from kaa_common.store import Collection, DuplicateKey, Index, StoreUnavailable, mongodb, mongodb_writes
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.mongodb_writes import WRITES_PER_BULK, GatheredWrites, Model, Outcomes

THINGS = Collection("things", (Index("by_name", ("name",), unique=True),))


class Server:
    """Answers when released, and remembers what it was asked."""

    def __init__(self) -> None:
        self.bulks: list[list[int]] = []
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def write(self, models: list[Model]) -> Outcomes:
        numbers = [model._filter["number"] for model in models if isinstance(model, DeleteOne)]
        self.bulks.append(numbers)
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return [DuplicateKeyError("taken") if number == 13 else number for number in numbers]


@asynccontextmanager
async def gathering(server: Server) -> AsyncIterator[GatheredWrites]:
    async with GatheredWrites(server.write) as writes:
        yield writes


def numbered(number: int) -> DeleteOne:
    return DeleteOne({"number": number})


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_writes_submitted_meanwhile_are_the_next_bulk_and_each_has_its_own_outcome() -> None:
    server = Server()
    async with gathering(server) as writes, asyncio.TaskGroup() as group:
        first = group.create_task(writes.submit(numbered(0)))
        await settle()
        others = [group.create_task(writes.submit(numbered(number))) for number in range(1, 13)]
        refused = group.create_task(_error_of(writes, 13))
        await settle()
        server.release.set()

    assert server.bulks == [[0], list(range(1, 14))]
    assert [task.result() for task in (first, *others)] == list(range(13))
    assert isinstance(refused.result(), DuplicateKeyError)


async def _error_of(writes: GatheredWrites, number: int) -> Exception | None:
    try:
        await writes.submit(numbered(number))
    except Exception as exc:
        return exc
    return None


async def test_a_bulk_is_bounded_in_writes_and_bytes() -> None:
    server = Server()
    async with gathering(server) as writes, asyncio.TaskGroup() as group:
        group.create_task(writes.submit(numbered(0)))
        await settle()
        for _number in range(WRITES_PER_BULK + 1):
            group.create_task(writes.submit(numbered(1)))
        for _ in range(3):
            group.create_task(writes.submit(numbered(1), 9 * 1024 * 1024))
        await settle()
        server.release.set()

    assert [len(bulk) for bulk in server.bulks] == [1, WRITES_PER_BULK, 3, 1]


async def test_a_write_whose_caller_gave_up_before_its_turn_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb_writes, "BULKS_AT_ONCE", 1)
    server = Server()
    async with gathering(server) as writes, asyncio.TaskGroup() as group:
        under_way = group.create_task(writes.submit(numbered(0)))
        await settle()
        given_up = group.create_task(writes.submit(numbered(1)))
        group.create_task(writes.submit(numbered(2)))
        await settle()
        given_up.cancel()
        under_way.cancel()
        await settle()
        server.release.set()

    assert server.bulks == [[0], [2]]


async def test_when_a_bulk_fails_all_its_writes_have_failed_and_the_next_is_tried() -> None:
    server = Server()
    server.release.set()
    server.error = AutoReconnect("gone")
    async with gathering(server) as writes:
        assert isinstance(await _error_of(writes, 1), AutoReconnect)
        server.error = None
        assert await writes.submit(numbered(2)) == 2


async def test_closing_tells_those_who_still_wait() -> None:
    server = Server()
    async with asyncio.TaskGroup() as group, gathering(server) as writes:
        under_way = group.create_task(_error_of(writes, 0))
        await settle()
        waiting = group.create_task(_error_of(writes, 1))
        await settle()

    assert isinstance(under_way.result(), StoreUnavailable)
    assert isinstance(waiting.result(), StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="closed"):
        await writes.submit(numbered(2))


async def test_a_server_that_cannot_gather_writes_one_by_one(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongodb, "GATHERS_SINCE", 1000)
    async with MongoStore(request.getfixturevalue("mongodb"), "kaa_test_before_8") as store:
        await store.ensure([THINGS])
        await store.insert(THINGS, {"_id": "a", "revision": 1, "name": "a"})
        await store.insert(THINGS, {"_id": "b", "revision": 1, "name": "b"})

        assert await store.replace(THINGS, {"_id": "a", "revision": 2, "name": "a"}, 1)
        assert not await store.replace(THINGS, {"_id": "a", "revision": 2, "name": "lost"}, 1)
        with pytest.raises(DuplicateKey) as duplicate:
            await store.replace(THINGS, {"_id": "a", "revision": 3, "name": "b"}, 2)
        assert duplicate.value.index == "by_name"
        assert await store.delete(THINGS, "b", 1)
        assert not await store.delete(THINGS, "b", 1)
        assert await store.get(THINGS, ["a", "b"]) == {"a": {"_id": "a", "revision": 2, "name": "a"}}
