import asyncio

import pytest

from epr import relations as module
from epr.relations import RELATIONS, Relation
from kaa_common.clock import Deadline
from kaa_common.errors import BadRequest, Conflict, NotFound
from kaa_common.messages.eprmp import (
    GET_RELATIONS,
    EndpointRelationsGetRequest,
    EndpointRelationsGetResponse,
    EndpointRelationsUpdated,
)
from kaa_common.rpc import Rpc, request_header
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import Events, Names, Replica, on_one_store


def told(events: Events) -> list[tuple[str, ...]]:
    """The ends of the relations that were told to be updated."""
    first = dict(zip(events.ids, events.records, strict=True))
    return [record.endpoint_ids for record in first.values() if isinstance(record, EndpointRelationsUpdated)]


async def ids(replica: Replica, endpoint_id: str, relation: str = "contains") -> list[str]:
    found = await replica.api.relations.of(endpoint_id, relation)
    return [one.to_id if relation == "contains" else one.from_id for one in found]


@pytest.fixture
async def endpoints(epr: Replica) -> list[str]:
    """House, room, lamp, kettle."""
    return [(await epr.endpoint({}, endpoint_id=name)).id for name in ("house", "room", "lamp", "kettle")]


async def test_a_relation_is_seen_from_both_ends_until_it_is_removed(
    epr: Replica, endpoints: list[str], events: Events
) -> None:
    relations = epr.api.relations
    await relations.link([Relation("house", "room"), Relation("room", "lamp"), Relation("room", "kettle")])
    assert await ids(epr, "house") == ["room"]
    assert await ids(epr, "room") == ["kettle", "lamp"]
    assert await ids(epr, "room", "!contains") == ["house"]
    assert await ids(epr, "lamp", "!contains") == ["room"]
    assert await ids(epr, "lamp") == []

    await relations.unlink([Relation("room", "lamp"), Relation("house", "lamp")])
    assert await ids(epr, "room") == ["kettle"]
    assert await ids(epr, "lamp", "!contains") == []
    await until(lambda: len(told(events)) == 4)
    assert told(events)[-1] == ("room", "lamp")


async def test_what_changes_nothing_is_told_to_nobody(epr: Replica, endpoints: list[str], events: Events) -> None:
    relations = epr.api.relations
    for _ in range(2):
        await relations.link([Relation("house", "room"), Relation("house", "room")])
    for _ in range(2):
        await relations.unlink([Relation("house", "room")])
    await relations.link([Relation("house", "room")])
    await until(lambda: len(told(events)) == 3)
    assert len({name for name in events.ids if "relations" in name}) == 3
    assert await ids(epr, "house") == ["room"]


@on_one_store
async def test_a_relation_that_cannot_be_is_refused_with_all_others(epr: Replica, endpoints: list[str]) -> None:
    link = epr.api.relations.link
    good = Relation("house", "room")
    with pytest.raises(NotFound, match="nowhere"):
        await link([good, Relation("house", "nowhere")])
    with pytest.raises(BadRequest, match="itself"):
        await link([good, Relation("house", "house")])
    with pytest.raises(BadRequest, match="at most"):
        await link([good] * 1001)
    with pytest.raises(BadRequest, match="at most"):
        await epr.api.relations.unlink([good] * 1001)
    assert await ids(epr, "house") == []
    with pytest.raises(NotFound):
        await ids(epr, "nowhere")
    with pytest.raises(BadRequest):
        await epr.api.relations.of("house", "is contained in")


@on_one_store
async def test_an_endpoint_has_a_limited_number_of_relations(
    epr: Replica, endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RELATIONS", 2)
    link = epr.api.relations.link
    with pytest.raises(Conflict, match="house"):
        await link([Relation("house", name) for name in ("room", "lamp", "kettle")])
    await link([Relation("house", "room"), Relation("house", "lamp")])
    await link([Relation("house", "room")])
    with pytest.raises(Conflict, match="house"):
        await link([Relation("house", "kettle")])
    await link([Relation("room", "kettle"), Relation("lamp", "kettle")])
    shelf = (await epr.endpoint({})).id
    with pytest.raises(Conflict, match="kettle"):
        await link([Relation(shelf, "room"), Relation(shelf, "kettle")])


@pytest.mark.parametrize("gone", ["house", "room"])
async def test_the_relations_of_an_unregistered_endpoint_go_with_it(
    epr: Replica, other_epr: Replica, endpoints: list[str], events: Events, store: DocumentStore, gone: str
) -> None:
    await epr.api.relations.link([Relation("house", "room"), Relation("kettle", "lamp")])
    await epr.registrar.unregister(gone, lambda _: None)
    left = "room" if gone == "house" else "house"
    assert await ids(epr, left) == await ids(epr, left, "!contains") == []
    await epr.endpoint({}, endpoint_id=gone)
    assert await ids(epr, gone) == await ids(epr, gone, "!contains") == []
    await until(lambda: told(events).count(("house", "room")) == 2)
    assert told(events).count(("kettle", "lamp")) == 1
    assert await ids(epr, "kettle") == ["lamp"]

    await epr.api.relations.link([Relation("house", "room")])
    assert await ids(epr, "house") == ["room"]
    await until(lambda: told(events).count(("house", "room")) >= 3)


@on_one_store
async def test_a_sweep_removes_what_a_crash_has_left(
    epr: Replica, endpoints: list[str], events: Events, store: DocumentStore
) -> None:
    await epr.api.relations.link([Relation("house", "room"), Relation("kettle", "lamp")])
    [document] = (await store.get(RELATIONS, ["contains:house:room"])).values()
    # As if the room had been registered anew while nobody listened.
    assert await store.replace(RELATIONS, document | {"to_since": 1}, document["revision"])
    await epr.api.relations.sweep()
    await until(lambda: told(events).count(("house", "room")) == 2)
    assert await ids(epr, "kettle") == ["lamp"]


async def test_of_many_changes_at_once_each_has_its_event(
    epr: Replica, other_epr: Replica, endpoints: list[str], events: Events
) -> None:
    relation = [Relation("house", "room")]
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            replica = (epr, other_epr)[number % 2]
            change = replica.api.relations.link if number % 3 else replica.api.relations.unlink
            tasks.create_task(change(relation))
    await epr.api.relations.unlink(relation)
    await epr.api.relations.link(relation)
    assert await ids(epr, "house") == ["room"]

    def revisions() -> list[int]:
        return [int(name.split(":")[3]) for name in dict.fromkeys(events.ids) if "relations" in name]

    await until(lambda: len(revisions()) % 2 == 1)
    assert len(revisions()) == len(set(revisions()))


async def ask(rpc: Rpc, names: Names, endpoint_id: str, relation: str) -> EndpointRelationsGetResponse:
    request = EndpointRelationsGetRequest(
        **request_header(Deadline.after(10)), endpoint_id=endpoint_id, relation=relation
    )
    return (await rpc.call(GET_RELATIONS, names.epr, request)).message


@on_one_store
async def test_another_service_asks_for_relations(epr: Replica, endpoints: list[str], rpc: Rpc, names: Names) -> None:
    await epr.api.relations.link([Relation("room", "lamp"), Relation("room", "kettle")])
    answers: list[tuple[str, str, int, tuple[str, ...]]] = [
        ("room", "contains", 200, ("kettle", "lamp")),
        ("lamp", "!contains", 200, ("room",)),
        ("lamp", "contains", 200, ()),
        ("nowhere", "contains", 404, ()),
        ("room", "has", 400, ()),
    ]
    for endpoint_id, relation, status_code, others in answers:
        response = await ask(rpc, names, endpoint_id, relation)
        assert (response.status_code, response.endpoint_ids) == (status_code, others)
        assert (response.reason_phrase is None) == (status_code == 200)
