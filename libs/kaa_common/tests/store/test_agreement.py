"""The pure matcher, through the SQLite adapter, and MongoDB answer every query alike."""

import re
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymongo
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kaa_common.store import Collection, DocumentStore, Index, compile_query
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.sqlite import SqliteStore

BY_EXAMPLE = Index("by_example", ("example",))
SAMPLES = Collection("samples", (BY_EXAMPLE,))

SCALARS = [None, True, False, 0, 1, 1.0, 0.5, -0.0, 2**53 + 1, 2**63, 2**64 - 1, "", "a", "ab", "B"]
TYPES = ["null", "bool", "number", "string", "object", "array"]
PATTERNS = ["a", "^a", "b$", "^ab$", "^.$", "[^a]", ""]

members = st.lists(
    st.recursive(
        st.sampled_from(SCALARS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0", "$a"]), inner),
        max_leaves=6,
    ),
    min_size=2,
    max_size=6,
)


def parts_of(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value inside a value with a path that leads to it."""
    yield path, value
    if isinstance(value, dict):
        for key, member in value.items():
            yield from parts_of(member, f"{path}.{key}")
    elif isinstance(value, list):
        for i, element in enumerate(value):
            yield from parts_of(element, path)
            yield from parts_of(element, f"{path}.{i}")


class Queries:
    """Strategies for queries over the paths and values of some documents, so that many of them match something."""

    def __init__(self, documents: list[Any]) -> None:
        parts = [part for document in documents for part in parts_of(document, "m")]
        self.paths = st.sampled_from(sorted({path for path, _ in parts} | {"m.a", "m.b.0"}))
        self.scalars = st.sampled_from([value for _, value in parts if not isinstance(value, dict | list)] + SCALARS)
        self.values = st.sampled_from([value for _, value in parts]) | self.scalars
        self.literals = self.values.filter(lambda value: not (isinstance(value, dict) and "$a" in value))

    def clauses(self, depth: int) -> st.SearchStrategy[Any]:
        clauses = st.dictionaries(self.paths, self.conditions(depth) | self.literals, min_size=1, max_size=2)
        return clauses.filter(lambda query: not is_left_out(query))

    def queries(self, depth: int) -> st.SearchStrategy[Any]:
        if not depth:
            return self.clauses(depth)
        inner = st.lists(self.queries(depth - 1), min_size=1, max_size=3)
        return self.clauses(depth) | st.sampled_from(["$and", "$or", "$nor"]).flatmap(
            lambda name: st.fixed_dictionaries({name: inner})
        )

    def conditions(self, depth: int) -> st.SearchStrategy[Any]:
        several = st.lists(self.literals, max_size=3)
        operators = {
            "$eq": self.values,
            "$ne": self.values,
            "$gt": self.scalars,
            "$gte": self.scalars,
            "$lt": self.scalars,
            "$lte": self.scalars,
            "$in": several,
            "$nin": several,
            "$all": several.filter(lambda literals: [] not in literals),  # SecantusDB does not see [] as equal to []
            "$exists": st.booleans(),
            "$size": st.integers(0, 3),
            "$type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3),
            "$regex": st.sampled_from(PATTERNS),
        }
        if depth:
            operators["$not"] = self.conditions(depth - 1)
            operators["$elemMatch"] = self.conditions(depth - 1) | self.clauses(depth - 1).map(without_m)
        each = [st.fixed_dictionaries({name: operand}) for name, operand in operators.items()]
        return st.lists(st.one_of(each), min_size=1, max_size=2).map(merged)


def is_left_out(clauses: dict[str, Any]) -> bool:
    """Tell whether null is asked for at an offset: SecantusDB finds it behind the end of an array, MongoDB does not."""
    return any(re.search(r"\.\d", path) and "None" in repr(condition) for path, condition in clauses.items())


def merged(conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: operand for condition in conditions for name, operand in condition.items()}


def without_m(query: dict[str, Any]) -> dict[str, Any]:
    """Turn a query for documents into one for the objects inside them."""
    return {path.removeprefix("m.").removeprefix("$") or "a": condition for path, condition in query.items()}


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[DocumentStore]:
    async with SqliteStore(tmp_path / "store.db") as store:
        await store.ensure([SAMPLES])
        yield store


@pytest.fixture
async def mongo(mongodb: str) -> AsyncIterator[DocumentStore]:
    database = f"kaa_test_{uuid4().hex}"
    async with MongoStore(mongodb, database) as store:
        await store.ensure([SAMPLES])
        yield store
    with pymongo.MongoClient[dict[str, object]](mongodb) as client:
        client.drop_database(database)


examples = count()


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,  # an answer of the server at hand that differs shall fail everywhere or nowhere
    phases=[Phase.generate],  # making a failing example smaller takes longer than a test may
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
async def test_matcher_and_mongodb_find_the_same_documents(
    sqlite: DocumentStore, mongo: DocumentStore, data: st.DataObject
) -> None:
    example = next(examples)
    documents = [
        {"_id": f"{example}-{i}", "revision": 1, "example": example, "m": member}
        for i, member in enumerate(data.draw(members))
    ]
    for document in documents:
        await sqlite.insert(SAMPLES, document)
        await mongo.insert(SAMPLES, document)

    queries = Queries([document["m"] for document in documents]).queries(2)
    for source in data.draw(st.lists(queries, min_size=5, max_size=10)):
        query = compile_query(source)
        found, expected = [
            await store.query(SAMPLES, query, index=BY_EXAMPLE, equals=(example,), limit=9) for store in (sqlite, mongo)
        ]

        assert [document["m"] for document in found.documents] == [document["m"] for document in expected.documents]
