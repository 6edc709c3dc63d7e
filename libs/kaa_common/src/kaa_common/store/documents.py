"""What a document may hold, and the values found at a dotted path in it [pure].

Paths go through arrays as MongoDB's do: `a.b` on `{"a": [{"b": 1}, {"c": 2}]}` finds 1 and, for the second element,
nothing (`MISSING`); `a.0` finds the first element; on an array of scalars `a.b` finds not even that.
The matcher and the index keys of the SQLite adapter both read documents through `values_at`.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from math import isfinite
from typing import Any, Final

import orjson

from kaa_common.store.port import PRIMARY_KEY, Document, InvalidDocument

MAX_NESTING: Final = 64  # MongoDB stops at 100; the outbox nests a metadata document (32) a few levels deeper
MAX_BYTES: Final = 8 * 1024 * 1024  # MongoDB stops at 16 MiB of BSON, which can be nearly twice the size of the JSON
SMALLEST_INTEGER: Final = -(2**63)
LARGEST_INTEGER: Final = 2**64 - 1


class Missing(Enum):
    """The type of `MISSING`: there is nothing at that path."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def encode_json(document: Document) -> bytes:
    """Return the document as JSON, for `read_back` to look at; raise InvalidDocument when it surely cannot be kept."""
    document_id, revision = document.get(PRIMARY_KEY), document.get("revision")
    if not isinstance(document_id, str) or not document_id:
        raise InvalidDocument("_id must be a string of at least one character")
    if type(revision) is not int or revision < 1:
        raise InvalidDocument("revision must be an integer of at least 1")
    try:
        text = orjson.dumps(document)
    except TypeError as exc:
        check_value(document, MAX_NESTING)
        raise InvalidDocument("a string is not valid Unicode") from exc
    # Seldom are there enough brackets in it for too many levels, or a NUL that could be in a key.
    if text.count(b"[") + text.count(b"{") > MAX_NESTING or b"\\u0000" in text:
        check_value(document, MAX_NESTING)
    if len(text) > MAX_BYTES:
        raise InvalidDocument(f"the document is longer than {MAX_BYTES} bytes")
    return text


def read_back(text: str | bytes, document: Document) -> Document:
    """Return what the text of a document says; raise InvalidDocument unless every store can keep the document exactly.

    What JSON cannot hold comes back as something else, and reading that is quicker than looking at each value.
    """
    copy: Document = orjson.loads(text)
    if copy != document:
        check_value(document, MAX_NESTING)
    return copy


def check_value(value: Any, levels: int) -> None:  # Any: whatever a caller put into its document
    """Raise InvalidDocument unless this is JSON with 64-bit integers, nested no deeper than that many levels."""
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise InvalidDocument("an integer does not fit into 64 bits")
    elif isinstance(value, float):
        if not isfinite(value):
            raise InvalidDocument("a number is not finite")
    elif isinstance(value, dict | list):
        if not levels:
            raise InvalidDocument("arrays and objects are nested too deep")
        if isinstance(value, dict):
            check_keys(value)
        for member in value.values() if isinstance(value, dict) else value:
            check_value(member, levels - 1)
    else:
        raise InvalidDocument(f"a {type(value).__name__} is not JSON")


def check_keys(members: dict[Any, Any]) -> None:
    """Raise InvalidDocument unless all keys are strings without NUL, which BSON cannot hold."""
    for key in members:
        if not isinstance(key, str):
            raise InvalidDocument("the keys of an object must be strings")
        if "\0" in key:
            raise InvalidDocument("the keys of an object must not contain NUL")


def is_text(value: str) -> bool:
    """Tell whether a string can be in a document at all: lone surrogates cannot be encoded."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def values_at(value: Any, path: Sequence[str], position: int = 0, *, elements: bool = False) -> Iterator[Any]:
    """Yield every value at the path from `position` on; with `elements`, those of an array at its end before it."""
    for i in range(position, len(path)):
        if isinstance(value, list):
            yield from _values_in_array(value, path, i, elements)
            return
        value = value.get(path[i], MISSING) if isinstance(value, dict) else MISSING
        if value is MISSING:
            break
    if elements and isinstance(value, list):
        yield from value
    yield value


def _values_in_array(array: list[Any], path: Sequence[str], position: int, elements: bool) -> Iterator[Any]:
    name, is_last = path[position], position + 1 == len(path)
    for i, element in enumerate(array):
        if isinstance(element, dict):
            yield from values_at(element, path, position, elements=elements)
        if name != str(i):
            continue
        if is_last:
            yield element  # as it is: MongoDB does not look into an array it was led to by an offset
        elif isinstance(element, dict | list):
            yield from values_at(element, path, position + 1, elements=elements)
