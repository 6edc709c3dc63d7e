import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epr.filters.queries import compile_filter_query
from epr.search import Search, conditions_of
from epr.texts import texts_of
from kaa_common import jsontext
from kaa_common.store import Texts

from .test_filter_queries import KEYS, SHORT_QUERIES, VALUES, queried


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def has(sqlite: sqlite3.Connection, texts: Texts, metadata: dict[str, Any]) -> bool:
    """Whether SQLite finds the texts in the JSON of such an endpoint."""
    text = jsontext.dump(queried(metadata)).decode()
    like = r"SELECT ? LIKE ? ESCAPE '\'"
    return all(any(sqlite.execute(like, (text, pattern)).fetchone()[0] for pattern in group) for group in texts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=SHORT_QUERIES, metadata=st.dictionaries(KEYS, VALUES, max_size=2))
def test_whatever_matches_has_the_texts(
    sqlite: sqlite3.Connection, query: dict[str, Any], metadata: dict[str, Any]
) -> None:
    compiled = compile_filter_query(query).query
    if compiled.matches(queried(metadata)):
        assert has(sqlite, texts_of(compiled.source), metadata)


@pytest.mark.parametrize(
    ("search", "found", "not_found"),
    [
        (Search(metadata_filter="floor=3"), [3, 3.0, "3", [1, 3]], [4, "x3", None]),
        (Search(metadata_filter="floor=0"), [0, -0.0, 0.0, [0]], [1, False]),
        (Search(metadata_filter="floor=0.5"), [0.5], [0.25, 5]),
        (Search(metadata_filter="floor=true"), [True, "true", [True]], [False, 1]),
        (Search(metadata_filter='floor="10%_\\\\"'), ["10%_\\"], ["10xx\\", "10%_"]),
        (Search(metadata_filter=f"floor={10**17}"), [10**17, 1e17], []),
        (Search(metadata_filter="floor=^upper.ground$", regex=True), ["upper ground"], ["lower"]),
        (Search(multi_filter="kiosk"), ["a KIOSK", "\u212aio\u017f\u212a", ["kiosk"]], []),
        (Search(multi_filter="70"), [70, "a70b"], ["7", 71]),
        (Search(multi_filter='say "hi" \\'), ['say "hi" \\'], ["silent"]),
        (Search(multi_filter="\u0444"), ["\u0424\u0444"], []),
        (Search(query={"metadata.floor": {"$gt": 2}}), [3], []),
        (
            Search(query={"metadata.floor": {"$in": [3, "x"]}}),
            [3, "x", ["x"]],
            [4],
        ),
    ],
)
def test_what_is_searched_for_has_a_text_of_its_own(
    sqlite: sqlite3.Connection, search: Search, found: list[Any], not_found: list[Any]
) -> None:
    query = conditions_of(search, with_terms=False).query
    assert query is not None
    for value in found:
        assert query.matches({"_id": "e", **queried({"floor": value})}), value
        assert has(sqlite, query.texts, {"floor": value}), value
    for value in not_found:
        assert not has(sqlite, query.texts, {"floor": value}), value


@pytest.mark.parametrize(
    "query",
    [
        {"metadata.floor": None},
        {"metadata.floor": {"$ne": 3}},
        {"$or": [{"metadata.floor": 3}, {"metadata.floor": {"$exists": False}}]},
        {"$nor": [{"metadata.floor": 3}]},
    ],
)
def test_what_matches_without_a_key_has_no_texts(query: dict[str, Any]) -> None:
    assert texts_of(compile_filter_query(query).query.source) == ()
