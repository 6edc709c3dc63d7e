"""How concurrent lookups share finds."""

import asyncio

import pytest

from kaa_common.store import StoreUnavailable
from kaa_common.store.mongodb_lookups import FINDS_AT_ONCE, Found, GatheredLookups


class Finder:
    """Answers when released, and remembers which ids were asked for in each find."""

    def __init__(self) -> None:
        self.finds: list[set[str]] = []
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def find(self, _collection: str, ids: list[str]) -> Found:
        self.finds.append(set(ids))
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return {document_id: {"_id": document_id} for document_id in ids if document_id != "absent"}


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_lookups_beyond_the_first_few_share_a_find() -> None:
    finder = Finder()
    lookups = GatheredLookups(finder.find)
    async with asyncio.TaskGroup() as group:
        tasks = []
        for i in range(FINDS_AT_ONCE + 20):
            tasks.append(group.create_task(lookups.get("things", [str(i)])))
            await settle()
        finder.release.set()

    assert len(finder.finds) == FINDS_AT_ONCE + 1
    assert all(str(i) in task.result() for i, task in enumerate(tasks))


async def test_who_joined_a_leader_that_gave_up_asks_again() -> None:
    finder = Finder()
    lookups = GatheredLookups(finder.find)
    async with asyncio.TaskGroup() as group:
        for i in range(FINDS_AT_ONCE):
            group.create_task(lookups.get("things", [f"busy-{i}"]))
            await settle()
        leader = group.create_task(lookups.get("things", ["leader"]))
        await settle()
        follower = group.create_task(lookups.get("things", ["follower"]))
        await settle()
        leader.cancel()
        await settle()
        finder.release.set()

    assert "follower" in follower.result()
    assert leader.cancelled()


async def test_an_error_of_the_store_reaches_everyone_who_joined() -> None:
    finder = Finder()
    lookups = GatheredLookups(finder.find)
    finder.error = StoreUnavailable("gone")
    async with asyncio.TaskGroup() as group:
        tasks = []
        for i in range(FINDS_AT_ONCE + 2):
            tasks.append(group.create_task(failure_of(lookups, str(i))))
            await settle()
        finder.release.set()

    assert all(task.result() == "gone" for task in tasks)
    finder.error = None
    assert await lookups.get("things", ["a", "absent"]) == {"a": {"_id": "a"}}


async def failure_of(lookups: GatheredLookups, document_id: str) -> str:
    with pytest.raises(StoreUnavailable) as unavailable:
        await lookups.get("things", [document_id])
    return str(unavailable.value)
