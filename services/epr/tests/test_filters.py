import asyncio
from typing import Any

import pytest

from epr.filters import activation as activation_module
from epr.filters import filters as filters_module
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.filters.filters import FilterTexts
from epr.filters.model import Filter, Status
from epr.model import Endpoint
from epr.register import BY_FILTER, ENDPOINTS
from kaa_common.errors import BadRequest, Conflict, NotFound, PayloadTooLarge, PreconditionFailed
from kaa_common.messages.efe import (
    EndpointFilterActivatedEvent,
    EndpointFilterDeletedEvent,
    EndpointFilterPendingEvent,
    EndpointMatchedFilterEvent,
    EndpointUnmatchedFilterEvent,
)
from kaa_common.rest import check_if_match
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import Events, Replica, on_one_store
from .filtering import active, all_settled, made, of_filters, texts

IN_KYIV = {"metadata.city": "Kyiv"}
HOT = {"metadata": {"$elemMatch": {"key": "level", "value": {"$gt": 5}}}}


async def metadata(replica: Replica, endpoint_id: str, members: dict[str, Any]) -> Endpoint:
    async with replica.register.turn(endpoint_id):
        return await replica.register.change_metadata(endpoint_id, lambda _: members)


async def filters_of(replica: Replica, endpoint_id: str) -> tuple[str, ...]:
    return (await replica.register.get(endpoint_id)).filters


async def test_a_filter_matches_the_endpoints_that_there_are(epr: Replica, store: DocumentStore) -> None:
    kyiv = await epr.endpoint({"city": "Kyiv"})
    lviv = await epr.endpoint({"city": "Lviv"})
    toast = await epr.endpoint({"city": "Kyiv"}, "toaster-v1")
    created = await epr.filters.create("kettle", texts(IN_KYIV, "Kyiv"))
    assert (created.status, created.name, created.mongo_query) == (Status.PENDING, "Kyiv", IN_KYIV)
    found = await active(epr, created.id)
    assert found.revision > created.revision
    assert [await filters_of(epr, one.id) for one in (kyiv, lviv, toast)] == [(created.id,), (), ()]
    page = await store.page(ENDPOINTS, BY_FILTER, equals=[created.id], limit=9)
    assert [document["_id"] for document in page] == [kyiv.id]
    [state] = await epr.filters.states("kettle", [found])
    assert (state.matched, state.progress) == (1, None)


async def test_a_pass_gives_a_revision_only_to_what_it_matches(epr: Replica, events: Events) -> None:
    kyiv = await epr.endpoint({"city": "Kyiv"})
    lviv = await epr.endpoint({"city": "Lviv"})
    filter_id = await made(epr, IN_KYIV, "Kyiv")
    assert (await epr.register.get(lviv.id)).revision == lviv.revision
    assert (await epr.register.get(kyiv.id)).revision == kyiv.revision + 1
    await until(lambda: len(events.messages) >= 5)
    assert events.ids[2:] == [
        f"{filter_id}:1:pending",
        f"{kyiv.id}:{kyiv.revision + 1}:{filter_id}.ep-matched",
        f"{filter_id}:2:activated",
    ]
    pending, matched, activated = events.records[2:]
    assert isinstance(pending, EndpointFilterPendingEvent)
    assert isinstance(activated, EndpointFilterActivatedEvent)
    assert (activated.filter_id, activated.application_name, activated.filter_name) == (filter_id, "kettle", "Kyiv")
    assert isinstance(matched, EndpointMatchedFilterEvent)
    assert (matched.filter_id, matched.filter_name, matched.endpoint_id) == (filter_id, "Kyiv", kyiv.id)
    assert (matched.application_name, matched.app_version_name) == ("kettle", "kettle-v1")


async def test_a_change_after_a_pass_has_the_next_revision(epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({"city": "Lviv"})
    await made(epr, IN_KYIV)
    await made(epr, HOT)
    changed = await metadata(epr, endpoint.id, {"city": "Odesa"})
    assert changed.revision == endpoint.revision + 1
    assert (await epr.register.get(endpoint.id)).revision == changed.revision
    await until(lambda: f"{endpoint.id}:{changed.revision}:metadata.updated" in events.ids)


async def test_a_change_tells_what_matches_no_more_and_what_does_now(epr: Replica, events: Events) -> None:
    kyiv, hot = await made(epr, IN_KYIV), await made(epr, HOT)
    endpoint = await epr.endpoint({"city": "Kyiv", "level": 1})
    changed = await metadata(epr, endpoint.id, {"city": "Lviv", "level": 9})
    assert (endpoint.filters, changed.filters) == ((kyiv,), (hot,))
    await metadata(epr, endpoint.id, {"city": "Lviv", "level": 8})
    await epr.register.unregister(endpoint.id, lambda _: None)
    await until(lambda: f"{endpoint.id}:{endpoint.revision + 3}:{hot}.ep-unmatched" in events.ids)
    assert [one for one in events.ids if one.startswith(endpoint.id)] == [
        f"{endpoint.id}:{endpoint.revision}:lifecycle.registered",
        f"{endpoint.id}:{endpoint.revision}:{kyiv}.ep-matched",
        f"{endpoint.id}:{endpoint.revision + 1}:metadata.updated",
        f"{endpoint.id}:{endpoint.revision + 1}:{kyiv}.ep-unmatched",
        f"{endpoint.id}:{endpoint.revision + 1}:{hot}.ep-matched",
        f"{endpoint.id}:{endpoint.revision + 2}:metadata.updated",
        f"{endpoint.id}:{endpoint.revision + 3}:lifecycle.unregistered",
        f"{endpoint.id}:{endpoint.revision + 3}:{hot}.ep-unmatched",
    ]
    unmatched = events.records[-1]
    assert isinstance(unmatched, EndpointUnmatchedFilterEvent)
    assert (unmatched.filter_id, unmatched.endpoint_id) == (hot, endpoint.id)


async def test_another_application_version_is_matched_anew(epr: Replica) -> None:
    second = await made(epr, {"application_version": "kettle-v2"})
    endpoint = await epr.endpoint({})
    moved = await epr.register.change(endpoint.id, lambda found: found.with_app_version("kettle-v2", 300))
    back = await epr.register.change(endpoint.id, lambda found: found.with_app_version("kettle-v1", 400))
    assert (endpoint.filters, moved.filters, back.filters) == ((), (second,), ())


async def test_every_replica_matches_what_was_made_through_another(epr: Replica, other_epr: Replica) -> None:
    endpoint = await epr.endpoint({"city": "Lviv"})
    await metadata(other_epr, endpoint.id, {"city": "Odesa"})
    filter_id = await made(epr, IN_KYIV)
    assert (await metadata(other_epr, endpoint.id, {"city": "Kyiv"})).filters == (filter_id,)
    assert (await other_epr.endpoint({"city": "Kyiv"})).filters == (filter_id,)
    await epr.filters.delete(filter_id, "kettle", lambda _: None)
    await active(epr, await made(epr, HOT))
    assert (await other_epr.endpoint({"city": "Kyiv"})).filters == ()


async def test_a_registration_matches_what_was_made_through_another_replica(epr: Replica, other_epr: Replica) -> None:
    await other_epr.endpoint({"city": "Lviv"})
    filter_id = await made(epr, IN_KYIV)
    assert (await other_epr.endpoint({"city": "Kyiv"})).filters == (filter_id,)


async def test_another_query_is_pending_until_the_difference_is_told(epr: Replica, events: Events) -> None:
    kyiv = await epr.endpoint({"city": "Kyiv"})
    both = await epr.endpoint({"city": "Kyiv", "level": 9})
    hot = await epr.endpoint({"level": 9})
    filter_id = await made(epr, IN_KYIV)
    changed = await epr.filters.change(filter_id, "kettle", lambda _: texts(HOT))
    assert changed.status is Status.PENDING
    found = await active(epr, filter_id)
    assert found.mongo_query == HOT
    assert [await filters_of(epr, one.id) for one in (kyiv, both, hot)] == [(), (filter_id,), (filter_id,)]
    await until(lambda: f"{filter_id}:{found.revision}:activated" in events.ids)
    assert of_filters(events, kyiv.id) == [(filter_id, True), (filter_id, False)]
    assert of_filters(events, both.id) == [(filter_id, True)]
    assert of_filters(events, hot.id) == [(filter_id, True)]
    assert f"{filter_id}:{changed.revision}:pending" in events.ids


@on_one_store
async def test_another_name_leaves_a_filter_active(epr: Replica) -> None:
    filter_id = await made(epr, IN_KYIV, "Kyiv")
    before = await epr.filters.get(filter_id)
    named = await epr.filters.change(filter_id, "kettle", lambda _: texts(IN_KYIV, "Capital"))
    assert (named.status, named.name, named.revision) == (Status.ACTIVE, "Capital", before.revision + 1)
    assert await epr.filters.change(filter_id, "kettle", lambda _: texts(IN_KYIV, "Capital")) == named
    assert (await epr.filters.get(filter_id)).revision == named.revision


async def test_a_deleted_filter_is_gone_at_once_and_then_for_good(
    epr: Replica, events: Events, store: DocumentStore
) -> None:
    endpoint = await epr.endpoint({"city": "Kyiv"})
    filter_id = await made(epr, IN_KYIV, "Kyiv")
    await epr.filters.delete(filter_id, "kettle", lambda _: None)
    assert await epr.filters.existing([filter_id]) == set()
    assert await epr.filters.page("kettle", name=None, offset=0, limit=9) == (0, [])
    with pytest.raises(NotFound):
        await epr.filters.get(filter_id)
    with pytest.raises(NotFound):
        await epr.filters.delete(filter_id, "kettle", lambda _: None)
    await all_settled(store)
    found = await epr.register.get(endpoint.id)
    assert (found.filters, found.revision) == ((), endpoint.revision + 1)
    await until(lambda: isinstance(events.records[-1], EndpointFilterDeletedEvent))
    assert of_filters(events, endpoint.id) == [(filter_id, True)]
    async with asyncio.timeout(10):
        while await store.get(FILTERS, [filter_id]):
            await asyncio.sleep(0.01)


async def test_a_name_is_used_once_in_an_application(epr: Replica) -> None:
    await epr.filters.create("toaster", texts({}, "Kyiv"))
    first = await epr.filters.create("kettle", texts({}, "Kyiv"))
    other = await epr.filters.create("kettle", texts({}, first.id))
    await epr.filters.create("kettle", texts({}))
    await epr.filters.create("kettle", texts({}))
    with pytest.raises(Conflict):
        await epr.filters.create("kettle", texts(IN_KYIV, "Kyiv"))
    with pytest.raises(Conflict):
        await epr.filters.change(other.id, "kettle", lambda _: texts({}, "Kyiv"))
    await epr.filters.delete(first.id, "kettle", lambda _: None)
    await epr.filters.create("kettle", texts(IN_KYIV, "Kyiv"))
    total, page = await epr.filters.page("kettle", name="Kyiv", offset=0, limit=9)
    assert (total, [found.mongo_query for found in page]) == (1, [IN_KYIV])
    assert (await epr.filters.page("kettle", name=None, offset=1, limit=2))[0] == 4


@on_one_store
async def test_what_is_wrong_with_a_filter_is_refused(epr: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest, match="where"):
        await epr.filters.create("kettle", texts({"$where": "1"}))
    filter_id = (await epr.filters.create("kettle", texts({}))).id
    with pytest.raises(BadRequest, match="tenant"):
        await epr.filters.change(filter_id, "kettle", lambda _: texts({"tenant": "other"}))
    with pytest.raises(NotFound):
        await epr.filters.get(filter_id, "toaster")

    def other_revision(found: Filter) -> FilterTexts:
        check_if_match('"99"', found.revision)
        return texts({})

    with pytest.raises(PreconditionFailed):
        await epr.filters.change(filter_id, "kettle", other_revision)
    with pytest.raises(PreconditionFailed):
        await epr.filters.delete(filter_id, "kettle", lambda found: check_if_match('"99"', found.revision))
    monkeypatch.setattr(filters_module, "MAX_FILTERS", 1)
    with pytest.raises(Conflict, match="at most 1"):
        await epr.filters.create("kettle", texts({}))


async def test_endpoints_are_listed_by_version(epr: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters_module, "LIST_PAGE", 1)
    one, two = await epr.endpoint({"city": "Kyiv"}), await epr.endpoint({"city": "Kyiv"})
    other = await epr.endpoint({"city": "Kyiv"}, "kettle-v2")
    filter_id = await made(epr, IN_KYIV)
    listed = await epr.filters.endpoints_by_version(filter_id)
    assert {version: set(ids) for version, ids in listed.items()} == {
        "kettle-v1": {one.id, two.id},
        "kettle-v2": {other.id},
    }
    monkeypatch.setattr(filters_module, "MAX_LISTED", 2)
    with pytest.raises(PayloadTooLarge):
        await epr.filters.endpoints_by_version(filter_id)


@on_one_store
async def test_a_pass_waits_for_a_registration_that_began_before(
    epr: Replica, creds: Any, store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved, may_go_on = asyncio.Event(), asyncio.Event()
    complete = epr.register.complete_registration

    async def complete_later(*arguments: Any) -> Endpoint | None:
        # As it would be with a set that was read before the filter was made.
        filter_set = await epr.register.filter_sets.load("tenant", "kettle")
        reserved.set()
        await may_go_on.wait()
        with monkeypatch.context() as patched:

            async def outdated(_: Endpoint) -> Any:
                return filter_set

            patched.setattr(epr.register.filter_sets, "for_registration", outdated)
            return await complete(*arguments)

    monkeypatch.setattr(epr.register, "complete_registration", complete_later)
    async with asyncio.TaskGroup() as tasks:
        registering = tasks.create_task(epr.endpoint({"city": "Kyiv"}))
        await reserved.wait()
        created = await epr.filters.create("kettle", texts(IN_KYIV))
        async with asyncio.timeout(10):
            while not await store.get(FILTER_SETS, ["tenant/kettle"]):
                await asyncio.sleep(0.01)
        await asyncio.sleep(activation_module.RESERVATION_PAUSE * 2)
        assert (await epr.filters.get(created.id)).status is Status.PENDING
        may_go_on.set()
    assert registering.result().filters == ()
    await active(epr, created.id)
    assert await filters_of(epr, registering.result().id) == (created.id,)
