"""Index keys order as the values do, and prefixes of keys are keys of prefixes."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa_common.store import Index, InvalidDocument
from kaa_common.store.index_keys import EMPTY_ARRAY, END, NULL, Position, encode_values, keys_of, position_of

integers = st.integers(-(2**63), 2**64 - 1)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False) | integers.map(float)
strings = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\0a\x01é", max_size=3)


@given(numbers, numbers)
def test_numbers_order_by_value_whatever_their_type(left: float, right: float) -> None:
    left_key, right_key = encode_values([left]), encode_values([right])

    assert (left_key < right_key, left_key == right_key) == (left < right, left == right)


@given(st.tuples(strings, strings), st.tuples(strings, strings))
def test_strings_order_by_their_bytes_field_by_field(left: tuple[str, str], right: tuple[str, str]) -> None:
    left_bytes, right_bytes = [[text.encode() for text in pair] for pair in (left, right)]

    assert (encode_values(left) < encode_values(right)) == (left_bytes < right_bytes)


def test_types_order_as_in_the_port() -> None:
    keys = [EMPTY_ARRAY, *(encode_values([value]) for value in (None, -1, "", False, True))]

    assert all(left < right for left, right in pairwise(keys))


def test_everything_with_a_prefix_stands_before_its_end() -> None:
    values = (None, 1, "", "\0", "\U0010ffff", True)

    for first, second in product(values, values):
        prefix = encode_values([first])
        assert prefix < encode_values([first, second]) < prefix + END


def test_a_missing_field_has_the_key_of_null() -> None:
    assert keys_of(["a.b"], {"a": {}}) == keys_of(["a.b"], {"a": {"b": None}}) == {NULL}


def test_an_array_has_the_keys_of_its_elements() -> None:
    document = {"tenant": "t", "tags": [{"name": "x"}, {"name": "y"}]}

    assert keys_of(["tenant", "tags.name"], document) == {encode_values(["t", "x"]), encode_values(["t", "y"])}


def test_two_arrays_in_one_index_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="more than one"):
        keys_of(["a", "b"], {"a": [1, 2], "b": [1, 2]})


def test_the_position_of_a_document_is_what_it_is_ordered_by() -> None:
    index = Index("by_kind", ("tenant", "kind", "n"))
    document = {"_id": "a", "tenant": "t", "kind": "k"}

    assert position_of(index, document, 1) == Position(values=("k", None), id="a")
