import asyncio
from typing import Any

import pytest

from epr import batches as module
from epr.batch_task import BATCHES, Item, Task, parts_of
from epr.batches import MAX_ITEMS, Batches
from kaa_common.app_versions import AppVersions
from kaa_common.errors import BadRequest, NotFound, PayloadTooLarge, TooManyRequests, Unavailable
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore
from support.waiting import POLL, WITHIN

from .conftest import FakeCreds, Names, Replica, app_version_named, on_one_store

KETTLE = app_version_named("kettle-v1")


def items(*numbers: int, token: bool = False) -> list[Item]:
    return [
        Item(
            endpoint_id=f"id-{number}",
            metadata={"n": number, "exact": 1.0},
            token=f"token{number}" if token else None,
            is_given=token,
        )
        for number in numbers
    ]


async def decided(batches: Batches, task_id: str, count: int) -> dict[str, Any]:
    """The status, as soon as it tells what became of so many."""
    async with asyncio.timeout(WITHIN):
        while True:
            status: dict[str, Any] = await batches.status(task_id, "kettle")
            if status["createdCount"] + status["failedCount"] >= count:
                return status
            await asyncio.sleep(POLL)


async def stored(store: DocumentStore, task_id: str) -> dict[str, Any]:
    [document] = (await store.get(BATCHES, [parts_of(task_id)[0]])).values()
    return document


@pytest.fixture
async def idle(epr: Replica, store: DocumentStore, rpc: Rpc, names: Names) -> Batches:
    """Does nothing by itself."""
    app_versions = AppVersions(rpc, names.tekton, names.epmx)
    return Batches(store, epr.registrar, app_versions, tenant="elsewhere")


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_MS", 20)


async def test_the_endpoints_of_a_batch_are_registered(epr: Replica, creds: FakeCreds, store: DocumentStore) -> None:
    batches = epr.api.batches
    task_id = await batches.submit(KETTLE, [*items(*range(70)), *items(*range(70, 75), token=True)])
    status = await decided(batches, task_id, 75)
    assert (status["createdCount"], status["failedCount"], status["failed"]) == (75, 0, [])
    assert [entry["endpointId"] for entry in status["created"]] == [f"id-{number}" for number in range(75)]
    for entry in status["created"]:
        assert creds.tokens["kettle", entry["endpointToken"]][0] == entry["endpointId"]
        assert set(entry) == {"endpointToken", "endpointId"}
    assert status["created"][74]["endpointToken"] == "token74"
    assert len({entry["endpointToken"] for entry in status["created"]}) == 75
    assert (await epr.register.get("id-7")).metadata == {"n": 7, "exact": 1.0}


async def test_what_fails_is_told_with_its_reason(epr: Replica, creds: FakeCreds) -> None:
    await epr.endpoint({}, endpoint_id="id-1")
    creds.tokens["kettle", "token3"] = ("other", "x")
    too_much = Item(endpoint_id="id-9", metadata={"a": "x" * 300_000})
    task_id = await epr.api.batches.submit(KETTLE, [*items(0, 1), *items(2, 3, token=True), too_much])
    status = await decided(epr.api.batches, task_id, 5)
    assert [entry["endpointId"] for entry in status["created"]] == ["id-0", "id-2"]
    one, three, nine = status["failed"]
    assert one == {"metadata": {"n": 1, "exact": 1.0}, "status": "FAILED", "statusReason": "the endpoint id is taken"}
    assert three == {
        "endpointToken": "token3",
        "metadata": {"n": 3, "exact": 1.0},
        "status": "FAILED",
        "statusReason": "the endpoint token is taken",
    }
    assert "262144" in nine["statusReason"]


async def test_the_store_does_not_tell_the_tokens(epr: Replica, store: DocumentStore) -> None:
    task_id = await epr.api.batches.submit(KETTLE, [*items(0), *items(1, token=True)])
    status = await decided(epr.api.batches, task_id, 2)
    document = await stored(store, task_id)
    for entry in status["created"]:
        assert entry["endpointToken"] not in str(document)
    assert task_id.partition(".")[2] not in str(document)


@on_one_store
async def test_only_the_whole_id_opens_a_task(epr: Replica) -> None:
    one, two = [await epr.api.batches.submit(KETTLE, items(number)) for number in range(2)]
    await decided(epr.api.batches, one, 1)
    foreign = f"{one.partition('.')[0]}.{two.partition('.')[2]}"
    for task_id in (foreign, one.partition(".")[0], f"unknown.{one.partition('.')[2]}", "", "a.b", ".", one + "A"):
        with pytest.raises(NotFound):
            await epr.api.batches.status(task_id, "kettle")
    with pytest.raises(NotFound):
        await epr.api.batches.status(one, "toaster")


async def test_another_replica_finishes_what_a_dead_one_began(
    epr: Replica, creds: FakeCreds, store: DocumentStore, rpc: Rpc, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP", 5)
    monkeypatch.setattr(module, "HELD_FOR_MS", 50)
    app_versions = AppVersions(rpc, names.tekton, names.epmx)
    dying, other = (Batches(store, epr.registrar, app_versions, tenant="elsewhere") for _ in range(2))
    task_id = await dying.submit(KETTLE, items(*range(20)))

    class Died(BaseException):
        pass

    writes = 0
    write = dying._write

    async def write_until_dead(before: Task, after: Task) -> Task | None:
        nonlocal writes
        writes += 1
        if writes == 5:  # the second step is registered, and nobody has written that down
            raise Died
        return await write(before, after)

    monkeypatch.setattr(dying, "_write", write_until_dead)
    with pytest.raises(Died):
        await dying.work()
    assert len(creds.tokens) == 10

    status = (await other.status(task_id, "kettle"))["createdCount"]
    assert status == 5
    async with asyncio.timeout(WITHIN):
        while not await other.work():
            await asyncio.sleep(POLL)
    finished = await decided(other, task_id, 20)
    assert finished["createdCount"] == 20
    assert {(owner, token) for (_, token), (owner, _) in creds.tokens.items()} == {
        (entry["endpointId"], entry["endpointToken"]) for entry in finished["created"]
    }


@on_one_store
@pytest.mark.usefixtures("without_pauses")
async def test_a_service_that_is_away_is_waited_for(epr: Replica, creds: FakeCreds) -> None:
    creds.failure = Unavailable("away")
    task_id = await epr.api.batches.submit(KETTLE, items(0, 1))
    assert (await epr.api.batches.status(task_id, "kettle"))["createdCount"] == 0
    creds.failure = None
    assert (await decided(epr.api.batches, task_id, 2))["createdCount"] == 2


@on_one_store
@pytest.mark.usefixtures("without_pauses")
async def test_a_service_is_not_waited_for_for_ever(
    idle: Batches, creds: FakeCreds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIED_FOR_MS", 0)
    creds.failure = Unavailable("away")
    task_id = await idle.submit(KETTLE, items(0))
    assert await idle.work()
    [failed] = (await decided(idle, task_id, 1))["failed"]
    assert failed["statusReason"] == "away"


@on_one_store
async def test_an_application_version_that_is_gone_fails_all(idle: Batches) -> None:
    task_id = await idle.submit(app_version_named("kettle-v9"), items(0, 1))
    assert await idle.work()
    status = await idle.status(task_id, "kettle")
    assert status["failedCount"] == 2


@on_one_store
async def test_a_batch_has_a_size(idle: Batches) -> None:
    for wanted in ([], items(*range(MAX_ITEMS + 1))):
        with pytest.raises(BadRequest, match="1 to 1000"):
            await idle.submit(KETTLE, wanted)
    with pytest.raises(PayloadTooLarge):
        await idle.submit(KETTLE, [Item(endpoint_id="id", metadata={"a": "x" * 9_000_000})])


@on_one_store
async def test_only_so_many_batches_are_open_and_remembered(
    idle: Batches, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    monkeypatch.setattr(module, "MAX_DONE", 1)
    tasks = [await idle.submit(KETTLE, items(number)) for number in range(2)]
    with pytest.raises(TooManyRequests):
        await idle.submit(KETTLE, items(2))
    while await idle.work():
        pass
    await idle.forget()
    with pytest.raises(NotFound):
        await idle.status(tasks[0], "kettle")
    assert (await idle.status(tasks[1], "kettle"))["createdCount"] == 1

    document = await stored(store, tasks[1])
    assert await store.replace(BATCHES, document | {"due_at": 1}, document["revision"])
    await idle.forget()
    with pytest.raises(NotFound):
        await idle.status(tasks[1], "kettle")
