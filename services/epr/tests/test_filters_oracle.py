"""Filters against brute force: random endpoints, changes and filters, through two replicas on one store."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from epr.filters.filters import FilterTexts
from epr.metadata import Metadata
from epr.register import BY_FILTER, ENDPOINTS
from kaa_common.errors import NotFound
from kaa_common.messages.efe import EndpointMatchedFilterEvent, EndpointUnmatchedFilterEvent
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import Events, Replica
from .filtering import all_settled

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

Predicate = Callable[[Metadata, str], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A query, and what it means."""

    query: dict[str, Any]
    holds: Predicate = field(repr=False)


ATOMS = (
    Condition({}, lambda metadata, version: True),
    Condition({"metadata.a": 1}, lambda metadata, version: metadata.get("a") == 1),
    Condition({"metadata.b": None}, lambda metadata, version: "b" not in metadata),
    Condition({"metadata.b": {"$ne": 2}}, lambda metadata, version: metadata.get("b") != 2),
    Condition({"metadata.c": {"$in": [0, 3]}}, lambda metadata, version: metadata.get("c") in (0, 3)),
    Condition(
        {"metadata": {"$elemMatch": {"key": "a", "value": {"$gt": 1}}}},
        lambda metadata, version: metadata.get("a", 0) > 1,
    ),
    Condition({"metadata": {"$elemMatch": {"value": 3}}}, lambda metadata, version: 3 in metadata.values()),
    Condition({"application_version": {"$regex": "-v2$"}}, lambda metadata, version: version.endswith("-v2")),
)


def both(one: Condition, other: Condition) -> Condition:
    return Condition(
        {"$and": [one.query, other.query]},
        lambda metadata, version: one.holds(metadata, version) and other.holds(metadata, version),
    )


def either(one: Condition, other: Condition) -> Condition:
    return Condition(
        {"$or": [one.query, other.query]},
        lambda metadata, version: one.holds(metadata, version) or other.holds(metadata, version),
    )


def neither(one: Condition, other: Condition) -> Condition:
    return Condition({"$nor": [one.query, other.query]}, lambda *seen: not (one.holds(*seen) or other.holds(*seen)))


CONDITIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.builds(
        lambda combine, *two: combine(*two), st.sampled_from([both, either, neither]), inner, inner
    ),
    max_leaves=3,
)
METADATA = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something done to an endpoint or a filter through a replica; what is not there yet comes into being."""

    what: str
    number: int
    replica: int
    metadata: Metadata = field(repr=False)
    version: str = field(repr=False)
    condition: Condition = field(repr=False)


STEPS = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["metadata"] * 5 + ["version", "both", "unregister", "filter", "filter", "delete"]),
        number=st.integers(0, 3),
        replica=st.integers(0, 1),
        metadata=METADATA,
        version=st.sampled_from(["v1", "v2"]),
        condition=CONDITIONS,
    ),
    min_size=10,
    max_size=30,
)


@dataclass(slots=True)
class World:
    """An application, and what was made in it."""

    application: str
    replicas: tuple[Replica, Replica]
    endpoints: dict[int, str] = field(default_factory=dict)
    filters: dict[int, str] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    """Of the filters that are not deleted."""
    known: set[str] = field(default_factory=set)
    """Endpoints that there ever were."""

    async def do(self, step: Step) -> None:
        replica = self.replicas[step.replica]
        if step.what in ("filter", "delete"):
            await self._do_with_filter(replica, step)
        elif step.number not in self.endpoints:
            endpoint = await replica.endpoint(dict(step.metadata), f"{self.application}-{step.version}")
            # When two came into being at once the other one goes on as it is.
            free = step.number if step.number not in self.endpoints else -1 - len(self.known)
            self.endpoints[free] = endpoint.id
            self.known.add(endpoint.id)
        elif step.what == "unregister":
            await replica.register.unregister(self.endpoints.pop(step.number), lambda _: None)
        else:
            await self._change(replica, step)

    async def _do_with_filter(self, replica: Replica, step: Step) -> None:
        filter_id = self.filters.get(step.number)
        texts = FilterTexts(name=None, description=None, mongo_query=step.condition.query)
        if filter_id is None:
            created = await replica.filters.create(self.application, texts)
            self.filters[step.number] = created.id
            self.conditions[created.id] = step.condition
        elif step.what == "filter":
            await replica.filters.change(filter_id, self.application, lambda _: texts)
            self.conditions[filter_id] = step.condition
        else:
            del self.filters[step.number]
            await replica.filters.delete(filter_id, self.application, lambda _: None)
            del self.conditions[filter_id]

    async def _change(self, replica: Replica, step: Step) -> None:
        endpoint_id, version = self.endpoints[step.number], f"{self.application}-{step.version}"
        async with replica.register.turn(endpoint_id):
            await replica.register.change(
                endpoint_id,
                {
                    "metadata": lambda found: found.with_metadata(step.metadata, 1),
                    "version": lambda found: found.with_app_version(version, 1),
                    "both": lambda found: found.with_metadata(step.metadata, 1).with_app_version(version, 1),
                }[step.what],
            )

    async def read_filters(self, steps: list[Step]) -> None:
        """Of what was done at once only the store knows what came last."""
        _, filters = await self.replicas[0].filters.page(self.application, name=None, offset=0, limit=1000)
        conditions = {str(step.condition.query): step.condition for step in steps}
        self.conditions = {found.id: conditions[str(found.mongo_query)] for found in filters}

    def matching(self, metadata: Metadata, version: str) -> set[str]:
        return {one for one, condition in self.conditions.items() if condition.holds(metadata, version)}

    async def check(self, store: DocumentStore) -> None:
        """Every endpoint has the filters that it matches, and is found by them."""
        found: Mapping[str, set[str]] = {filter_id: set() for filter_id in self.conditions}
        for endpoint_id in self.endpoints.values():
            endpoint = await self.replicas[0].register.get(endpoint_id)
            assert set(endpoint.filters) == self.matching(endpoint.metadata, endpoint.app_version)
            assert len(set(endpoint.filters)) == len(endpoint.filters)
            for filter_id in endpoint.filters:
                found[filter_id].add(endpoint_id)
        for filter_id, endpoint_ids in found.items():
            documents = await store.page(ENDPOINTS, BY_FILTER, equals=[filter_id], limit=100)
            assert {document["_id"] for document in documents} == endpoint_ids


Told = dict[int, set[tuple[str, bool]]]
"""By revision, which filters an endpoint was told to match or not to match any more."""


def told_of(events: Events, endpoint_id: str) -> Told:
    told: Told = defaultdict(set)
    for message_id, record in zip(events.ids, events.records, strict=True):
        is_match = isinstance(record, EndpointMatchedFilterEvent)
        if (is_match or isinstance(record, EndpointUnmatchedFilterEvent)) and record.endpoint_id == endpoint_id:
            told[int(message_id.split(":")[1])].add((record.filter_id, is_match))
    return dict(told)


def verdicts_of(events: Events, endpoint_id: str) -> dict[str, list[bool]]:
    """What an endpoint was told of each filter, in the order of its revisions."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for _, told in sorted(told_of(events, endpoint_id).items()):
        for filter_id, is_match in told:
            verdicts[filter_id].append(is_match)
    return verdicts


def last_told(events: Events, endpoint_id: str) -> set[str]:
    return {filter_id for filter_id, verdicts in verdicts_of(events, endpoint_id).items() if verdicts[-1]}


def checked(test: Any) -> Any:
    return settings(
        max_examples=4,
        deadline=None,
        phases=[Phase.generate],  # making a failing example smaller takes longer than a test may
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )(test)


worlds = count()


@checked
@given(steps=STEPS)
async def test_each_change_tells_what_it_made_match_and_what_not(
    epr: Replica, other_epr: Replica, store: DocumentStore, events: Events, steps: list[Step]
) -> None:
    """One step after the other, so that every event is foreseen."""
    world = World(f"steps{next(worlds)}", (epr, other_epr))
    held: dict[str, tuple[int, set[str]]] = {}
    expected: dict[str, Told] = defaultdict(dict)
    for step in steps:
        await world.do(step)
        await all_settled(store)
        await world.check(store)
        now: dict[str, tuple[int, set[str]]] = {}
        for endpoint_id in world.endpoints.values():
            endpoint = await epr.register.get(endpoint_id)
            now[endpoint_id] = endpoint.revision, world.matching(endpoint.metadata, endpoint.app_version)
        for endpoint_id in held.keys() | now.keys():
            last_revision, before = held.get(endpoint_id, (0, set()))
            revision, after = now.get(endpoint_id, (last_revision + 1, set()))
            lost = {(filter_id, False) for filter_id in (before - after) & world.conditions.keys()}
            gained = {(filter_id, True) for filter_id in after - before}
            if lost or gained:
                expected[endpoint_id][revision] = lost | gained
        held = now
    with contextlib.suppress(TimeoutError):
        await until(lambda: all(told_of(events, one) == told for one, told in expected.items()), within=5.0)
    assert {one: told_of(events, one) for one in world.known} == {one: expected[one] for one in world.known}


@checked
@given(steps=STEPS, more=STEPS)
async def test_filters_are_exact_whatever_goes_on_at_once(
    epr: Replica, other_epr: Replica, store: DocumentStore, events: Events, steps: list[Step], more: list[Step]
) -> None:
    """All at once, so that changes and passes meet at every point."""
    world = World(f"steps{next(worlds)}", (epr, other_epr))

    async def do(part: list[Step]) -> None:
        for step in part:
            # Somebody else may have deleted what it is about.
            with contextlib.suppress(NotFound, KeyError):
                await world.do(step)

    for part in (steps, more):
        async with asyncio.TaskGroup() as tasks:
            for start in range(4):
                tasks.create_task(do(part[start::4]))
        await all_settled(store)
        await world.read_filters([*steps, *more])
        await world.check(store)
    for endpoint_id in world.endpoints.values():
        held = set((await epr.register.get(endpoint_id)).filters)
        async with asyncio.timeout(10):
            while last_told(events, endpoint_id) & world.conditions.keys() != held:
                await asyncio.sleep(0.01)
    for endpoint_id in world.known:
        for verdicts in verdicts_of(events, endpoint_id).values():
            assert verdicts == [number % 2 == 0 for number in range(len(verdicts))]
