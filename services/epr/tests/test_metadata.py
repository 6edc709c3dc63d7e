import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epr import metadata
from kaa_common import jsontext
from kaa_common.errors import BadRequest, KaaError, NotFound, PayloadTooLarge, Unprocessable


def patched(before: dict[str, Any], operations: Any) -> metadata.Metadata:
    return metadata.parse_patch(jsontext.dump(operations))(before)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("key", ["a", "A9_", "_", "0", "x" * 300])
def test_letters_digits_and_underscores_make_a_key(key: str) -> None:
    metadata.check_keys([key])


@pytest.mark.parametrize("key", ["", "a.b", "a-b", "a b", "a\n", "\na", "é", "٣", "$ref", "a/b", 1, None, ["a"]])
def test_anything_else_is_no_key(key: Any) -> None:
    with pytest.raises(BadRequest):
        metadata.check_keys(["good", key])


@pytest.mark.parametrize("text", [b"", b"[]", b'"a"', b"1", b"null", b"{", b'{"a-b":1}', b'{"":1}', b'{"a":NaN}'])
def test_what_is_not_metadata_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        metadata.parse_object(text)


def test_metadata_nests_32_levels_itself_included() -> None:
    assert metadata.parse_object(jsontext.dump({"a": nested(31)})) == {"a": nested(31)}
    assert metadata.parse_value(jsontext.dump(nested(31))) == nested(31)
    with pytest.raises(BadRequest):
        metadata.parse_object(jsontext.dump({"a": nested(32)}))
    with pytest.raises(BadRequest):
        metadata.parse_value(jsontext.dump(nested(32)))


def test_512_keys_are_the_most() -> None:
    metadata.check_limits({f"k{i}": 1 for i in range(512)})
    with pytest.raises(PayloadTooLarge):
        metadata.check_limits({f"k{i}": 1 for i in range(513)})


def test_256_kib_are_the_most() -> None:
    around = len(b'{"a":""}')
    metadata.check_limits({"a": "x" * (256 * 1024 - around)})
    with pytest.raises(PayloadTooLarge):
        metadata.check_limits({"a": "x" * (256 * 1024 - around + 1)})


def test_replacing_forgets_what_was() -> None:
    assert metadata.replace_all({"b": 2})({"a": 1}) == {"b": 2}


def test_merging_overwrites_and_keeps() -> None:
    assert metadata.merge({"b": None, "c": 3})({"a": 1, "b": 2}) == {"a": 1, "b": None, "c": 3}


def test_deleting_keys_ignores_those_that_are_not_there() -> None:
    assert metadata.delete_keys(["a", "x"])({"a": 1, "b": 2}) == {"b": 2}


def test_deleting_one_key_needs_it_to_be_there() -> None:
    assert metadata.delete_key("a")({"a": None, "b": 2}) == {"b": 2}
    with pytest.raises(NotFound):
        metadata.delete_key("a")({"b": 2})


def test_selecting_takes_what_exists_in_the_order_asked_for() -> None:
    assert list(metadata.select({"a": 1, "b": None}, ["b", "x", "a"]).items()) == [("b", None), ("a", 1)]


def test_every_operation_of_json_patch_is_applied() -> None:
    before = {"a": {"x": 1}, "b": [1, 2], "c": "gone"}
    operations = [
        {"op": "test", "path": "/a/x", "value": 1},
        {"op": "add", "path": "/b/-", "value": 3},
        {"op": "replace", "path": "/a/x", "value": {"": None}},
        {"op": "copy", "from": "/b", "path": "/d"},
        {"op": "move", "from": "/a", "path": "/e"},
        {"op": "remove", "path": "/c"},
    ]
    assert patched(before, operations) == {"b": [1, 2, 3], "d": [1, 2, 3], "e": {"x": {"": None}}}
    assert before == {"a": {"x": 1}, "b": [1, 2], "c": "gone"}


def test_a_patch_can_be_applied_again() -> None:
    operation = metadata.parse_patch(b'[{"op":"add","path":"/a","value":[]},{"op":"add","path":"/a/-","value":1}]')
    assert operation({}) == operation({}) == {"a": [1]}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'"a"',
        b"[1]",
        b'["add"]',
        b"[[]]",
        b'[{"path":"/a"}]',
        b'[{"op":"add"}]',
        b'[{"op":"add","path":"/a"}]',
        b'[{"op":"frobnicate","path":"/a","value":1}]',
        b'[{"op":7,"path":"/a","value":1}]',
        b'[{"op":"append","path":"/a","value":"x"}]',
        b'[{"op":"add","path":5,"value":1}]',
        b'[{"op":"add","path":"a","value":1}]',
        b'[{"op":"add","path":"/a~2","value":1}]',
        b'[{"op":"move","path":"/a"}]',
        b'[{"op":"move","from":null,"path":"/a"}]',
    ],
)
def test_a_malformed_patch_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        metadata.parse_patch(text)({"a": "text"})


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/x"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/list/4", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/text/0", "value": 1},
        {"op": "move", "from": "/x", "path": "/y"},
        {"op": "move", "from": "/map", "path": "/map/inside"},
        {"op": "copy", "from": "/list/9", "path": "/y"},
        {"op": "copy", "from": "/text/0", "path": "/y"},
        {"op": "test", "path": "/one", "value": 2},
        {"op": "test", "path": "/one", "value": True},
        {"op": "test", "path": "/yes", "value": 1},
        {"op": "test", "path": "/list", "value": [0, True, 2]},
        {"op": "test", "path": "/text/0", "value": "t"},
        {"op": "test", "path": "/x", "value": None},
        {"op": "add", "path": "/bad-key", "value": 1},
        {"op": "add", "path": "/", "value": 1},
        {"op": "add", "path": "", "value": [1]},
        {"op": "replace", "path": "", "value": None},
        {"op": "add", "path": "", "value": {"bad-key": 1}},
    ],
)
def test_a_patch_that_does_not_fit_changes_nothing(operation: dict[str, Any]) -> None:
    before = {"one": 1, "yes": True, "list": [1, 2], "map": {"a": 1}, "text": "text"}
    as_it_was = copy.deepcopy(before)
    with pytest.raises(Unprocessable):
        patched(before, [{"op": "add", "path": "/list/0", "value": 0}, operation])
    assert before == as_it_was


def test_a_test_compares_numbers_by_value() -> None:
    assert patched({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}]) == {"a": 1}


def test_a_failed_patch_tells_which_operation_and_no_value() -> None:
    with pytest.raises(Unprocessable, match=r"^operation 2 of the JSON Patch: the test failed$"):
        patched({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "test", "path": "/a", "value": "s3cret"}])


def test_a_patch_cannot_double_the_metadata_until_memory_ends() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 100
    with pytest.raises(PayloadTooLarge):
        patched({"a": ["x" * 100]}, doubling)


def test_a_patch_cannot_nest_until_the_stack_ends() -> None:
    deeper = [
        {"op": "add", "path": "/b", "value": {}},
        {"op": "move", "from": "/a", "path": "/b/x"},
        {"op": "move", "from": "/b", "path": "/a"},
    ]
    assert patched({"a": 1}, deeper * 31)["a"]
    for times in (32, 300):
        with pytest.raises(Unprocessable, match="deep"):
            patched({"a": 1}, deeper * times)


def test_a_patch_has_at_most_1000_operations() -> None:
    touch = {"op": "add", "path": "/a", "value": 1}
    assert patched({}, [touch] * 1000) == {"a": 1}
    with pytest.raises(PayloadTooLarge):
        patched({}, [touch] * 1001)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
POINTER = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "", "~0", "~", "x-y"]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
PATCH_OPERATION = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": POINTER},
    optional={"from": POINTER, "value": JSON},
)


@given(before=st.dictionaries(st.sampled_from("ab"), JSON), operations=st.lists(PATCH_OPERATION, max_size=5))
def test_any_patch_yields_metadata_or_one_of_our_errors(before: dict[str, Any], operations: list[Any]) -> None:
    as_it_was = jsontext.dump(before)
    try:
        after = patched(before, operations)
    except KaaError:
        pass
    else:
        metadata.parse_object(jsontext.dump(after))
    assert jsontext.dump(before) == as_it_was
