from collections import Counter
from typing import Any

import pytest

from epr.filters.filter_set import FilterSet, Rule
from epr.filters.model import Filter, Status
from epr.filters.queries import FilterQuery, compile_filter_query
from epr.model import NO_CHANGES, Endpoint, State, metadata_changes
from kaa_common.store import Document, Query

ENDPOINT = Endpoint(
    id="id",
    revision=7,
    state=State.REGISTERED,
    tenant="tenant",
    application="kettle",
    app_version="kettle-v1",
    app_version_at=100,
    created_at=100,
    metadata={"city": "Kyiv", "level": 3},
    filters_generation=2,
)


class Rules:
    """Filters whose evaluations are counted."""

    def __init__(self) -> None:
        self.evaluated: Counter[str] = Counter()
        self.rules: list[Rule] = []

    def add(self, filter_id: str, query: Document, status: Status = Status.ACTIVE) -> None:
        compiled = compile_filter_query(query)

        def matches(document: Document) -> bool:
            self.evaluated[filter_id] += 1
            return compiled.query.matches(document)

        made = Filter(
            id=filter_id,
            revision=1,
            tenant="tenant",
            application="kettle",
            name=None,
            description=None,
            mongo_query=query,
            status=status,
            created_at=1,
            updated_at=1,
        )
        counting = FilterQuery(query=Query(source=query, matches=matches), mentions=compiled.mentions)
        self.rules.append(Rule(made, counting))

    def at(self, generation: int) -> FilterSet:
        made = FilterSet(generation, self.rules)
        self.evaluated.clear()
        return made


@pytest.fixture
def rules() -> Rules:
    return Rules()


def changed(
    filter_set: FilterSet, before: Endpoint, metadata: dict[str, Any], app_version: str = "kettle-v1"
) -> Endpoint:
    after, changes = before.changed_into(before.with_metadata(metadata, 300).with_app_version(app_version, 300))
    return filter_set.applied(before, after, changes)


def test_only_filters_that_mention_what_changed_are_evaluated(rules: Rules) -> None:
    for number in range(3000):
        rules.add(f"other-{number}", {f"metadata.key_{number}": 1})
    rules.add("level", {"metadata.level": {"$gt": 3}})
    rules.add("level-too", {"$or": [{"metadata.level": 4}, {"metadata.city": "Lviv"}]})
    rules.add("city", {"metadata.city": "Kyiv"})
    rules.add("version", {"application_version": "kettle-v2"})
    rules.add("any", {"metadata": {"$elemMatch": {"value": 4}}})
    filter_set = rules.at(2)
    after = changed(filter_set, ENDPOINT, {"city": "Kyiv", "level": 4})
    assert after.filters == ("any", "level", "level-too")
    assert rules.evaluated == {"any": 1, "level": 1, "level-too": 1}
    rules.evaluated.clear()
    assert changed(filter_set, after, dict(after.metadata), "kettle-v2").filters == (*after.filters, "version")
    assert rules.evaluated == {"version": 1}


def test_a_new_endpoint_is_matched_against_what_it_can_match(rules: Rules) -> None:
    for number in range(3000):
        rules.add(f"other-{number}", {f"metadata.key_{number}": 1})
    rules.add("city", {"metadata.city": "Kyiv"})
    rules.add("no-town", {"metadata.town": None})
    rules.add("version", {"application_version": {"$ne": "kettle-v2"}, "metadata.city": {"$exists": False}})
    rules.add("all", {})
    filter_set = rules.at(2)
    assert filter_set.applied_to_new(ENDPOINT._replace(filters_generation=0)).filters == ("all", "city", "no-town")
    assert rules.evaluated == {"city": 1, "no-town": 1, "version": 1, "all": 1}


def test_a_pending_filter_is_evaluated_whatever_changed(rules: Rules) -> None:
    rules.add("pending", {"metadata.city": "Kyiv"}, Status.PENDING)
    rules.add("cannot-match", {"metadata.town": "Kyiv"}, Status.PENDING)
    rules.add("active", {"metadata.city": "Kyiv"})
    filter_set = rules.at(3)
    after = changed(filter_set, ENDPOINT, {"city": "Kyiv", "level": 4})
    assert (after.filters, after.filters_generation) == (("pending",), 3)
    assert rules.evaluated == {"pending": 1}


def test_a_filter_is_left_when_it_matches_no_more(rules: Rules) -> None:
    rules.add("a", {"metadata.level": 3})
    rules.add("b", {"metadata.city": "Kyiv"})
    rules.add("c", {"metadata.level": {"$gt": 3}})
    before = ENDPOINT._replace(filters=("a", "b"))
    assert changed(rules.at(2), before, {"city": "Kyiv", "level": 4}).filters == ("b", "c")


def test_a_removed_key_counts_as_changed(rules: Rules) -> None:
    rules.add("a", {"metadata.level": 3})
    rules.add("b", {"metadata.level": None})
    assert changed(rules.at(2), ENDPOINT._replace(filters=("a",)), {"city": "Kyiv"}).filters == ("b",)


def test_a_deleted_filter_goes_and_one_that_is_not_known_stays(rules: Rules) -> None:
    rules.add("deleted", {}, Status.DELETED)
    filter_set = rules.at(3)
    before = ENDPOINT._replace(filters=("deleted", "unknown"))
    assert changed(filter_set, before, {}).filters == ("unknown",)
    assert filter_set.applied_to_new(ENDPOINT).filters == ()
    assert filter_set.seen("deleted") is None
    assert (filter_set.knows(["deleted"]), filter_set.knows(["unknown"])) == (True, False)


def test_a_deleted_filter_stays_until_the_next_generation(rules: Rules) -> None:
    rules.add("deleted", {}, Status.DELETED)
    rules.add("level", {"metadata.level": 4})
    before = ENDPOINT._replace(filters=("deleted",))
    assert changed(rules.at(2), before, {"level": 4}).filters == ("deleted", "level")
    assert changed(rules.at(3), before, {"level": 4}).filters == ("level",)


def test_a_change_without_filters_is_as_it_was_decided() -> None:
    after, changes = ENDPOINT.changed_into(ENDPOINT.with_metadata({}, 300))
    assert FilterSet(0, ()).applied(ENDPOINT, after, changes) is after


def test_a_change_that_concerns_no_filter_copies_nothing(rules: Rules) -> None:
    rules.add("city", {"metadata.city": "Kyiv"})
    after, changes = ENDPOINT.changed_into(ENDPOINT.with_metadata({"city": "Kyiv", "level": 4}, 300))
    assert rules.at(2).applied(ENDPOINT, after, changes) is after


def test_a_pass_writes_another_document_of_the_same_revision_when_nothing_matches_anew(rules: Rules) -> None:
    rules.add("pending", {"metadata.city": "Lviv"}, Status.PENDING)
    brought = rules.at(3).reapplied(ENDPOINT)
    assert (brought.revision, brought.filters_generation) == (7, 3)
    assert brought.document_revision == ENDPOINT.document_revision + 1
    changed_again, _ = brought.changed_into(brought.with_metadata({}, 300))
    assert (changed_again.revision, changed_again.document_revision) == (8, ENDPOINT.document_revision + 2)


def test_a_pass_makes_a_revision_of_what_matches_anew(rules: Rules) -> None:
    rules.add("pending", {"metadata.city": "Kyiv"}, Status.PENDING)
    rules.add("gone", {}, Status.DELETED)
    brought = rules.at(3).reapplied(ENDPOINT._replace(filters=("gone",)))
    assert (brought.revision, brought.filters, brought.filters_generation) == (8, ("pending",), 3)


def test_a_pass_takes_a_deleted_filter_out_without_anybody_seeing_it(rules: Rules) -> None:
    rules.add("gone", {}, Status.DELETED)
    brought = rules.at(3).reapplied(ENDPOINT._replace(filters=("gone", "unknown")))
    assert (brought.revision, brought.restamped, brought.filters) == (7, 1, ("unknown",))


def test_the_generation_of_an_endpoint_never_gets_lower(rules: Rules) -> None:
    rules.add("city", {"metadata.city": "Kyiv"})
    after, _ = ENDPOINT.changed_into(ENDPOINT.with_metadata({}, 300))
    changes = metadata_changes(ENDPOINT.metadata, after.metadata)
    assert rules.at(1).applied(ENDPOINT, after, changes).filters_generation == 2
    assert rules.at(1).applied(ENDPOINT, after, NO_CHANGES) is after
