"""What a query matches, by MongoDB's documented rules; that MongoDB agrees is the matter of test_agreement."""

from typing import Any

import pytest

from kaa_common.store import QueryError, compile_query
from kaa_common.store.matcher import MAX_QUERY_BYTES

CITY = {"metadata": [{"key": "city", "value": "Kyiv"}, {"key": "floor", "value": 3}], "application_version": "demo-v1"}

MATCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"a": 1}),
    ({"application_version": "demo-v1"}, CITY),
    ({"metadata": {"$elemMatch": {"key": "city", "value": "Kyiv"}}}, CITY),
    ({"metadata": {"$elemMatch": {"key": "floor", "value": {"$gt": 2}}}}, CITY),
    ({"metadata.key": "city", "metadata.value": 3}, CITY),
    ({"metadata.0.value": "Kyiv"}, CITY),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 2**64 - 1}, {"a": 2**64 - 1}),
    ({"a": {"$gt": 2**53}}, {"a": 2**53 + 1}),
    ({"a": None}, {}),
    ({"a": None}, {"a": None}),
    ({"a.b": None}, {"a": 1}),
    ({"a.b": None}, {"a": [{"b": 1}, {"c": 1}]}),
    ({"a": 1}, {"a": [1, 2]}),
    ({"a": [1, 2]}, {"a": [1, 2]}),
    ({"a": [1, 2]}, {"a": [[1, 2]]}),
    ({"a.b": 2}, {"a": [{"b": 1}, {"b": [2]}]}),
    ({"a.1": 2}, {"a": [1, 2]}),
    ({"a.1": 2}, {"a": {"1": 2}}),
    ({"a.1": 2}, {"a": [{"1": 2}]}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 2}}),
    ({"a": {"$ne": 1}}, {}),
    ({"a": {"$ne": 1}}, {"a": [2, 3]}),
    ({"a": {"$nin": [1, None]}}, {"a": 2}),
    ({"a": {"$in": [1, "x"]}}, {"a": ["x"]}),
    ({"a": {"$in": [None]}}, {}),
    ({"a": {"$gt": 1, "$lt": 3}}, {"a": [0, 5]}),
    ({"a": {"$gte": None}}, {}),
    ({"a": {"$gt": "a"}}, {"a": "b"}),
    ({"a": {"$gt": False}}, {"a": True}),
    ({"a": {"$exists": True}}, {"a": None}),
    ({"a.b": {"$exists": False}}, {"a": []}),
    ({"a": {"$all": [1, 2]}}, {"a": [2, 3, 1]}),
    ({"a": {"$all": [[1]]}}, {"a": [1]}),
    ({"a": {"$size": 0}}, {"a": []}),
    ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 2, 5]}),
    ({"a": {"$elemMatch": {"b": 1, "$or": [{"c": 1}, {"c": 2}]}}}, {"a": [{"b": 1, "c": 2}]}),
    ({"a": {"$elemMatch": {"0": 1}}}, {"a": [[1]]}),
    ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, {"a": [1, 2]}),
    ({"a": {"$not": {"$gt": 1}}}, {"a": "x"}),
    ({"a": {"$type": "array"}}, {"a": []}),
    ({"a": {"$type": ["bool", "number"]}}, {"a": 1}),
    ({"a": {"$regex": "^b.r$"}}, {"a": ["foo", "bar"]}),
    ({"a": {"$regex": "BAR", "$options": "i"}}, {"a": "a bar"}),
    ({"$or": [{"a": 1}, {"b": 1}]}, {"b": 1}),
    ({"$and": [{"a": 1}, {"$nor": [{"b": 1}, {"b": 2}]}]}, {"a": 1, "b": 3}),
    ({"a.$ref": 1}, {"a": {"$ref": 1}}),
]

DOES_NOT_MATCH: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"metadata": {"$elemMatch": {"key": "city", "value": 3}}}, CITY),
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 2**53 + 1}, {"a": float(2**53)}),
    ({"a": None}, {"a": 0}),
    ({"a": None}, {"a": []}),
    ({"a.b": None}, {"a": []}),
    ({"a.b": None}, {"a": [1, 2]}),
    ({"a.1": 2}, {"a": [1, [2, 3]]}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
    ({"a": {"$ne": 1}}, {"a": [1, 2]}),
    ({"a": {"$nin": [None]}}, {}),
    ({"a": {"$gt": 1}}, {"a": "2"}),
    ({"a": {"$gt": 0}}, {"a": True}),
    ({"a": {"$gt": None}}, {"a": 1}),
    ({"a": {"$lt": 1}}, {}),
    ({"a": {"$lt": 1}}, {"a": None}),
    ({"a": {"$exists": True}}, {}),
    ({"a": {"$all": []}}, {"a": []}),
    ({"a": {"$all": [1, 2]}}, {"a": 1}),
    ({"a": {"$size": 1}}, {"a": [[1], [2]]}),
    ({"a": {"$size": 1}}, {"a": "x"}),
    ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 5]}),
    ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": 2}),
    ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": [[2]]}),
    ({"a": {"$not": {"$gt": 1}}}, {"a": [0, 2]}),
    ({"a": {"$type": "null"}}, {}),
    ({"a": {"$type": "number"}}, {"a": True}),
    ({"a": {"$regex": "bar"}}, {"a": 1}),
    ({"$nor": [{"a": 1}]}, {"a": 1}),
]


@pytest.mark.parametrize(("query", "document"), MATCHES, ids=repr)
def test_a_query_matches(query: dict[str, Any], document: dict[str, Any]) -> None:
    assert compile_query(query).matches(document)


@pytest.mark.parametrize(("query", "document"), DOES_NOT_MATCH, ids=repr)
def test_a_query_does_not_match(query: dict[str, Any], document: dict[str, Any]) -> None:
    assert not compile_query(query).matches(document)


def deep(levels: int) -> dict[str, Any]:
    return {"$and": [deep(levels - 1)]} if levels else {"a": 1}


REFUSED: list[tuple[Any, str]] = [
    ([], "must be an object"),
    ({"$where": "sleep(1)"}, r"\$where is not supported"),
    ({"$expr": {"$gt": ["$a", "$b"]}}, r"\$expr is not supported"),
    ({"$text": {"$search": "x"}}, r"\$text is not supported"),
    ({"$comment": "x"}, r"\$comment is not supported"),
    ({"a": {"$where": "1"}}, r"\$where is not supported"),
    ({"a": {"$not": {"$where": "1"}}}, r"\$where is not supported"),
    ({"a": {"$elemMatch": {"$where": "1"}}}, r"\$where is not supported"),
    ({"a": {"$elemMatch": {"b": 1, "$gt": 1}}}, r"\$gt is not supported here"),
    ({"a": {"$elemMatch": {"b": {"$near": 1}}}}, r"\$near is not supported"),
    ({"$or": [{"a": 1}, {"$where": "1"}]}, r"\$where is not supported"),
    ({"a": {"$gt": 1, "b": 2}}, "mixed"),
    ({"$or": []}, "non-empty array"),
    ({"$and": {"a": 1}}, "non-empty array"),
    ({"$and": [1]}, "must be an object"),
    ({"": 1}, "empty part"),
    ({"a..b": 1}, "empty part"),
    ({"a\0": 1}, "NUL"),
    ({"a": {"$in": 1}}, r"\$in needs an array"),
    ({"a": {"$nin": 1}}, r"\$nin needs an array"),
    ({"a": {"$in": [{"$gt": 1}]}}, "array of values"),
    ({"a": {"$all": 1}}, r"\$all needs"),
    ({"a": {"$all": [{"$elemMatch": {"b": 1}}]}}, r"\$all needs"),
    ({"a": {"$gt": [1]}}, "number, string, boolean or null"),
    ({"a": {"$exists": 1}}, r"\$exists needs"),
    ({"a": {"$size": -1}}, r"\$size needs"),
    ({"a": {"$size": True}}, r"\$size needs"),
    ({"a": {"$elemMatch": {}}}, r"\$elemMatch needs"),
    ({"a": {"$not": 1}}, r"\$not needs"),
    ({"a": {"$not": {}}}, r"\$not needs"),
    ({"a": {"$type": "int"}}, r"\$type needs"),
    ({"a": {"$type": []}}, r"\$type needs"),
    ({"a": {"$type": [["number"]]}}, r"\$type needs"),
    ({"a": {"$options": "i"}}, "must be strings"),
    ({"a": {"$regex": "(a+)+$"}}, r"\$regex"),
    ({"a": 2**64}, "64 bits"),
    ({"a": float("nan")}, "finite"),
    ({"a": "\ud800"}, "UTF-8"),
    ({"a": "x" * MAX_QUERY_BYTES}, "longer"),
    (deep(9), "too deep"),
]


@pytest.mark.parametrize(("query", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_a_query_outside_the_subset_is_refused_with_the_reason(query: Any, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        compile_query(query)


def test_a_query_remembers_its_source() -> None:
    source = {"a": {"$gt": 1}}

    assert compile_query(source).source == source
