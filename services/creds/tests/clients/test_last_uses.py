import pytest

from creds.clients import last_uses
from creds.clients.documents import BASIC_CREDENTIALS, LAST_USES
from creds.clients.last_uses import LastUses, open_last_uses
from kaa_common.store import DocumentStore
from kaa_common.store.sqlite import SqliteStore
from support.waiting import until


@pytest.fixture
async def client_store(client_store: DocumentStore) -> DocumentStore:
    """The store, with credentials."""
    for name in "abc":
        await client_store.insert(
            BASIC_CREDENTIALS, {"_id": name, "revision": 1, "tenantId": "tenant", "username": name}
        )
    return client_store


async def test_uses_are_seen_at_once_and_written_together(client_store: DocumentStore) -> None:
    uses = LastUses(client_store)
    for used_ms in (5, 7, 6):
        uses.note("a", used_ms)
    uses.note("b", 9)
    assert await uses.of(["a", "b", "c"]) == {"a": 7, "b": 9}
    assert await client_store.count(LAST_USES) == 0
    await uses.flush()
    assert await LastUses(client_store).of(["a", "b", "c"]) == {"a": 7, "b": 9}
    kept = await client_store.get(LAST_USES, ["a"])
    assert kept["a"]["revision"] == 1


async def test_a_hundred_uses_are_one_write(client_store: DocumentStore) -> None:
    uses = LastUses(client_store)
    for used_ms in range(1, 101):
        uses.note("a", used_ms)
    await uses.flush()
    await uses.flush()
    assert (await client_store.get(LAST_USES, ["a"]))["a"] == {"_id": "a", "revision": 1, "usedDate": 100}


async def test_the_latest_use_on_any_replica_counts(client_store: DocumentStore) -> None:
    one, other = LastUses(client_store), LastUses(client_store)
    other.note("a", 20)
    await other.flush()
    one.note("a", 10)
    await one.flush()
    assert await one.of(["a"]) == {"a": 20}
    one.note("a", 30)
    assert await one.of(["a"]) == {"a": 30}
    await one.flush()
    assert await other.of(["a"]) == {"a": 30}


async def test_what_was_deleted_is_forgotten(client_store: DocumentStore) -> None:
    uses = LastUses(client_store)
    uses.note("a", 1)
    await uses.flush()
    uses.note("a", 2)
    await uses.forget("a")
    await uses.flush()
    assert await uses.of(["a"]) == {}
    assert await client_store.count(LAST_USES) == 0


async def test_what_another_replica_has_deleted_leaves_nothing(client_store: DocumentStore) -> None:
    uses = LastUses(client_store)
    for name in "ab":
        uses.note(name, 1)
    await client_store.delete(BASIC_CREDENTIALS, "a", None)
    await uses.flush()
    assert await client_store.get(LAST_USES, ["a", "b"]) == {"b": {"_id": "b", "revision": 1, "usedDate": 1}}
    assert uses._noted == {}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_leaving_writes_what_is_noted(client_store: DocumentStore) -> None:
    async with open_last_uses(client_store) as uses:
        uses.note("a", 1)
    assert await LastUses(client_store).of(["a"]) == {"a": 1}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_many_uses_are_written_before_the_interval_is_over(
    client_store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_uses, "FLUSH_AT", 3)
    async with open_last_uses(client_store) as uses:
        for name in "abc":
            uses.note(name, 1)
        await until(lambda: not uses._noted)
        assert await client_store.count(LAST_USES) == 3


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_notes_wait_for_a_store_that_is_away(client_store: SqliteStore) -> None:
    uses = LastUses(client_store)
    uses.note("a", 1)
    await client_store.__aexit__(None, None, None)
    await uses.try_to_flush()
    assert uses._noted == {"a": 1}
