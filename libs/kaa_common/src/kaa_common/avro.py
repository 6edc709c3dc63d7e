"""Messages as dataclasses with a derived Avro schema, encoded as raw binary datums (no container, no header).

Binary Avro is positional, so the class *is* the schema: fields stand in the order of the RFC, `X | None` is the union
`["x", "null"]` and `None | X` is `["null", "x"]`. Names are snake_case here and camelCase on the wire.

The RFCs grew by appending fields that have a default. So a datum that ends before such fields is read with their
defaults, and bytes behind the last known field are ignored: services of older and newer dates understand each other.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache, partial
from typing import Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from kaa_common.avro_binary import Int as Int
from kaa_common.avro_binary import Reader, Writer, read_string, reader_of, writer_of

M = TypeVar("M")

_PRIMITIVES: dict[Any, str] = {
    str: "string",
    int: "long",
    Int: "int",
    bool: "boolean",
    bytes: "bytes",
    type(None): "null",
}


class DecodeError(ValueError):
    """The bytes are not a datum of the expected schema."""


def wire_name(name: str, *, default: Any = MISSING) -> Any:
    """A field whose wire name is not the camelCase of its own."""
    return field(metadata={"wire_name": name}, default=default)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(wire_name, field))
def record(namespace: str, name: str = "") -> Callable[[type[M]], type[M]]:
    """Class decorator: a dataclass that is the Avro record `<namespace>.<name, else the class's own>`.

    The type checker holds it to be frozen. To enforce that at run time doubles the time it takes to make a message.
    """

    def declare(cls: type[M]) -> type[M]:
        declared = dataclass(unsafe_hash=True, slots=True, kw_only=True)(cls)
        declared.__avro_record__ = (namespace, name or cls.__name__)  # type: ignore[attr-defined] # read below only
        return declared

    return declare


def schema_of(cls: type[Any]) -> dict[str, Any]:
    """The Avro schema of a message class, as JSON-like data."""
    return _schema_of_type(cls)  # type: ignore[no-any-return] # of a record it is an object


def record_types_of(cls: type[Any]) -> list[type[Any]]:
    """The message class and the record classes inside of its fields, each once."""
    found = {cls: None}
    for annotation in get_type_hints(cls, include_extras=True).values():
        found |= dict.fromkeys(_records_in(annotation))
    return list(found)


def encode(message: Any) -> bytes:
    """The message as an Avro datum. Raises ValueError, TypeError or OverflowError when a value does not fit.

    Whether an `Int` fits 32 bits is not checked.
    """
    return _writer_of(type(message))(message)


def decode(cls: type[M], datum: bytes) -> M:
    """The message that a datum encodes. Raises DecodeError."""
    try:
        message, _ = _reader_of(cls)(datum, 0)
    except Exception as exc:  # whatever a reader meets in foreign bytes: their end, bad unicode, an absurd length
        raise DecodeError(f"not a {cls.__name__}: {type(exc).__name__}") from exc
    return message  # type: ignore[no-any-return] # made from cls


def leading_string(datum: bytes) -> str:
    """The first field of a datum, where that is a string: the correlation id of every answer. Raises DecodeError."""
    try:
        return read_string(datum, 0)[0]
    except Exception as exc:  # as in decode
        raise DecodeError("the datum does not start with a string") from exc


def to_camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


_writer_of: Callable[[Any], Writer] = cache(writer_of)
_reader_of: Callable[[Any], Reader] = cache(partial(reader_of, may_end_early=True))


def _wire_name_of(dataclass_field: Any) -> str:
    return dataclass_field.metadata.get("wire_name") or to_camel_case(dataclass_field.name)


def _schema_of_type(annotation: Any) -> Any:
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if is_dataclass(annotation):
        return _schema_of_record(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return [_schema_of_type(argument) for argument in arguments]
    if origin is tuple:
        return {"type": "array", "items": _schema_of_type(arguments[0])}
    if origin is Mapping:
        return {"type": "map", "values": _schema_of_type(arguments[1])}
    raise TypeError(f"no Avro type for {annotation}")


def _schema_of_record(cls: Any) -> dict[str, Any]:
    namespace, name = cls.__avro_record__
    hints = get_type_hints(cls, include_extras=True)
    wire_fields = []
    for declared in fields(cls):
        wire_field = {"name": _wire_name_of(declared), "type": _schema_of_type(hints[declared.name])}
        if declared.default is not MISSING:
            wire_field["default"] = list(declared.default) if isinstance(declared.default, tuple) else declared.default
        wire_fields.append(wire_field)
    return {"type": "record", "namespace": namespace, "name": name, "fields": wire_fields}


def _records_in(annotation: Any) -> list[type[Any]]:
    if is_dataclass(annotation) and isinstance(annotation, type):
        return record_types_of(annotation)
    return [found for argument in get_args(annotation) for found in _records_in(argument)]
