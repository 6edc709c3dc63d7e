"""Which texts the JSON of an endpoint must have to match a query: a hint for a store that can look for text [pure].

An entry of metadata is `{"key":"floor","value":3}` in the text of an endpoint's document, and nowhere does it look
otherwise. So whoever is on floor 3 has `"key":"floor","value":3` in it, or `"key":"floor","value":[` as an array is
equal to each of its elements. What is said in vain costs a look at some text; what is left unsaid as well.
"""

from collections.abc import Iterator
from typing import Any, Final

from kaa_common import jsontext
from kaa_common.store import Document, Texts
from kaa_common.store.regex import literal_runs

MAX_GROUPS: Final = 4
MAX_IN_GROUP: Final = 8
MAX_TEXT: Final = 128
"""Characters of a text that are looked for."""
RARE: Final = 3
"""Characters of a text that is worth looking for wherever it stands."""

_WRITTEN_IN_ONE_WAY: Final = 10**15
"""Below it an integer has the same digits as the float that is equal to it."""
_ALSO_OTHER_CASES: Final = frozenset("iksIKS")
"""Letters to which case means more than ASCII: a dotless i, the sign for kelvin, a long s."""


def texts_of(query: Document) -> Texts:
    """Those of a query that is written for the array of metadata (filters/queries.py)."""
    return tuple(dict.fromkeys(_groups(query)))[:MAX_GROUPS]


def _groups(query: Document) -> Iterator[tuple[str, ...]]:
    for path, value in query.items():
        match path, value:
            case "$and", queries:
                for inner in queries:
                    yield from _groups(inner)
            case "$or", queries:
                yield from _any_of(queries)
            case "metadata", {"$elemMatch": element}:
                yield from _of_element(element)
            case _, {"$regex": str()} if not path.startswith("$"):
                yield from _of_pattern(value)
            case "metadata.value", int() | float() | str():
                yield from _one_of("", _json_texts(value))


def _any_of(queries: list[Document]) -> Iterator[tuple[str, ...]]:
    """One group of each, together; nothing when one of them has none."""
    firsts = [next(_groups(query), None) for query in queries]
    together = dict.fromkeys(text for group in firsts if group is not None for text in group)
    if None not in firsts and len(together) <= MAX_IN_GROUP:
        yield tuple(together)


def _of_element(element: Document) -> Iterator[tuple[str, ...]]:
    match element.get("key"):
        case str(key) | {"$eq": str(key)}:
            entry = f'"key":{jsontext.dump(key).decode()},"value":'
        case _:
            return
    condition = element.get("value")
    literals = _literals(condition)
    texts = [_json_texts(literal) for literal in literals]
    if literals and all(texts):
        written = [text for some in texts for text in some]
        shortest = min(written, key=len)
        if len(shortest) >= RARE and all(shortest in text for text in written):
            # Also in an array: one text to look for where most documents have none.
            yield from _one_of("", [shortest])
        yield from _one_of(entry, ["[", *written])
        return
    yield from _one_of(entry, [""])
    if isinstance(condition, dict) and "$regex" in condition:
        yield from _of_pattern(condition)


def _literals(condition: Any) -> list[Any]:
    """What a value must be equal to one of; nothing when that is not what is asked for."""
    match condition:
        case bool() | int() | float() | str():
            return [condition]
        case {"$eq": literal}:
            return [literal]
        case {"$in": list(literals)}:
            return literals
    return []


def _json_texts(literal: Any) -> list[str]:
    """How a value that is equal to this begins; nothing when that is not known."""
    match literal:
        case bool() | str():
            return [jsontext.dump(literal).decode()]
        case 0:
            return ["0", "-0"]
        case int() | float() if abs(literal) < _WRITTEN_IN_ONE_WAY:
            return [str(int(literal)) if literal == int(literal) else jsontext.dump(literal).decode()]
    return []


def _one_of(beginning: str, texts: list[str]) -> Iterator[tuple[str, ...]]:
    if 0 < len(texts) <= MAX_IN_GROUP:
        yield tuple(_contains(_escaped(beginning + text)) for text in texts)


def _of_pattern(condition: Document) -> Iterator[tuple[str, ...]]:
    """The longest text in a pattern that JSON writes as it is."""
    runs: list[str] = []
    for run in literal_runs(condition["$regex"]):
        written = "".join(one if " " <= one <= "~" and one not in '"\\' else "\0" for one in run)
        runs += written.split("\0")
    longest = max(runs, key=len, default="")
    if longest:
        yield (_contains(_escaped(longest, ignores_case=bool(condition.get("$options")))),)


def _escaped(text: str, *, ignores_case: bool = False) -> str:
    return "".join(
        f"\\{one}" if one in "\\%_" else "_" if ignores_case and one in _ALSO_OTHER_CASES else one
        for one in text[:MAX_TEXT]
    )


def _contains(pattern: str) -> str:
    return f"%{pattern}%"
