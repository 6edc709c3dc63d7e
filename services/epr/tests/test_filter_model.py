from dataclasses import replace

import pytest

from epr.filters.model import Filter, Progress, Status

FILTER = Filter(
    id="0f3a",
    revision=3,
    tenant="tenant",
    application="kettle",
    name="Kyiv",
    description="All in Kyiv",
    mongo_query={"metadata.city": "Kyiv", "metadata.level": 1},
    status=Status.ACTIVE,
    created_at=100,
    updated_at=200,
)
WAITING = {"subject": "s", "data": "AAAA", "headers": {"Nats-Msg-Id": "1"}}


@pytest.mark.parametrize(
    "filter_",
    [
        FILTER,
        replace(FILTER, name=None, description=None, status=Status.PENDING),
        replace(FILTER, status=Status.DELETED, outbox=(WAITING,), pending_events=300),
    ],
)
def test_a_filter_comes_back_from_its_document(filter_: Filter) -> None:
    assert Filter.from_document(filter_.to_document()) == filter_


@pytest.mark.parametrize("status", [Status.PENDING, Status.DELETED])
def test_what_is_not_active_awaits_a_pass(status: Status) -> None:
    assert replace(FILTER, status=status).to_document()["awaits_pass"] is True
    assert "awaits_pass" not in FILTER.to_document()


def test_a_deleted_filter_leaves_its_name_and_the_list() -> None:
    assert FILTER.to_document()["unique_name"] == "name Kyiv"
    deleted = FILTER.deleted().to_document()
    assert (deleted["unique_name"], deleted["is_listed"], deleted["revision"]) == ("0f3a", False, 4)


def test_a_removed_filter_is_one_for_the_outbox_to_delete() -> None:
    removed = replace(FILTER, status=Status.DELETED, outbox=(WAITING,)).removed_document(300)
    assert (removed["deleted"], removed["pending"], removed["outbox"], removed["revision"]) == (True, 300, [WAITING], 4)
    assert "awaits_pass" not in removed


def test_the_same_texts_are_no_change() -> None:
    same = FILTER.changed(300, name="Kyiv", description="All in Kyiv", mongo_query=dict(FILTER.mongo_query))
    assert same is FILTER


def test_another_name_keeps_the_status() -> None:
    named = FILTER.changed(300, name=None, description="All in Kyiv", mongo_query=FILTER.mongo_query)
    assert named == replace(FILTER, revision=4, name=None, updated_at=300)


@pytest.mark.parametrize(
    "query",
    [{}, {"metadata.city": "Kyiv", "metadata.level": 1.0}, {"metadata.level": 1, "metadata.city": "Kyiv"}],
)
def test_a_query_that_differs_in_a_bit_is_pending(query: dict[str, object]) -> None:
    changed = FILTER.changed(300, name="Kyiv", description="All in Kyiv", mongo_query=query)
    assert changed == replace(FILTER, revision=4, mongo_query=query, status=Status.PENDING, updated_at=300)


def test_a_pass_is_of_one_replica_until_it_ends_or_is_silent() -> None:
    begun = Progress(id="tenant/kettle", revision=4, generation=7).begun("one", 1000, 2000, 5)
    assert (begun.generation, begun.revision, begun.evaluated, begun.total) == (8, 5, 0, 5)
    assert Progress.from_document(begun.to_document()) == begun
    assert not begun.is_held_by_other("one", 1500)
    assert begun.is_held_by_other("other", 1500)
    assert not begun.is_held_by_other("other", 2001)
    assert begun.renewed(3000, 2).is_held_by_other("other", 2001)
    assert not begun.ended().is_held_by_other("other", 1500)


def test_a_pass_is_shown_with_the_pending_filters_that_it_began_with() -> None:
    begun = Progress(id="tenant/kettle").begun("one", 1000, 2000, 5)
    pending = replace(FILTER, status=Status.PENDING, updated_at=1000)
    assert begun.covers(pending)
    assert not begun.covers(FILTER)
    assert not begun.covers(replace(pending, updated_at=1001))
    assert not begun.ended().covers(pending)
