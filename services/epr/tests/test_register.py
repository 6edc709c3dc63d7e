import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from epr.metadata import Metadata, merge
from epr.model import Endpoint
from epr.register import ENDPOINTS
from kaa_common.errors import Conflict, NotFound, PreconditionFailed
from kaa_common.messages.elce import AppVersionUpdatedEvent, RegisteredEvent, UnregisteredEvent
from kaa_common.messages.eme import MetadataKeyUpdatedDto, MetadataUpdatedEvent
from kaa_common.rest import check_if_match
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import Events, Replica

WRITERS = 8
WRITES = 5


def writing(members: dict[str, Any]) -> Any:
    return lambda endpoint: merge(members)(endpoint.metadata)


async def test_a_change_is_read_back_with_the_next_revision(epr: Replica) -> None:
    endpoint = await epr.endpoint({"a": 1})
    changed = await epr.register.change_metadata(endpoint.id, writing({"b": 2}))
    assert changed.revision == endpoint.revision + 1
    found = await epr.register.get(endpoint.id)
    assert (found.metadata, found.revision) == ({"a": 1, "b": 2}, changed.revision)


async def test_a_change_that_changes_nothing_has_no_revision_and_no_event(epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({"a": 1})
    same = await epr.register.change_metadata(endpoint.id, writing({"a": 1}))
    changed = await epr.register.change_metadata(endpoint.id, writing({"a": 1.0}))
    await until(lambda: len(events.messages) == 2)
    assert same.revision == endpoint.revision
    assert events.ids == [
        f"{endpoint.id}:{endpoint.revision}:lifecycle.registered",
        f"{endpoint.id}:{changed.revision}:metadata.updated",
    ]


async def test_events_tell_a_life_in_its_order(epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({"a": 1, "b": None})
    await epr.register.change_metadata(endpoint.id, lambda _: {"a": [1.0], "c": "d"})
    await epr.register.unregister(endpoint.id, lambda _: None)
    await until(lambda: len(events.messages) == 3)
    registered, updated, unregistered = events.records
    assert isinstance(registered, RegisteredEvent)
    assert (registered.endpoint_id, registered.app_version_name) == (endpoint.id, "kettle-v1")
    assert isinstance(updated, MetadataUpdatedEvent)
    assert (updated.endpoint_id, updated.app_version_name) == (endpoint.id, "kettle-v1")
    assert updated.removed == {"b": None}
    assert updated.added == {"c": '"d"'}
    assert updated.updated == {"a": MetadataKeyUpdatedDto(new_value="[1.0]", old_value="1")}
    assert isinstance(unregistered, UnregisteredEvent)
    assert unregistered.endpoint_id == endpoint.id
    assert [message.headers["Kaa-Endpoint-Revision"] for message in events.messages] == [
        str(endpoint.revision + later) for later in range(3)
    ]


async def test_a_change_of_several_things_is_one_revision_with_all_its_events(epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({"a": 1})
    changed = await epr.register.change(
        endpoint.id, lambda found: found.with_app_version("kettle-v2", 300).with_metadata({}, 300)
    )
    await until(lambda: len(events.messages) == 3)
    assert changed.revision == endpoint.revision + 1
    assert events.ids[1:] == [
        f"{endpoint.id}:{changed.revision}:lifecycle.appversion-updated",
        f"{endpoint.id}:{changed.revision}:metadata.updated",
    ]
    moved, updated = events.records[1:]
    assert isinstance(moved, AppVersionUpdatedEvent)
    assert (moved.endpoint_id, moved.previous_app_version_name, moved.app_version_name) == (
        endpoint.id,
        "kettle-v1",
        "kettle-v2",
    )
    assert (updated.app_version_name, updated.removed) == ("kettle-v2", {"a": "1"})
    found = await epr.register.get(endpoint.id)
    assert (found.app_version, found.app_version_at, found.metadata) == ("kettle-v2", 300, {})


async def test_the_same_application_version_has_no_revision_and_no_event(epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({})
    same = await epr.register.change(endpoint.id, lambda found: found.with_app_version("kettle-v1", 300))
    await epr.register.change_metadata(endpoint.id, writing({"a": 1}))
    await until(lambda: len(events.messages) == 2)
    assert (same.revision, same.app_version_at) == (endpoint.revision, endpoint.app_version_at)


async def test_what_is_not_registered_is_not_found(epr: Replica) -> None:
    gone = await epr.endpoint({})
    await epr.register.unregister(gone.id, lambda _: None)
    for endpoint_id in ("unknown", gone.id):
        with pytest.raises(NotFound):
            await epr.register.get(endpoint_id)
        with pytest.raises(NotFound):
            await epr.register.change_metadata(endpoint_id, writing({"a": 1}))
        with pytest.raises(NotFound):
            await epr.register.unregister(endpoint_id, lambda _: None)


async def test_an_unregistered_endpoint_leaves_the_store(epr: Replica, store: DocumentStore) -> None:
    endpoint = await epr.endpoint({"a": 1})
    await epr.register.unregister(endpoint.id, lambda _: None)
    async with asyncio.timeout(10):
        while await store.get(ENDPOINTS, [endpoint.id]):
            await asyncio.sleep(0.01)


async def test_what_decides_against_a_change_prevents_it(epr: Replica) -> None:
    endpoint = await epr.endpoint({"a": 1})

    def refuse(_: Endpoint) -> Metadata:
        raise Conflict("no")

    with pytest.raises(Conflict):
        await epr.register.change_metadata(endpoint.id, refuse)
    with pytest.raises(PreconditionFailed):
        await epr.register.unregister(endpoint.id, lambda found: check_if_match('"1"', found.revision))
    found = await epr.register.get(endpoint.id)
    assert (found.metadata, found.revision) == ({"a": 1}, endpoint.revision)


async def test_a_page_has_the_registered_endpoints_of_a_filter(epr: Replica) -> None:
    one = await epr.endpoint({}, "kettle-v1")
    two = await epr.endpoint({}, "kettle-v1")
    other_version = await epr.endpoint({}, "kettle-v2")
    other_application = await epr.endpoint({}, "toaster-v1")
    gone = await epr.endpoint({}, "kettle-v1")
    await epr.register.unregister(gone.id, lambda _: None)

    async def found(application: str | None, app_version: str | None) -> list[str]:
        total, endpoints = await epr.register.page(application=application, app_version=app_version, offset=0, limit=10)
        assert total == len(endpoints)
        return [endpoint.id for endpoint in endpoints]

    assert await found(None, None) == [one.id, two.id, other_version.id, other_application.id]
    assert await found("kettle", None) == [one.id, two.id, other_version.id]
    assert await found(None, "kettle-v1") == [one.id, two.id]
    assert await found("kettle", "kettle-v2") == [other_version.id]
    assert await found("toaster", "kettle-v1") == []
    total, page = await epr.register.page(application="kettle", app_version=None, offset=1, limit=1)
    assert (total, [endpoint.id for endpoint in page]) == (3, [two.id])


async def test_writers_through_two_replicas_lose_nothing(epr: Replica, other_epr: Replica, events: Events) -> None:
    endpoint = await epr.endpoint({"count": 0})

    def counting(key: str) -> Any:
        return lambda found: {**found.metadata, key: True, "count": found.metadata["count"] + 1}

    async def write(register: Any, writer: int) -> None:
        for number in range(WRITES):
            async with register.turn(endpoint.id):
                await register.change_metadata(endpoint.id, counting(f"k{writer}_{number}"))

    async with asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write((epr, other_epr)[writer % 2].register, writer))

    total = WRITERS * WRITES
    found = await epr.register.get(endpoint.id)
    assert found.metadata == {"count": total, **{f"k{w}_{n}": True for w in range(WRITERS) for n in range(WRITES)}}
    assert found.revision == endpoint.revision + total
    expected = {f"{endpoint.id}:{endpoint.revision + later}:metadata.updated" for later in range(1, total + 1)}
    await until(lambda: expected <= set(events.ids))
    # Repeated ones aside, they come in the order of the revisions, each continuing where the one before ended.
    first_copies = [events.records[events.ids.index(one)] for one in dict.fromkeys(events.ids)][1:]
    assert [record.updated["count"].new_value for record in first_copies] == [str(n) for n in range(1, total + 1)]


async def test_what_a_replica_remembers_refuses_nothing_and_hides_nothing(epr: Replica, other_epr: Replica) -> None:
    endpoint = await epr.endpoint({"a": 1})
    ours = await epr.register.change_metadata(endpoint.id, writing({"b": 1}))
    theirs = await other_epr.register.change_metadata(endpoint.id, writing({"a": 2}))

    # To what this replica wrote this would be no change.
    changed = await epr.register.change_metadata(endpoint.id, writing({"a": 1}))
    assert (changed.revision, changed.metadata) == (theirs.revision + 1, {"a": 1, "b": 1})

    def at(revision: int) -> Callable[[Endpoint], Metadata]:
        def decide(found: Endpoint) -> Metadata:
            check_if_match(f'"{revision}"', found.revision)
            return {"c": found.revision}

        return decide

    theirs = await other_epr.register.change_metadata(endpoint.id, writing({"a": 3}))
    with pytest.raises(PreconditionFailed):
        await epr.register.change_metadata(endpoint.id, at(changed.revision))
    changed = await epr.register.change_metadata(endpoint.id, at(theirs.revision))
    assert (changed.revision, changed.metadata) == (theirs.revision + 1, {"c": theirs.revision})
    assert ours.revision < theirs.revision

    await other_epr.register.unregister(endpoint.id, lambda _: None)
    with pytest.raises(NotFound):
        await epr.register.change_metadata(endpoint.id, writing({"a": 4}))


async def test_turns_come_in_the_order_of_arrival(epr: Replica) -> None:
    endpoint = await epr.endpoint({"last": -1})

    async def write(number: int) -> None:
        async with epr.register.turn(endpoint.id):
            await epr.register.change_metadata(endpoint.id, writing({"last": number}))

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(write(number))
    assert (await epr.register.get(endpoint.id)).metadata == {"last": 19}
