"""Documents and queries as MongoDB is to see them, and documents back again.

Two kinds of values need help. Keys that begin with `$` are operators to MongoDB, and `{"$ref", "$id"}` comes back from
the driver as a DBRef: such keys, and those that begin with the escape itself, are prefixed with `~`. Integers above
2^63-1 do not fit into BSON's integers and travel as Decimal128, which compares with other numbers by value.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from kaa_common.store.documents import encode_json, read_back
from kaa_common.store.index_keys import Position
from kaa_common.store.matcher import LOGICAL, is_condition, is_element_condition, type_of
from kaa_common.store.port import PRIMARY_KEY, Document, InvalidDocument, Query, Scalar
from kaa_common.store.regex import compile_pattern

ESCAPE: Final = "~"
_TYPE_ORDER: Final = ("null", "number", "string", "bool")
_LARGEST_INT64: Final = 2**63 - 1
_MAX_BSON: Final = 16 * 1024 * 1024
_MAY_NEED_HELP: Final = re.compile(rb'"[$~]|\d{19}')


class _LongDecoder(TypeDecoder):
    """The driver's own integer type is a subclass of int; callers get plain ones."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class _DecimalDecoder(TypeDecoder):
    bson_type = Decimal128

    def transform_bson(self, value: Any) -> int:
        return int(value.to_decimal())


CODEC_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    type_registry=TypeRegistry([_LongDecoder(), _DecimalDecoder()])
)


def encode_document(document: Document) -> RawBSONDocument:
    """Return the document as it is stored; raise InvalidDocument if it could not be kept exactly."""
    text = encode_json(document)
    read_back(text, document)
    encoded = bson.encode(encode_value(document) if _MAY_NEED_HELP.search(text) else document)
    if len(encoded) > _MAX_BSON:
        raise InvalidDocument(f"the document is longer than {_MAX_BSON} bytes as BSON")
    return RawBSONDocument(encoded)


def encode_value(value: Any) -> Any:  # Any: JSON in, BSON out
    """Escape keys and widen large integers, at every depth."""
    if isinstance(value, dict):
        return {_escape(key): encode_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [encode_value(member) for member in value]
    if isinstance(value, int) and value > _LARGEST_INT64:
        return Decimal128(str(value))
    return value


def decode_value(value: Any) -> Any:
    """Undo `encode_value`; the integers were decoded by the driver already."""
    if isinstance(value, dict):
        return {key.removeprefix(ESCAPE): decode_value(member) for key, member in value.items()}
    if isinstance(value, list):
        return [decode_value(member) for member in value]
    return value


def encode_path(path: str) -> str:
    """Escape the parts of a dotted path."""
    return ".".join(_escape(part) for part in path.split("."))


def encode_equality(fields: Sequence[str], values: Sequence[Scalar]) -> Document:
    """Return the filter for documents with these values in these fields."""
    return {encode_path(field): {"$eq": encode_value(value)} for field, value in zip(fields, values, strict=False)}


def encode_position(fields: Sequence[str], position: Position, descending: bool) -> list[Document]:
    """Return filters, one for each of the ranges behind a position in the order of these fields and of `_id`.

    As branches of one `$or` MongoDB reads them from the index one after the other, in its order.
    """
    step = "$lt" if descending else "$gt"
    ranges = [encode_equality(fields, position.values) | {PRIMARY_KEY: {step: position.id}}]
    for i in reversed(range(len(fields))):
        same = encode_equality(fields[:i], position.values)
        ranges += [same | {encode_path(fields[i]): beyond} for beyond in _beyond(position.values[i], descending)]
    return ranges


def _beyond(value: Scalar, descending: bool) -> list[Document]:
    """Return conditions for what is ordered behind a value: `$gt` and `$lt` themselves stay within its type."""
    order = _TYPE_ORDER[::-1] if descending else _TYPE_ORDER
    own_type = type_of(value)
    conditions: list[Document] = []
    if value is not None:
        conditions.append({"$lt" if descending else "$gt": encode_value(value)})
    types = order[order.index(own_type) + 1 :]
    if "null" in types:
        conditions.append({"$eq": None})  # or missing
    if others := [name for name in types if name != "null"]:
        conditions.append({"$type": others})
    return conditions


def encode_query(query: Query) -> Document:
    """Return a checked query as MongoDB's."""
    return _encode_query(query.source)


def _encode_query(source: Document) -> Document:
    return {
        key if key in LOGICAL else encode_path(key): (
            [_encode_query(query) for query in value] if key in LOGICAL else _encode_condition(value)
        )
        for key, value in source.items()
    }


def _encode_condition(value: Any) -> Any:
    if not is_condition(value):
        return encode_value(value)
    condition = {operator: _encode_operand(operator, operand) for operator, operand in value.items()}
    if "$regex" in condition:
        condition["$regex"], _ = compile_pattern(value["$regex"], value.get("$options", ""))
    return condition


def _encode_operand(operator: str, operand: Any) -> Any:
    if operator == "$not" or (operator == "$elemMatch" and is_element_condition(operand)):
        return _encode_condition(operand)
    if operator == "$elemMatch":
        return _encode_query(operand)
    return encode_value(operand)


def _escape(key: str) -> str:
    return ESCAPE + key if key.startswith(("$", ESCAPE)) else key
