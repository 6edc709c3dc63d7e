"""Index keys as bytes whose plain order is the order of the port [pure].

A key is the concatenation of its fields, each a type tag and a self-delimiting value, so an equality prefix is a
prefix of bytes, and one BLOB column in SQLite orders a compound index over values of any type. Numbers are ordered by
value whatever their type: the double nearest to them, then how far they are from it (integers above 2^53).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from struct import pack
from typing import Any, Final

import orjson

from kaa_common.store.documents import MISSING, is_text, values_at
from kaa_common.store.port import MAX_PAGE, PRIMARY_KEY, Document, Index, InvalidDocument, Scalar

# The tags are the order of the types; each is below END, so prefix + END is behind every key with that prefix.
EMPTY_ARRAY: Final = b"\x01"
NULL: Final = b"\x02"
NUMBER: Final = b"\x03"
STRING: Final = b"\x04"
COMPOUND: Final = b"\x05"
BOOLEAN: Final = b"\x06"
END: Final = b"\xff"

_DISTANCE_OFFSET: Final = 1 << 15  # a 64-bit integer is at most 2^10 away from its nearest double


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the order of an index: the values of its ordering fields, then the id."""

    values: tuple[Scalar, ...]
    id: str


def encode_values(values: Sequence[Scalar]) -> bytes:
    """Return the key, or prefix of a key, made of these values."""
    return b"".join(_encode(value) for value in values)


def keys_of(fields: Sequence[str], document: Document) -> set[bytes]:
    """Return all keys a document has in an index; several when a field leads to an array."""
    columns = [_field_keys(document, field) for field in fields]
    if sum(len(column) > 1 for column in columns) > 1:
        raise InvalidDocument(f"more than one of the index fields {', '.join(fields)} leads to an array")
    return {b"".join(combination) for combination in product(*columns)}


def changed_fields(fields: Collection[str], before: Document, after: Document) -> set[str]:
    """Return those of these top-level fields that may have other index keys now: all whose JSON is not the same."""
    old, new = [before.get(field) for field in fields], [after.get(field) for field in fields]
    if orjson.dumps(old) == orjson.dumps(new):
        return set()
    return {field for field, *values in zip(fields, old, new, strict=True) if len({*map(orjson.dumps, values)}) > 1}


def position_of(index: Index, document: Document | None, start: int) -> Position | None:
    """Return the place of a document in the order of an index, from field number `start` on."""
    if document is None:
        return None
    values: list[Scalar] = []
    for field in index.fields[start:]:
        found = list(values_at(document, field.split(".")))
        if len(found) != 1 or isinstance(found[0], dict | list):
            raise ValueError(f"{field} does not lead to one scalar, so it cannot order a page")
        values.append(None if found[0] is MISSING else found[0])
    return Position(values=tuple(values), id=document[PRIMARY_KEY])


def check_range(index: Index | None, equals: Sequence[Scalar], offset: int = 0, limit: int = 1) -> None:
    """Raise ValueError if a caller asks for a page that cannot be."""
    if len(equals) > (0 if index is None else len(index.fields)):
        raise ValueError("there are more values than index fields")
    if not all(is_text(value) for value in equals if isinstance(value, str)):
        raise ValueError("a value is not valid Unicode")
    if offset < 0 or not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"offset must be at least 0 and limit 1 to {MAX_PAGE}")


def _field_keys(document: Document, field: str) -> set[bytes]:
    keys: set[bytes] = set()
    for value in values_at(document, field.split(".")):
        if isinstance(value, list):
            keys.update(_encode(element) for element in value)
        else:
            keys.add(_encode(value))
    return keys or {EMPTY_ARRAY}


def _encode(value: Any) -> bytes:  # Any: an index field may lead to any JSON
    if value is None or value is MISSING:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN + bytes([value])
    if isinstance(value, str):
        return STRING + _delimited(value.encode())
    if isinstance(value, int | float):
        return NUMBER + _encode_number(value)
    return COMPOUND + _delimited(orjson.dumps(value))


def _delimited(text: bytes) -> bytes:
    return text.replace(b"\0", b"\0\xff") + b"\0\0"


def _encode_number(number: int | float) -> bytes:
    nearest = float(number) + 0.0  # -0.0 becomes 0.0
    distance = int(number) - int(nearest) if isinstance(number, int) else 0
    bits = int.from_bytes(pack(">d", nearest), "big")
    ordered = bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)
    return pack(">QH", ordered, distance + _DISTANCE_OFFSET)
