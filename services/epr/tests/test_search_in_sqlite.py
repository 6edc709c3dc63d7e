"""What SQLite makes of the register's searches: it finds what matches, and looks at little else."""

from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epr.filters.queries import compile_filter_query
from epr.model import Endpoint, State
from epr.register import ENDPOINTS
from epr.search import Search, conditions_of
from kaa_common.store import Document
from support.sqlite_verdicts import connection_for, verdict

from .test_filter_queries import KEYS, SHORT_QUERIES, VALUES


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    with connection_for(tmp_path_factory.mktemp("store"), ENDPOINTS) as connection:
        yield connection


def document_of(metadata: dict[str, Any]) -> Document:
    return Endpoint(
        id="endpoint-1",
        revision=1,
        state=State.REGISTERED,
        tenant="kaa",
        application="kettle",
        app_version="kettle-v1",
        app_version_at=1,
        created_at=1,
        metadata=metadata,
    ).to_document()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=SHORT_QUERIES, metadata=st.dictionaries(KEYS, VALUES, max_size=2))
def test_sqlite_contradicts_no_query(
    connection: apsw.Connection, query: dict[str, Any], metadata: dict[str, Any]
) -> None:
    compiled = compile_filter_query(query).query
    possible, certain = verdict(connection, ENDPOINTS, compiled.source, document_of(metadata))
    assert certain <= compiled.matches(document_of(metadata)) <= possible


@pytest.mark.parametrize(
    ("search", "found", "not_found"),
    [
        (Search(metadata_filter="floor=3"), [3, 3.0, "3", [1, 3]], [4, "x3", None]),
        (Search(metadata_filter="floor=0"), [0, -0.0, 0.0, [0]], [1, False]),
        (Search(metadata_filter="floor=0.5"), [0.5], [0.25, 5]),
        (Search(metadata_filter="floor=true"), [True, "true", [True]], [False, 1]),
        (Search(metadata_filter='floor="10%_\\\\"'), ["10%_\\"], ["10xx\\", "10%_"]),
        (Search(metadata_filter=f"floor={10**17}"), [10**17, 1e17], [10**17 + 1]),
        (Search(metadata_filter="floor"), [None, 0, []], []),
        (Search(metadata_filter="floor=^upper.ground$", regex=True), ["upper ground"], ["lower"]),
        (Search(multi_filter="kiosk"), ["a KIOSK", "\u212aio\u017f\u212a", ["kiosk"]], []),
        (Search(multi_filter="70"), [70, "a70b"], ["7", 71]),
        (Search(multi_filter="true"), [True, "untrue", [True]], [False, "t"]),
        (Search(multi_filter="ndpoint-1"), ["x"], []),
        (Search(multi_filter='say "hi" \\'), ['say "hi" \\'], ["silent"]),
        (Search(multi_filter="\u0444"), ["\u0424\u0444"], []),
        (Search(query={"metadata.floor": {"$gt": 2}}), [3, 2.5, [3]], [2, 2.0, "3", True, None]),
        (Search(query={"metadata.floor": {"$lte": 2}}), [2, 2.0, -1, [0, 9]], [2.5, 3, "1", False]),
        (Search(query={"metadata.floor": {"$gte": "2026-01-02"}}), ["2026-01-02", "2026-02"], ["2026-01-01 10:00", 3]),
        (Search(query={"metadata.floor": {"$in": [3, "x"]}}), [3, "x", ["x"]], [4]),
        (Search(query={"metadata.floor": {"$ne": 3}}), [4, "3", [4]], [3, 3.0]),
        (Search(query={"metadata.floor": {"$exists": False}}), [], [3, None]),
        (Search(query={"metadata.floor.level": {"$gt": 2}}), [{"level": 3}, [{"level": 3}]], [{"level": 2}, {}, 3]),
        (Search(query={"application_version": "kettle-v2"}), [], [1]),
        (Search(query={"$or": [{"metadata.floor": 3}, {"metadata.door": 3}]}), [3], [4]),
    ],
)
def test_a_search_looks_at_what_it_is_for(
    connection: apsw.Connection, search: Search, found: list[Any], not_found: list[Any]
) -> None:
    query = conditions_of(search, with_terms=False).query
    assert query is not None
    for value in found:
        assert query.matches(document_of({"floor": value})), value
        assert verdict(connection, ENDPOINTS, query.source, document_of({"floor": value}))[0], value
    for value in not_found:
        assert not query.matches(document_of({"floor": value})), value
        assert not verdict(connection, ENDPOINTS, query.source, document_of({"floor": value}))[0], value
