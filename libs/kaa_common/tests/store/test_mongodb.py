"""What the MongoDB adapter owes beyond the contract: it outlives its server."""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from kaa_common.store import Collection, Document, Index, StoreUnavailable
from kaa_common.store.mongodb import MongoStore
from support.mongo_server import MongoServer
from support.waiting import until

THINGS = Collection("things")
BY_NUMBER = Index("by_number", ("number",))
NUMBERS = Collection("numbers", (BY_NUMBER,))
REPORTS = "kaa_common.store.mongodb_reports"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MongoServer]:
    """A server of this test's own, not yet running."""
    server = MongoServer(tmp_path)
    yield server
    server.kill()


def thing(document_id: str) -> Document:
    return {"_id": document_id, "revision": 1}


async def insert_in_the_end(store: MongoStore, document: Document, deadline: float) -> None:
    async with asyncio.timeout(deadline):
        while True:
            try:
                await store.insert(THINGS, document)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_store_outlives_a_kill_9_of_its_server_and_nothing_acknowledged_is_lost(server: MongoServer) -> None:
    server.start()
    async with MongoStore(server.uri, "kaa", deadline=1.0) as store:
        await store.insert(THINGS, thing("before"))

        server.kill()
        with pytest.raises(StoreUnavailable):
            await store.insert(THINGS, thing("meanwhile"))
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await asyncio.to_thread(server.start)

        await insert_in_the_end(store, thing("after"), 10)
        assert set(await store.get(THINGS, ["before", "after"])) == {"before", "after"}


async def test_a_lost_server_is_logged_once_and_so_is_its_return(
    server: MongoServer, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == REPORTS]

    caplog.set_level(logging.INFO, REPORTS)
    connected = ("INFO", f"connected to MongoDB at 127.0.0.1:{server.port}")
    lost = ("WARNING", f"lost the connection to MongoDB at 127.0.0.1:{server.port}")
    server.start()
    async with MongoStore(server.uri, "kaa", deadline=1.0) as store:
        server.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.ping()
        await until(lambda: said() == [connected, lost])
        await asyncio.to_thread(server.start)
        await insert_in_the_end(store, thing("after"), 10)
        await until(lambda: said() == [connected, lost, connected])
    assert said() == [connected, lost, connected]


async def test_a_server_that_hangs_is_unavailable_within_the_deadline(server: MongoServer) -> None:
    server.start()
    async with MongoStore(server.uri, "kaa", deadline=0.5) as store:
        await store.insert(THINGS, thing("a"))

        with server.hanging():
            start = monotonic()
            with pytest.raises(StoreUnavailable):
                await store.get(THINGS, ["a"])
            with pytest.raises(StoreUnavailable):
                await store.replace(THINGS, thing("a"), 1)
            assert monotonic() - start < 3

        await insert_in_the_end(store, thing("b"), 10)


async def test_a_store_waits_for_its_server_and_says_so(server: MongoServer, caplog: pytest.LogCaptureFixture) -> None:
    async def open_and_ping() -> None:
        async with MongoStore(server.uri, "kaa") as store:
            await store.ping()

    with caplog.at_level(logging.WARNING, "kaa_common.store.mongodb"):
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(open_and_ping())
            while not caplog.records:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(server.start)

    record = next(record for record in caplog.records if record.name == "kaa_common.store.mongodb")
    assert record.getMessage().startswith("MongoDB cannot be reached yet, trying again in 0.25 s: MongoDB: 127.0.0.1")
    assert "Topology" not in record.getMessage()
    assert record.exc_info is None


async def test_a_uri_that_is_none_is_said_at_once() -> None:
    with pytest.raises(StoreUnavailable, match="URI"):
        async with MongoStore("http://127.0.0.1", "kaa"):
            pass


async def test_whoever_is_cancelled_is_cancelled(mongodb: str) -> None:
    async with MongoStore(mongodb, f"kaa_test_{secrets.token_hex(8)}") as store:
        await store.ensure([NUMBERS])
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                await store.page(NUMBERS, BY_NUMBER, limit=1)  # a connection is there; the driver may lose a new one
                reading = tasks.create_task(store.page(NUMBERS, BY_NUMBER, limit=1))
                # A page takes about a millisecond: some are cancelled at each of its steps, some too late.
                await asyncio.sleep(number * 0.00001)
                is_done = reading.done()
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled() or is_done
