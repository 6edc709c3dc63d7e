"""What the SQLite adapter owes beyond the contract: durability, several processes on one file, bounded waiting."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import sleep

import apsw
import pytest

from kaa_common.store import Collection, Document, Index, Query, StoreUnavailable, compile_query
from kaa_common.store.sqlite import SqliteStore

BY_NAME = Index("by_name", ("name",), unique=True)
THINGS = Collection("things", (BY_NAME,))

WRITER = """
import asyncio, sys
from itertools import count
from pathlib import Path
from kaa_common.store import Collection, Index
from kaa_common.store.sqlite import SqliteStore

THINGS = Collection("things", (Index("by_name", ("name",), unique=True),))

async def write(store, worker):
    for i in count():
        document = {"_id": f"{worker}-{i}", "revision": 1, "name": f"{worker}-{i}", "padding": "x" * 500}
        await store.insert(THINGS, document)
        assert await store.replace(THINGS, document | {"revision": 2}, 1)
        print(document["_id"], flush=True)

async def main():
    async with SqliteStore(Path(sys.argv[1])) as store:
        await store.ensure([THINGS])
        async with asyncio.TaskGroup() as group:
            for worker in range(16):
                group.create_task(write(store, worker))

asyncio.run(main())
"""


def thing(document_id: str, revision: int = 1) -> Document:
    return {"_id": document_id, "revision": revision, "name": document_id}


async def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    acknowledged = [line.strip() for line in lines if line.endswith("\n")]

    async with SqliteStore(path) as store:
        found = await store.get(THINGS, acknowledged)
        documents, keys = await store.count(THINGS), await store.count(THINGS, index=BY_NAME)

    assert len(acknowledged) >= 500
    assert [document_id for document_id in acknowledged if found[document_id]["revision"] != 2] == []
    assert documents == keys


async def test_replicas_may_share_a_file(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "store.db") for _ in range(3)]

    async def add(store: SqliteStore) -> None:
        async with store:
            await store.ensure([THINGS])
            for _ in range(10):
                while True:
                    current = (await store.get(THINGS, ["counter"])).get("counter")
                    if current is None:
                        await asyncio.sleep(0)
                        continue
                    following = thing("counter", current["revision"] + 1)
                    if await store.replace(THINGS, following, current["revision"]):
                        break

    async with SqliteStore(tmp_path / "store.db") as first, asyncio.TaskGroup() as group:
        for store in stores:
            group.create_task(add(store))
        await first.ensure([THINGS])
        await first.insert(THINGS, thing("counter"))

    async with SqliteStore(tmp_path / "store.db") as store:
        assert await store.get(THINGS, ["counter"]) == {"counter": thing("counter", 31)}


async def test_a_file_from_before_the_queried_members_lay_apart_is_read_on(tmp_path: Path) -> None:
    queried = Collection("queried", queried=("m",), keyed="m")
    documents = [thing(name) | {"m": [{"key": "size", "value": 97.6}]} for name in ("a", "b")]
    with closing(apsw.Connection(str(tmp_path / "store.db"))) as older:
        older.execute(
            "CREATE TABLE queried (id TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL)"
        )
        for document in documents:
            row = (document["_id"], document["revision"], json.dumps(document))
            older.execute("INSERT INTO queried VALUES (?, ?, ?)", row)
    query = compile_query({"m": {"$elemMatch": {"key": "size", "value": {"$gt": 97}}}})

    async with SqliteStore(tmp_path / "store.db") as store:
        await store.ensure([queried])
        assert (await store.query(queried, query, limit=9)).documents == documents
        assert await store.replace(queried, documents[0] | {"revision": 2}, 1)
        assert (await store.query(queried, query, limit=9)).documents == [documents[0] | {"revision": 2}, documents[1]]
        assert await store.count(queried, query=query) == 2


async def test_a_replica_keeps_the_indexes_a_newer_one_added(tmp_path: Path) -> None:
    by_size = Index("by_size", ("size",))
    async with SqliteStore(tmp_path / "store.db") as older, SqliteStore(tmp_path / "store.db") as newer:
        await older.ensure([THINGS])
        await older.insert(THINGS, thing("before") | {"size": 1})
        await newer.ensure([Collection("things", (BY_NAME, by_size))])

        await older.insert(THINGS, thing("after") | {"size": 2})

        page = await newer.page(THINGS, by_size, limit=9)
        assert [document["_id"] for document in page] == ["before", "after"]


async def test_a_locked_file_is_unavailable_and_then_available_again(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.db", deadline=0.3) as store:
        await store.ensure([THINGS])
        other = apsw.Connection(str(tmp_path / "store.db"))
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable):
            await store.insert(THINGS, thing("a"))
        assert await store.get(THINGS, ["a"]) == {}
        other.execute("ROLLBACK")
        other.close()

        await store.insert(THINGS, thing("b"))
        assert (await store.get(THINGS, ["b"])) == {"b": thing("b")}


async def test_a_scan_ends_with_its_deadline(tmp_path: Path) -> None:
    def matches_slowly(_document: Document) -> bool:
        sleep(0.01)
        return False

    async with SqliteStore(tmp_path / "store.db") as store:
        await store.ensure([THINGS])
        async with asyncio.TaskGroup() as group:
            for i in range(500):
                group.create_task(store.insert(THINGS, thing(str(i))))

    async with SqliteStore(tmp_path / "store.db", deadline=0.2) as store:
        with pytest.raises(StoreUnavailable):
            await store.query(THINGS, Query(source={}, matches=matches_slowly), limit=1)
        async with asyncio.timeout(2):  # the whole scan would take five seconds
            while True:
                try:
                    found = await store.query(THINGS, compile_query({}), limit=1)
                    break
                except StoreUnavailable:
                    continue
        assert len(found.documents) == 1


async def test_an_error_of_one_batch_leaves_the_thread_running(tmp_path: Path) -> None:
    unknown = Collection("unknown")
    async with SqliteStore(tmp_path / "store.db") as store:
        await store.ensure([THINGS])

        with pytest.raises(StoreUnavailable, match="no such table"):
            await store.insert(unknown, thing("a"))
        with pytest.raises(StoreUnavailable, match="no such table"):
            await store.get(unknown, ["a"])

        await store.insert(THINGS, thing("a"))
        assert await store.get(THINGS, ["a"]) == {"a": thing("a")}


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.db") as store:
        await store.ensure([THINGS])

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get(THINGS, ["a"])


async def test_the_file_and_its_directory_are_made_for_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "data" / "store.db"

    async with SqliteStore(path) as store:
        await store.ping()

        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is no database" * 100)

    with pytest.raises(StoreUnavailable, match=r"store\.db cannot be used"):
        async with SqliteStore(tmp_path / "store.db"):
            pass


async def test_a_path_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        async with SqliteStore(tmp_path / "file" / "store.db"):
            pass
