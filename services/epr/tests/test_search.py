from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epr.search import EVERYTHING, Search, conditions_of, names_in, narrowed
from epr.terms import terms_of
from kaa_common.errors import BadRequest


def document(metadata: dict[str, Any], endpoint_id: str = "id-1") -> dict[str, Any]:
    return {
        "_id": endpoint_id,
        "application": "kettle",
        "application_version": "kettle-v1",
        "filters": ["f1"],
        "metadata": [{"key": key, "value": value} for key, value in metadata.items()],
    }


def finds(search: Search, metadata: dict[str, Any], endpoint_id: str = "id-1") -> bool:
    """What the query says, which must be what the term and the rest of the query say."""
    whole = conditions_of(search, with_terms=False)
    by_query = whole.query is None or whole.query.matches(document(metadata, endpoint_id))
    conditions = conditions_of(search)
    by_term = conditions.term is None or conditions.term in terms_of(metadata)
    rest = conditions.query is None or conditions.query.matches(document(metadata, endpoint_id))
    assert by_query == (by_term and rest)
    return by_query


KETTLE = {"city": "Kyiv", "floor": 3, "text": "3", "on": True, "tags": ["a", "b"], "deep": {"a": 1}, "list": "a,b"}


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "city=Kyiv", " city = Kyiv", "city=Kyiv,floor=3", "floor=3.0", "text=3", 'text="3"', "on=true"),
        *("city", "city,floor", "tags=a", 'list="a,b"', "city=Kyiv,", "{}", '{"city":"Kyiv"}', '{"floor":{"$gt":2}}'),
        *('{"deep":{"a":1}}', '{"tags":"b","city":{"$in":["Kyiv","Lviv"]}}', '{"missing":null}', '{"on":true}'),
    ],
)
def test_a_metadata_filter_finds(text: str) -> None:
    assert finds(Search(metadata_filter=text), KETTLE)


@pytest.mark.parametrize(
    "text",
    ["city=Lviv", "city=kyiv", "city=Kyiv,floor=4", 'floor="3"', "missing", "city=", "on=1", '{"floor":"3"}', "tags=c"],
)
def test_a_metadata_filter_does_not_find(text: str) -> None:
    assert not finds(Search(metadata_filter=text), KETTLE)


@pytest.mark.parametrize(
    "text",
    ["=", "a-b=1", "a=1,,b=2", "{", "{]", '{"a-b":1}', '{"a":{"$where":"1"}}', 'a="\\x"', ",", ",".join(["a"] * 33)],
)
def test_a_malformed_metadata_filter_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        conditions_of(Search(metadata_filter=text))


@pytest.mark.parametrize("text", ["BFG", "bfg", "900", "id-1", "ID-", "kettle-v", "3", "(a+b)", "[x]$^", "\\", "ü"])
def test_a_text_is_found_anywhere_whatever_its_case(text: str) -> None:
    assert finds(Search(multi_filter=text), {"model": "BFG 9000", "n": 3, "odd": "(a+b)[x]$^.\\ü"})


def test_a_text_is_no_pattern_unless_it_is_said_to_be_one() -> None:
    assert not finds(Search(multi_filter="B.G"), {"model": "BFG 9000"})
    assert finds(Search(multi_filter="B.G", regex=True), {"model": "BFG 9000"})
    assert finds(Search(metadata_filter="model=^BFG [0-9]", regex=True), {"model": "BFG 9000"})
    assert not finds(Search(metadata_filter="model=^FG", regex=True), {"model": "BFG 9000"})
    with pytest.raises(BadRequest, match="regex"):
        conditions_of(Search(multi_filter="(a+)+", regex=True))


def test_a_query_is_that_of_a_filter() -> None:
    assert finds(Search(query={"metadata.city": "Kyiv", "application_version": "kettle-v1"}), KETTLE)
    assert finds(Search(query={"metadata": {"$elemMatch": {"key": "city", "value": "Kyiv"}}}), KETTLE)
    assert not finds(Search(query={"metadata.city": "Kyiv"}, metadata_filter="floor=4"), KETTLE)
    with pytest.raises(BadRequest, match="token_id"):
        conditions_of(Search(query={"token_id": "x"}))


def test_an_equal_string_alone_needs_no_query() -> None:
    for search in (
        Search(metadata_filter="city=Kyiv"),
        Search(metadata_filter='{"city":"Kyiv"}'),
        Search(query={"metadata": {"$elemMatch": {"key": "city", "value": {"$eq": "Kyiv"}}}}),
    ):
        conditions = conditions_of(search)
        assert (conditions.term, conditions.query) == ("city=Kyiv", None)
    conditions = conditions_of(Search(metadata_filter="floor=3,city=Kyiv"))
    assert conditions.term == "city=Kyiv"
    assert conditions.query is not None
    assert conditions_of(Search(query={"$or": [{"metadata.city": "Kyiv"}]})).term is None
    assert conditions_of(Search(metadata_filter="city=" + "x" * 65)).term is None


def test_what_an_index_does_not_say_is_said_by_the_query() -> None:
    query = narrowed(EVERYTHING, Search(application="kettle", app_version="kettle-v1", filter_id="f1"))
    assert query.matches(document({}))
    for other in (Search(application="x"), Search(app_version="x"), Search(filter_id="x")):
        assert not narrowed(EVERYTHING, other).matches(document({}))


def test_names_are_separated_by_commas_or_repeated() -> None:
    assert names_in(["b,a,,b", "c"]) == ["b", "a", "c"]
    assert names_in([""]) == names_in(None) == []


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from([1.0, 0.5, "", "a", "1", "x" * 65]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from("ab"), values, max_size=2),
    max_leaves=4,
)
_METADATA = st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)


@given(metadata=_METADATA, wanted=st.dictionaries(st.sampled_from("abc"), _VALUES, min_size=1, max_size=2))
def test_terms_and_query_find_the_same(metadata: dict[str, Any], wanted: dict[str, Any]) -> None:
    finds(Search(query={f"metadata.{key}": value for key, value in wanted.items()}), metadata)
