"""Messages as dataclasses with a derived Avro schema, encoded as raw binary datums (no container, no header).

Binary Avro is positional, so the class *is* the schema: fields stand in the order of the RFC, `X | None` is the union
`["x", "null"]` and `None | X` is `["null", "x"]`. Names are snake_case here and camelCase on the wire.

The RFCs grew by appending fields that have a default. So a datum that ends before such fields is read with their
defaults, and bytes behind the last known field are ignored: services of older and newer dates understand each other.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from io import BytesIO
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import fastavro

M = TypeVar("M")

Int = Annotated[int, "int"]
"""An Avro int (32 bits). Plain `int` is an Avro long."""

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
    """Class decorator: a frozen dataclass that is the Avro record `<namespace>.<name, else the class's own>`."""

    def declare(cls: type[M]) -> type[M]:
        declared = dataclass(frozen=True, slots=True, kw_only=True)(cls)
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
    codec = _codec_of(type(message))
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, codec.schema, codec.to_wire(message))
    return buffer.getvalue()


def decode(cls: type[M], datum: bytes) -> M:
    """The message that a datum encodes. Raises DecodeError."""
    codec = _codec_of(cls)
    failure: Exception | None = None
    for schema in codec.readable_schemas:
        try:
            value = fastavro.schemaless_reader(BytesIO(datum), schema, None)
            return codec.from_wire(value)  # type: ignore[no-any-return] # made from cls
        except Exception as exc:  # whatever fastavro meets in foreign bytes: EOF, bad unicode, bad index, overflow
            failure = failure or exc
    raise DecodeError(f"not a {cls.__name__}: {type(failure).__name__}") from failure


def leading_string(datum: bytes) -> str:
    """The first field of a datum, where that is a string: the correlation id of every answer. Raises DecodeError."""
    try:
        return str(fastavro.schemaless_reader(BytesIO(datum), "string", None))
    except Exception as exc:  # as in decode
        raise DecodeError("the datum does not start with a string") from exc


def to_camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


@dataclass(frozen=True, slots=True)
class _Codec:
    schema: Any
    readable_schemas: tuple[Any, ...]
    to_wire: Callable[[Any], Any]
    from_wire: Callable[[Any], Any]


def _make_codec(cls: Any) -> _Codec:
    schema = schema_of(cls)
    readable = [fastavro.parse_schema(schema)]
    wire_fields: list[dict[str, Any]] = schema["fields"]
    for position in range(len(wire_fields) - 1, 0, -1):
        if "default" not in wire_fields[position]:
            break
        readable.append(fastavro.parse_schema({**schema, "fields": wire_fields[:position]}))
    return _Codec(readable[0], tuple(readable), _writer_of(cls), _reader_of(cls))


_codec_of: Callable[[Any], _Codec] = cache(_make_codec)


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


def _writer_of(annotation: Any) -> Callable[[Any], Any]:
    """A function from our value of this type to fastavro's."""
    if is_dataclass(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        names = [(_wire_name_of(declared), declared.name) for declared in fields(annotation)]
        nested = [(_wire_name_of(f), _writer_of(hints[f.name])) for f in fields(annotation) if _nests(hints[f.name])]

        def write_record(value: Any) -> dict[str, Any]:
            wire = {wire_name: getattr(value, own_name) for wire_name, own_name in names}
            for name, write in nested:
                wire[name] = write(wire[name])
            return wire

        return write_record
    if _nests(annotation) and get_origin(annotation) is tuple:
        write_item = _writer_of(get_args(annotation)[0])
        return lambda value: [write_item(item) for item in value]
    if _nests(annotation):
        write_value = _writer_of(get_args(annotation)[1])
        return lambda value: {key: write_value(item) for key, item in value.items()}
    return lambda value: value


def _reader_of(annotation: Any) -> Callable[[Any], Any]:
    """A function from fastavro's value of this type to ours."""
    if is_dataclass(annotation):
        cls: Any = annotation
        hints = get_type_hints(annotation, include_extras=True)
        names = {_wire_name_of(declared): declared.name for declared in fields(annotation)}
        special = {
            declared.name: _reader_of(hints[declared.name])
            for declared in fields(annotation)
            if _nests(hints[declared.name], tuple)
        }

        def read_record(wire: Any) -> Any:
            values = {names[name]: value for name, value in wire.items()}
            for name, read in special.items():
                if name in values:
                    values[name] = read(values[name])
            return cls(**values)

        return read_record
    if get_origin(annotation) is tuple:
        read_item = _reader_of(get_args(annotation)[0])
        return lambda wire: tuple(read_item(item) for item in wire)
    if _nests(annotation, tuple):
        read_value = _reader_of(get_args(annotation)[1])
        return lambda wire: {key: read_value(item) for key, item in wire.items()}
    return lambda wire: wire


def _records_in(annotation: Any) -> list[type[Any]]:
    if is_dataclass(annotation) and isinstance(annotation, type):
        return record_types_of(annotation)
    return [found for argument in get_args(annotation) for found in _records_in(argument)]


def _nests(annotation: Any, also: Any = None) -> bool:
    """Whether a record (or a container of the type `also`) stands somewhere inside this type."""
    return (
        is_dataclass(annotation)
        or (also is not None and get_origin(annotation) is also)
        or any(_nests(argument, also) for argument in get_args(annotation))
    )
