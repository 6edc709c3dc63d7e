"""Which patterns `$regex` allows, and how they are spelled for both engines."""

import pytest

from kaa_common.store import QueryError
from kaa_common.store.regex import MAX_PATTERN, compile_pattern, literal_runs


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("", "anything", True),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("b$", "ab", True),
        ("^a.c$", "abc", True),
        ("^a.c$", "a\nc", False),
        (r"a\.c", "abc", False),
        (r"\$\^\[\]\(\)\*", "$^[]()*", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        (r"[\]\-]", "-", True),
        (r"^\d\w\s$", "1é ", False),
        (r"^\d\w\s$", "1e ", True),
        (r"^[\d.]$", ".", True),
        (r"^\d$", "\u0661", False),
        (r"\t\n\r", "\t\n\r", True),
    ],
)
def test_a_pattern_of_single_characters_is_found(pattern: str, text: str, found: bool) -> None:
    _, compiled = compile_pattern(pattern, "")

    assert (compiled.search(text) is not None) is found


REPEATING = ["a*", "a+", "a?", "a{2}", "(a)", "a|b", "(?i)a"]
OUT_OF_PLACE = ["a^b", "a$b", "[a", "a]", "[]", "[z-a]", "[a&&b]", "[a--b]", "[[:alpha:]]"]
UNKNOWN = [r"\1", r"\b", r"\p{L}", "\\", "a\0"]


@pytest.mark.parametrize("pattern", [*REPEATING, *OUT_OF_PLACE, *UNKNOWN, "a" * (MAX_PATTERN + 1)])
def test_anything_else_is_refused(pattern: str) -> None:
    with pytest.raises(QueryError, match=r"\$regex"):
        compile_pattern(pattern, "")


def test_options_other_than_i_are_refused() -> None:
    with pytest.raises(QueryError, match=r"\$options"):
        compile_pattern("a", "x")


def test_shorthands_are_spelled_out_because_engines_differ_beyond_ascii() -> None:
    spelled_out, _ = compile_pattern(r"\d[\w-]\.", "")

    assert spelled_out == r"[0-9][A-Za-z0-9_-]\."


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        ("", []),
        ("^abc$", ["abc"]),
        ("a.b", ["a", "b"]),
        (r"SN-\d\d[ab]x\.y", ["SN-", "x.y"]),
        (r"\$5\\", ["$5\\"]),
        (r"a\tb", ["a", "b"]),
    ],
)
def test_a_pattern_consists_of_texts_with_gaps(pattern: str, runs: list[str]) -> None:
    compile_pattern(pattern, "")
    assert literal_runs(pattern) == runs
