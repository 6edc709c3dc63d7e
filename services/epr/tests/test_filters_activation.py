import asyncio
from typing import Any

import pytest

from epr.filters import activation as activation_module
from epr.filters.activation import Activation
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.filters.filters import Filters
from epr.filters.model import Progress, Status
from kaa_common.clock import now_ms
from kaa_common.errors import Unavailable
from kaa_common.outbox import Outbox
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import Events, Names, Replica, on_one_store
from .filtering import active, all_settled, made, of_filters, texts

IN_KYIV = {"metadata.city": "Kyiv"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas that look for pending filters often; to be named before them."""
    monkeypatch.setattr(activation_module, "POLL_INTERVAL", 0.05)


@pytest.fixture
def filters(epr: Replica, store: DocumentStore, events: Events, rpc: Any, names: Names) -> Filters:
    """Filters made through a replica that dies before it can do anything about them."""
    outbox = Outbox(store, rpc.bus, FILTERS)
    return Filters(store, outbox, lambda: None, tenant="tenant", instance=names.epr, replica_id="dying")


def dying(epr: Replica, store: DocumentStore, rpc: Any, names: Names) -> Activation:
    return Activation(store, Outbox(store, rpc.bus, FILTERS), epr.register, instance=names.epr, replica_id="dying")


async def progress(store: DocumentStore) -> Progress:
    document = (await store.get(FILTER_SETS, ["tenant/kettle"]))["tenant/kettle"]
    return Progress.from_document(document)


async def test_a_filter_whose_maker_died_is_activated_by_another_replica(
    quick: None, epr: Replica, filters: Filters, store: DocumentStore
) -> None:
    endpoint = await epr.endpoint({"city": "Kyiv"})
    created = await filters.create("kettle", texts(IN_KYIV))
    await active(epr, created.id)
    assert (await epr.register.get(endpoint.id)).filters == (created.id,)


async def test_a_pass_is_taken_over_from_a_replica_that_died_in_it(
    epr: Replica,
    filters: Filters,
    store: DocumentStore,
    rpc: Any,
    names: Names,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activation_module, "PAGE", 2)
    endpoints = [await epr.endpoint({"city": "Kyiv", "number": number}) for number in range(7)]
    matched = 0
    apply_filters = epr.register.apply_filters

    async def apply_some(*arguments: Any) -> None:
        nonlocal matched
        matched += 1
        if matched > 3:
            passing.cancel()
            await asyncio.sleep(60)
        await apply_filters(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(epr.register, "apply_filters", apply_some)
        created = await filters.create("kettle", texts(IN_KYIV))
        async with asyncio.TaskGroup() as tasks:
            passing = tasks.create_task(dying(epr, store, rpc, names).activate("tenant", "kettle"))
    assert passing.cancelled()
    interrupted = await progress(store)
    assert interrupted.holder == "dying"
    assert not await epr.activation.activate("tenant", "kettle")
    released = interrupted.renewed(now_ms() - 1, 0)
    assert await store.replace(FILTER_SETS, released.to_document(), interrupted.revision)
    epr.activation.wake()
    await active(epr, created.id)
    assert (await progress(store)).generation == interrupted.generation + 1
    for endpoint in endpoints:
        assert (await epr.register.get(endpoint.id)).filters == (created.id,)
    await until(lambda: f"{created.id}:2:activated" in events.ids)
    assert [of_filters(events, endpoint.id) for endpoint in endpoints] == [[(created.id, True)]] * 7


async def test_one_replica_alone_does_a_pass(epr: Replica, filters: Filters, store: DocumentStore) -> None:
    filter_id = await made(epr, IN_KYIV)
    async with asyncio.timeout(10):
        while (free := await progress(store)).holder is not None:
            await asyncio.sleep(0.01)
    held = free.begun("other", now_ms(), now_ms() + 60_000, 5)
    assert await store.replace(FILTER_SETS, held.to_document(), free.revision)
    pending = await filters.create("kettle", texts({}))
    assert not await epr.activation.activate("tenant", "kettle")
    found = [await epr.filters.get(one) for one in (pending.id, filter_id)]
    [state, other] = await epr.filters.states("kettle", found)
    assert (state.filter.status, other.progress) == (Status.PENDING, None)
    again = held.begun("other", now_ms() + 1, now_ms() - 1, 5)
    assert await store.replace(FILTER_SETS, again.to_document(), held.revision)
    epr.activation.wake()
    await active(epr, pending.id)


async def test_a_pass_ends_when_another_replica_has_taken_over(
    epr: Replica, filters: Filters, store: DocumentStore, rpc: Any, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_module, "RENEW_INTERVAL", 0.0)
    await epr.endpoint({"city": "Kyiv"})
    apply_filters = epr.register.apply_filters

    async def taken_over(*arguments: Any) -> None:
        known = await progress(store)
        await store.replace(FILTER_SETS, known.begun("other", 1, now_ms() - 1, 1).to_document(), known.revision)
        await apply_filters(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(epr.register, "apply_filters", taken_over)
        created = await filters.create("kettle", texts(IN_KYIV))
        with pytest.raises(Unavailable, match="taken over"):
            await dying(epr, store, rpc, names).activate("tenant", "kettle")
    assert (await epr.filters.get(created.id)).status is Status.PENDING
    epr.activation.wake()
    await active(epr, created.id)


async def test_a_filter_that_is_changed_during_a_pass_waits_for_the_next(
    epr: Replica, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kyiv, lviv = await epr.endpoint({"city": "Kyiv"}), await epr.endpoint({"city": "Lviv"})
    apply_filters, changed = epr.register.apply_filters, asyncio.Event()

    async def change_first(*arguments: Any) -> None:
        if not changed.is_set():
            changed.set()
            await epr.filters.change(created.id, "kettle", lambda _: texts({"metadata.city": "Lviv"}))
        await apply_filters(*arguments)

    monkeypatch.setattr(epr.register, "apply_filters", change_first)
    created = await epr.filters.create("kettle", texts(IN_KYIV))
    await changed.wait()
    await all_settled(store)
    assert [(await epr.register.get(one.id)).filters for one in (kyiv, lviv)] == [(), (created.id,)]


@on_one_store
async def test_passes_over_several_applications_do_not_wait_for_each_other(
    epr: Replica, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await epr.endpoint({"city": "Kyiv"})
    apply_filters, may_go_on = epr.register.apply_filters, asyncio.Event()

    async def apply_later(*arguments: Any) -> None:
        await may_go_on.wait()
        await apply_filters(*arguments)

    monkeypatch.setattr(epr.register, "apply_filters", apply_later)
    slow = await epr.filters.create("kettle", texts(IN_KYIV))
    await active(epr, (await epr.filters.create("toaster", texts({}))).id)
    assert (await epr.filters.get(slow.id)).status is Status.PENDING
    [state] = await epr.filters.states("kettle", [await epr.filters.get(slow.id)])
    assert state.progress is not None
    assert (state.progress.evaluated, state.progress.total) == (0, 1)
    may_go_on.set()
    await active(epr, slow.id)


@on_one_store
async def test_a_pass_that_failed_is_done_again(
    quick: None, epr: Replica, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await epr.endpoint({"city": "Kyiv"})
    apply_filters, failed = epr.register.apply_filters, asyncio.Event()

    async def fail_first(*arguments: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise Unavailable("the store is away")
        await apply_filters(*arguments)

    monkeypatch.setattr(epr.register, "apply_filters", fail_first)
    await made(epr, IN_KYIV)
    assert failed.is_set()
