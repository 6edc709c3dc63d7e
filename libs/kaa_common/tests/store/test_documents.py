"""Values at dotted paths."""

from typing import Any

import pytest

from kaa_common.store.documents import MISSING, values_at


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": {"b": 1}}, "a.b", [1]),
        ({"a": {"b": [1]}}, "a.b", [[1]]),
        ({"a": 1}, "a.b", [MISSING]),
        ({}, "a", [MISSING]),
        ({"a": [{"b": 1}, {"c": 2}, 3]}, "a.b", [1, MISSING]),
        ({"a": []}, "a.b", []),
        ({"a": [5, 6]}, "a.1", [6]),
        ({"a": [5, {"1": 4}]}, "a.1", [4, {"1": 4}]),
        ({"a": [5, [2, 4]]}, "a.1", [[2, 4]]),
        ({"a": [5, [2, 4]]}, "a.1.0", [2]),
        ({"a": [{"b": 1}]}, "a.0.b", [MISSING, 1]),
    ],
)
def test_a_path_goes_through_arrays(value: Any, path: str, found: list[Any]) -> None:
    assert list(values_at(value, path.split("."))) == found


def test_the_elements_of_an_array_come_before_it() -> None:
    assert list(values_at({"a": [1, [2]]}, ["a"], elements=True)) == [1, [2], [1, [2]]]
    assert list(values_at({"a": [[1], 2]}, ["a", "0"], elements=True)) == [[1]]
