"""What SQL says of a document is what the matcher says, wherever it says something."""

import math
from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kaa_common.store import Collection, QueryError, compile_query
from support.sqlite_verdicts import connection_for, verdict

THINGS = Collection("things", queried=("m", "s"), keyed="m")

SMALL = [0, -0.0, 1, 1.0, -1, 0.1, 97.6, 20, 100, 1000.5, 1e-7, 5e-324]
LARGE = [1e15, 1e16, 10**16, 1e17, 1e20, 1.5e300, 1.7976931348623157e308]
INTEGERS = [2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
NUMBERS = st.sampled_from([*SMALL, *LARGE, *INTEGERS])
PLAIN = ["", "a", "ab", "abc", "B", "K", "97.6", "null", "50%", "5_0", "a" * 300, "2024-01-01", "2024-01-01 00:00"]
ODD = ["[", '"', " ", "!", "\\", 'say "hi"', "tab\t", "nul\0nul", "\x7f", "\U0001f600"]
OTHER_CASES = ["\u212a", "\u0131", "\u017f", "\u0444", "\u0424"]
TEXTS = st.sampled_from([*PLAIN, *ODD, *OTHER_CASES])
SCALARS = st.sampled_from([None, True, False]) | NUMBERS | TEXTS
INNER = st.sampled_from(["a", "0", "key", "value", "", 'q"', "\u0444"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=2), max_leaves=4
)
KEYS = st.sampled_from(["a", "b", "a b", 'q"q', "b\\s", "%", "_", "\u0444", "", "key", "x\x01", "0", "$a", "a.b"])
ENTRIES = st.dictionaries(KEYS, VALUES, max_size=4).map(
    lambda members: [{"key": key, "value": value} for key, value in members.items()]
)
NOT_ENTRIES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, 1, {}, {"a": 1}, [1], [{"key": "a"}], [{"key": 1, "value": 1}], [{"value": 1, "key": "a"}]),
        [{"key": "a", "value": 1}, {"key": "a", "value": 97.6}],
        [{"key": "a", "value": 1, "more": 2}],
    ]
)
DOCUMENTS = st.fixed_dictionaries(
    {"_id": st.sampled_from(["x", "abc", "ABC", "\u0444"]), "revision": st.just(1)},
    optional={"m": ENTRIES | ENTRIES | ENTRIES | NOT_ENTRIES, "s": VALUES, "t": VALUES},
)
PATTERNS = st.sampled_from(
    ["a", "^a", "b$", "^.$", "[^a]", "", "97", "k", "50%", "5_0", "\u0444", '"hi"', "\\\\", "nul"]
)


def near(number: float) -> st.SearchStrategy[int | float]:
    """What is next to a number, or the same in another type."""
    others: list[int | float] = [number, float(number), math.nextafter(number, 0), math.nextafter(number, math.inf)]
    if isinstance(number, int):
        others += [n for n in (number - 1, number + 1) if -(2**63) <= n < 2**64]
    elif number.is_integer() and -(2**63) <= number < 2**64:
        others.append(int(number))
    return st.sampled_from([n for n in others if math.isfinite(n)])


LITERALS = VALUES.filter(lambda value: not (isinstance(value, dict) and value))
BOUNDS = NUMBERS.flatmap(near) | SCALARS
CONDITIONS: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        NUMBERS.flatmap(near),
        LITERALS,
        *(st.fixed_dictionaries({name: BOUNDS}) for name in ("$gt", "$gte", "$lt", "$lte", "$eq", "$ne")),
        st.tuples(BOUNDS, BOUNDS).map(lambda bounds: {"$gt": bounds[0], "$lt": bounds[1]}),
        *(st.fixed_dictionaries({name: st.lists(LITERALS | BOUNDS, max_size=3)}) for name in ("$in", "$nin", "$all")),
        st.fixed_dictionaries({"$regex": PATTERNS}, optional={"$options": st.sampled_from(["", "i"])}),
        st.fixed_dictionaries({"$exists": st.booleans()}),
        st.fixed_dictionaries({"$size": st.integers(0, 3)}),
        st.fixed_dictionaries(
            {"$type": st.lists(st.sampled_from(["null", "bool", "number", "string", "object", "array"]), min_size=1)}
        ),
        st.fixed_dictionaries({"$elemMatch": st.fixed_dictionaries({"$gt": BOUNDS})}),
        st.fixed_dictionaries({"$not": CONDITIONS.filter(lambda it: isinstance(it, dict) and bool(it))}),
    )
)
KEY_CONDITIONS = (
    KEYS
    | st.fixed_dictionaries({"$eq": KEYS}, optional={"$ne": KEYS})
    | st.fixed_dictionaries({"$in": st.lists(KEYS, max_size=3)}, optional={"$ne": KEYS})
)
VALUE_PATHS = st.sampled_from(["value", "value", "value.a", "value.0", "value.a.a", "value.key", "value.\u0444"])
ELEMENTS = st.one_of(
    st.fixed_dictionaries({"key": KEY_CONDITIONS}),
    st.tuples(KEY_CONDITIONS, VALUE_PATHS, CONDITIONS).map(lambda it: {"key": it[0], it[1]: it[2]}),
    st.tuples(KEYS, VALUE_PATHS, CONDITIONS, VALUE_PATHS, CONDITIONS).map(
        lambda it: {"key": it[0], it[1]: it[2], it[3]: it[4]}
    ),
    st.tuples(VALUE_PATHS, CONDITIONS).map(lambda it: {it[0]: it[1]}),
)
OF_ENTRIES = st.fixed_dictionaries({"$elemMatch": ELEMENTS})
CLAUSES = st.one_of(
    OF_ENTRIES.map(lambda condition: {"m": condition}),
    OF_ENTRIES.map(lambda condition: {"m": {"$not": condition}}),
    st.tuples(st.sampled_from(["m.value", "m.key", "m", "s", "s.a", "s.a.0", "t", "_id"]), CONDITIONS).map(
        lambda it: {it[0]: it[1]}
    ),
)
QUERIES = st.recursive(
    CLAUSES,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda it: {it[0]: it[1]}
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    with connection_for(tmp_path_factory.mktemp("store"), THINGS) as connection:
        yield connection


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, document=DOCUMENTS)
def test_sql_contradicts_the_matcher_nowhere(
    connection: apsw.Connection, query: dict[str, Any], document: dict[str, Any]
) -> None:
    try:
        matches = compile_query(query).matches(document)
    except QueryError:  # nested deeper than is allowed
        assume(False)
    possible, certain = verdict(connection, THINGS, query, document)
    assert certain <= matches <= possible


@pytest.mark.parametrize(
    "condition",
    [
        97.6,
        {"$gt": 97.5},
        {"$gte": 97.6, "$lt": 98},
        {"$in": ["x", 97.6]},
        {"$ne": 97.5},
        {"$exists": True},
        {"$type": "number"},
        {"$not": {"$gt": 98}},
    ],
)
def test_of_scalars_sql_is_certain(connection: apsw.Connection, condition: Any) -> None:
    for element, expected in (({"key": "a", "value": condition}, True), ({"key": "b", "value": condition}, False)):
        document = {"_id": "x", "revision": 1, "m": [{"key": "a", "value": 97.6}]}
        assert verdict(connection, THINGS, {"m": {"$elemMatch": element}}, document) == (expected, expected)


@pytest.mark.parametrize(
    "value", [97.5, "97.6", "97.7", True, None, {"a": 97.6}, {"key": "a", "value": 97.6}, 97.60000000000001]
)
def test_what_cannot_match_is_not_looked_at(connection: apsw.Connection, value: Any) -> None:
    document = {"_id": "x", "revision": 1, "m": [{"key": "b", "value": 97.6}, {"key": "a", "value": value}]}
    query = {"m": {"$elemMatch": {"key": "a", "value": 97.6}}}
    assert verdict(connection, THINGS, query, document) == (False, False)


def test_a_query_of_any_length_is_one_that_sqlite_takes(connection: apsw.Connection) -> None:
    element = {"m": {"$elemMatch": {"key": "a", "value": 1}}}
    document = {"_id": "x", "revision": 1, "m": [{"key": "a", "value": 1}]}
    clauses = [{"s": number} for number in range(1000)]
    for query in ({"$and": [element] * 200}, {"$or": [*clauses, element]}, {"$nor": [{"$and": clauses}]}):
        assert verdict(connection, THINGS, compile_query(query).source, document)[0]
