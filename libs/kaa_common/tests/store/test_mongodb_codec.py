"""How documents and queries are written for MongoDB."""

from typing import Any

import pytest
from bson.decimal128 import Decimal128

from kaa_common.store import compile_query
from kaa_common.store.index_keys import Position
from kaa_common.store.mongodb_codec import decode_value, encode_position, encode_query, encode_value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"$ref": {"$id": 1}}, {"~$ref": {"~$id": 1}}),
        ({"~": 1, "~~": 2, "a~$": 3}, {"~~": 1, "~~~": 2, "a~$": 3}),
        ([{"$a": []}], [{"~$a": []}]),
        ({"a.b": {"": None}}, {"a.b": {"": None}}),
    ],
)
def test_keys_that_mean_something_to_mongodb_are_escaped(value: Any, encoded: Any) -> None:
    assert encode_value(value) == encoded
    assert decode_value(encoded) == value


def test_only_integers_beyond_bson_become_decimals() -> None:
    assert encode_value([2**63 - 1, 2**63, -(2**63)]) == [2**63 - 1, Decimal128("9223372036854775808"), -(2**63)]


@pytest.mark.parametrize(
    ("source", "encoded"),
    [
        ({"a.$ref.~x": 1}, {"a.~$ref.~~x": 1}),
        ({"a": {"$eq": {"$gt": 1}}}, {"a": {"$eq": {"~$gt": 1}}}),
        ({"a": {"$in": [2**64 - 1]}}, {"a": {"$in": [Decimal128("18446744073709551615")]}}),
        ({"$or": [{"$and": [{"$nor": [{"a": {"$not": {"$gt": 1}}}]}]}]},) * 2,
        ({"a": {"$elemMatch": {"b.$c": {"$ne": 1}}}}, {"a": {"$elemMatch": {"b.~$c": {"$ne": 1}}}}),
        ({"a": {"$elemMatch": {"$gt": 1, "$not": {"$in": [2]}}}},) * 2,
        ({"a": {"$elemMatch": {"$and": [{"$or": [{"b": 1}]}]}}},) * 2,
        ({"a": {"$regex": r"^\d", "$options": "i"}}, {"a": {"$regex": "^[0-9]", "$options": "i"}}),
    ],
)
def test_a_query_keeps_its_operators_and_escapes_the_rest(source: Any, encoded: Any) -> None:
    assert encode_query(compile_query(source)) == encoded


def test_behind_a_position_are_first_the_same_values_with_greater_ids() -> None:
    ranges = encode_position(["a", "b"], Position(values=(1, None), id="x"), descending=False)

    assert ranges == [
        {"a": {"$eq": 1}, "b": {"$eq": None}, "_id": {"$gt": "x"}},
        {"a": {"$eq": 1}, "b": {"$type": ["number", "string", "bool"]}},
        {"a": {"$gt": 1}},
        {"a": {"$type": ["string", "bool"]}},
    ]
