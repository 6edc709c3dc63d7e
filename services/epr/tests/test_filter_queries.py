from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epr.filters.queries import MENTIONS_ANY_KEY, MENTIONS_APPLICATION_VERSION, compile_filter_query
from kaa_common.store import QueryError, compile_query

CITY = {"key": "city", "value": "Kyiv"}


def queried(metadata: dict[str, Any], app_version: str = "kettle-v1") -> dict[str, Any]:
    """What a query sees of an endpoint."""
    array = [{"key": key, "value": value} for key, value in metadata.items()]
    return {"application_version": app_version, "metadata": array}


def matches(query: dict[str, Any], metadata: dict[str, Any], app_version: str = "kettle-v1") -> bool:
    return compile_filter_query(query).query.matches(queried(metadata, app_version))


def test_the_application_version_is_queried() -> None:
    assert matches({"application_version": "kettle-v1"}, {})
    assert not matches({"application_version": "kettle-v2"}, {})
    assert matches({"application_version": {"$in": ["kettle-v1", "kettle-v2"]}}, {})


@pytest.mark.parametrize(
    "query",
    [
        {"metadata": {"$elemMatch": CITY}},
        {"metadata": {"$elemMatch": {"key": {"$in": ["city", "town"]}, "value": {"$regex": "^Ky"}}}},
        {"metadata": {"$elemMatch": {"$and": [{"key": "city"}, {"value": "Kyiv"}]}}},
        {"metadata": {"$elemMatch": {"value": "Kyiv"}}},
        {"metadata.city": "Kyiv"},
        {"metadata.city": {"$ne": "Lviv", "$exists": True}},
        {"$or": [{"metadata.city": "Kyiv"}, {"metadata": {"$elemMatch": {"key": "town"}}}]},
    ],
)
def test_both_forms_find_a_value_of_metadata(query: dict[str, Any]) -> None:
    assert matches(query, {"level": 3, "city": "Kyiv"})
    assert not matches(query, {"level": 3, "city": "Lviv"})
    assert not matches(query, {"level": 3})


@pytest.mark.parametrize(
    "query",
    [
        {"metadata": {"$not": {"$elemMatch": CITY}}},
        {"metadata.city": {"$ne": "Kyiv"}},
        {"metadata.city": {"$nin": ["Kyiv"]}},
        {"metadata.city": {"$not": {"$regex": "^Ky"}}},
        {"$nor": [{"metadata.city": "Kyiv"}]},
        {"metadata.city": {"$in": [None, "Lviv"]}},
        {"$or": [{"metadata.city": None}, {"metadata.city": "Lviv"}]},
    ],
)
def test_what_is_denied_holds_where_there_is_no_such_key(query: dict[str, Any]) -> None:
    assert matches(query, {"city": "Lviv"})
    assert matches(query, {})
    assert not matches(query, {"city": "Kyiv"})


def test_a_path_leads_into_a_value() -> None:
    assert matches({"metadata.place.room": {"$gt": 200}}, {"place": {"room": 234}})
    assert matches({"metadata.places.0.room": 234}, {"places": [{"room": 234}]})
    assert matches({"metadata.places.room": 234}, {"places": [{"room": 1}, {"room": 234}]})
    assert not matches({"metadata.place.room": 234}, {"place": {"floor": 234}, "room": 234})


def test_a_key_may_be_called_like_a_member_of_the_array_form() -> None:
    assert matches({"metadata.key": 1, "metadata.value": 2}, {"key": 1, "value": 2})
    assert not matches({"metadata.key": "city"}, {"city": 1})


@pytest.mark.parametrize(
    ("query", "mentions"),
    [
        ({}, set()),
        ({"application_version": "kettle-v1"}, {MENTIONS_APPLICATION_VERSION}),
        ({"metadata.application_version": "kettle-v1"}, {"application_version"}),
        ({"metadata.city": "Kyiv", "metadata.place.room": {"$gt": 1}}, {"city", "place"}),
        ({"$or": [{"metadata.a": 1}, {"$and": [{"metadata.b": 1}, {"metadata.a": {"$not": {"$gt": 1}}}]}]}, {"a", "b"}),
        ({"metadata": {"$elemMatch": CITY}}, {"city"}),
        ({"metadata": {"$elemMatch": {"key": {"$eq": "city"}}}}, {"city"}),
        ({"metadata": {"$not": {"$elemMatch": {"key": {"$in": ["a", "b"]}}}}}, {"a", "b"}),
        ({"metadata": {"$elemMatch": {"key": {"$regex": "^c"}}}}, {MENTIONS_ANY_KEY}),
        ({"metadata": {"$elemMatch": {"key": {"$in": ["a", None]}}}}, {MENTIONS_ANY_KEY}),
        ({"metadata": {"$elemMatch": {"value": "Kyiv"}}}, {MENTIONS_ANY_KEY}),
        ({"metadata": {"$elemMatch": {"$or": [{"key": "city"}]}}}, {MENTIONS_ANY_KEY}),
    ],
)
def test_a_query_mentions_what_its_verdict_depends_on(query: dict[str, Any], mentions: set[str]) -> None:
    assert compile_filter_query(query).mentions == mentions


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"$where": "true"}, "$where"),
        ({"metadata.city": {"$where": "true"}}, "$where"),
        ({"$expr": {"$gt": ["$a", "$b"]}}, "$expr"),
        ({"metadata": {"$elemMatch": {"key": "a", "value": {"$near": 1}}}}, "$near"),
        ({"endpoint_id": "x"}, "endpoint_id cannot be queried"),
        ({"_id": "x"}, "_id cannot be queried"),
        ({"application_version.name": "x"}, "application_version.name cannot be queried"),
        ({"metadata.": 1}, "empty part"),
        ({"metadata.a-b": 1}, "metadata.a-b cannot be queried"),
        ({"$or": [{"metadata.a": 1}, {"tenant": "x"}]}, "tenant cannot be queried"),
        ({"metadata": []}, "$elemMatch"),
        ({"metadata": {"$size": 1}}, "$elemMatch"),
        ({"metadata": {"$not": {"$size": 1}}}, "$elemMatch"),
        ({"metadata": {"$elemMatch": {"$eq": {"key": "a"}}}}, "$elemMatch"),
        ({"metadata": {"$elemMatch": {"name": "a"}}}, "$elemMatch"),
        ({"metadata": {"$elemMatch": {"$or": [{"key": "a"}, {"values": 1}]}}}, "$elemMatch"),
        ({"metadata.a": {"$in": "a"}}, "$in needs an array"),
        ({"metadata.a": {"$gt": 1, "b": 2}}, "mixed"),
        ({"metadata.a": "x" * 20_000}, "longer than 16384 bytes"),
        ({"$or": [{"metadata.a": None}] * 700}, "metadata.<key> written out"),
    ],
)
def test_another_query_is_refused_with_the_reason(query: dict[str, Any], reason: str) -> None:
    with pytest.raises(QueryError) as refused:
        compile_filter_query(query)
    assert reason in str(refused.value)


KEYS = st.sampled_from(["a", "b"])
SCALARS = st.sampled_from([None, True, 0, 1, 1.5, "x", "xy", ""])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["c", "0"]), inner, max_size=2),
    max_leaves=4,
)
OPERATIONS: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.one_of(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("$eq", "$ne"), VALUES)),
        st.fixed_dictionaries({}, optional=dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), SCALARS)),
        st.fixed_dictionaries({}, optional={name: st.lists(VALUES, max_size=2) for name in ("$in", "$nin", "$all")}),
        st.fixed_dictionaries(
            {},
            optional={
                "$exists": st.booleans(),
                "$size": st.integers(0, 2),
                "$type": st.sampled_from(["null", "string", "array"]),
                "$regex": st.sampled_from(["^x", "y$"]),
                "$not": OPERATIONS.filter(bool),
            },
        ),
    ).filter(bool)
)
PATHS = st.sampled_from(["metadata.a", "metadata.b", "metadata.a.c", "metadata.a.0", "metadata.b.0.c"])
QUERIES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(PATHS, VALUES | OPERATIONS, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=2), max_size=2
    ),
    max_leaves=4,
)


def is_short(query: dict[str, Any]) -> bool:
    """What nests deeper than is allowed when written out is refused."""
    try:
        compile_filter_query(query)
    except QueryError:
        return False
    return True


SHORT_QUERIES = QUERIES.filter(is_short)


@given(query=SHORT_QUERIES, metadata=st.dictionaries(KEYS, VALUES, max_size=2))
def test_the_plain_form_means_what_it_says_of_an_object(query: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert matches(query, metadata) == compile_query(query).matches({"metadata": metadata})


@given(query=SHORT_QUERIES, metadata=st.dictionaries(KEYS, VALUES, max_size=2), other=VALUES)
def test_a_key_that_is_not_mentioned_changes_no_verdict(
    query: dict[str, Any], metadata: dict[str, Any], other: Any
) -> None:
    for key in {"a", "b", "d"} - compile_filter_query(query).mentions:
        assert matches(query, metadata) == matches(query, {**metadata, key: other})
