from epr.terms import INCOMPLETE, MAX_TERM, MAX_TERMS, term, terms_of


def test_short_strings_make_terms_and_nothing_else_does() -> None:
    metadata = {"city": "Kyiv", "": "", "n": 1, "f": 1.5, "on": True, "none": None, "o": {"a": "b"}, "long": "x" * 65}
    assert terms_of(metadata) == ["city=Kyiv", "="]


def test_each_string_of_an_array_makes_a_term_once() -> None:
    assert terms_of({"tags": ["a", "b", "a", 1, ["c"], "x" * 65]}) == ["tags=a", "tags=b"]


def test_a_term_is_as_long_as_what_is_looked_up_at_most() -> None:
    longest = "x" * MAX_TERM
    assert [term("a", longest)] == terms_of({"a": longest}) == [f"a={longest}"]
    assert term("a", longest + "x") is None


def test_too_many_terms_are_told() -> None:
    assert len(terms_of({"a": [str(n) for n in range(MAX_TERMS)]})) == MAX_TERMS
    assert terms_of({"a": [str(n) for n in range(MAX_TERMS)], "b": "c"}) == [INCOMPLETE]
