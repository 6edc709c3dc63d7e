"""The binary encoding of Avro, as functions made once for each type [pure].

A writer turns a value into bytes; a reader takes a datum and a position in it, and returns the value there and the
position behind it. Made for the types that messages are declared with, they are half as quick again as a general
library, which looks at the schema for each value and needs a dictionary in between.
What is wrong with foreign bytes is some exception of a reader: IndexError where they end, ValueError where they are
absurd.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

Int = Annotated[int, "int"]
"""An Avro int (32 bits). Plain `int` is an Avro long."""

# Any: each type has its own values.
Writer = Callable[[Any], bytes]
Reader = Callable[[bytes, int], tuple[Any, int]]

_SHORT: Final = tuple(bytes([number << 1]) for number in range(64))
"""The numbers that most lengths are."""
_END: Final = _SHORT[0]
_encode: Final = str.encode  # raises TypeError for what is no string


def write_long(number: int) -> bytes:
    if 0 <= number < 64:
        return _SHORT[number]
    if not -(2**63) <= number < 2**63:
        raise OverflowError("a number does not fit into 64 bits")
    rest = (number << 1) ^ (number >> 63)
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def write_bytes(value: bytes) -> bytes:
    return write_long(len(value)) + value


def write_string(value: str) -> bytes:
    text = _encode(value)
    length = len(text)
    return (_SHORT[length] if length < 64 else write_long(length)) + text


def write_boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def read_long(datum: bytes, position: int) -> tuple[int, int]:
    byte = datum[position]
    number, shift = byte & 0x7F, 7
    while byte > 0x7F:
        position += 1
        byte = datum[position]
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number is longer than 64 bits")
    if number >> 64:
        raise ValueError("a number does not fit into 64 bits")
    return (number >> 1) ^ -(number & 1), position + 1


def read_bytes(datum: bytes, position: int) -> tuple[bytes, int]:
    length, position = read_long(datum, position)
    end = position + length
    if not position <= end <= len(datum):
        raise ValueError("a length is absurd")
    return datum[position:end], end


def read_string(datum: bytes, position: int) -> tuple[str, int]:
    length = datum[position]
    if length > 0x7F or length & 1:
        value, end = read_bytes(datum, position)
        return value.decode(), end
    position += 1
    end = position + (length >> 1)
    if end > len(datum):
        raise ValueError("a string is cut off")
    return datum[position:end].decode(), end


def read_boolean(datum: bytes, position: int) -> tuple[bool, int]:
    return datum[position] != 0, position + 1


_WRITERS: Final[dict[Any, Writer]] = {
    str: write_string,
    int: write_long,
    Int: write_long,
    bool: write_boolean,
    bytes: write_bytes,
}
_READERS: Final[dict[Any, Reader]] = {
    str: read_string,
    int: read_long,
    Int: read_long,
    bool: read_boolean,
    bytes: read_bytes,
}


def writer_of(annotation: Any) -> Writer:
    """A writer for values of this type; a record is a dataclass. Raises TypeError when Avro has no such type."""
    if annotation in _WRITERS:
        return _WRITERS[annotation]
    if is_dataclass(annotation):
        return _record_writer(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _optional_writer(arguments)
    if origin is tuple:
        return _array_writer(writer_of(arguments[0]))
    if origin is Mapping:
        return _map_writer(writer_of(arguments[1]))
    raise TypeError(f"no Avro type for {annotation}")


def reader_of(annotation: Any, *, may_end_early: bool = False) -> Reader:
    """A reader for values of this type; a record whose last fields have defaults may end before them, if asked for."""
    if annotation in _READERS:
        return _READERS[annotation]
    if is_dataclass(annotation):
        return _record_reader(annotation, may_end_early)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _optional_reader(arguments)
    if origin is tuple:
        return _array_reader(reader_of(arguments[0]))
    if origin is Mapping:
        return _map_reader(reader_of(arguments[1]))
    raise TypeError(f"no Avro type for {annotation}")


def _record_writer(cls: Any) -> Writer:
    hints = get_type_hints(cls, include_extras=True)
    names: dict[str, Any] = {"join": b"".join, "short": _SHORT, "encode": _encode, "write_long": write_long}
    parts = []
    for number, declared in enumerate(fields(cls)):
        value, annotation = f"value.{declared.name}", hints[declared.name]
        if annotation is str:
            parts.append(f"short[n] if (n := len(text := encode({value}))) < 64 else write_long(n), text")
        else:
            names[f"write_{number}"] = writer_of(annotation)
            parts.append(f"write_{number}({value})")
    write: Writer = _compiled("write", f"def write(value): return join(({', '.join(parts)},))", names)
    return write


def _record_reader(cls: Any, may_end_early: bool) -> Reader:
    hints = get_type_hints(cls, include_extras=True)
    names: dict[str, Any] = {"cls": cls, "read_string": read_string}
    lines = ["def read(datum, position):", " size = len(datum)"]
    made = [f"{declared.name}=value_{number}" for number, declared in enumerate(fields(cls))]
    for number, declared in enumerate(fields(cls)):
        if may_end_early and all(later.default is not MISSING for later in fields(cls)[number:]):
            lines.append(f" if position == size: return cls({', '.join(made[:number])}), position")
        if hints[declared.name] is str:
            lines += _short_string_read(f"value_{number}")
        else:
            names[f"read_{number}"] = reader_of(hints[declared.name])
            lines.append(f" value_{number}, position = read_{number}(datum, position)")
    lines.append(f" return cls({', '.join(made)}), position")
    read: Reader = _compiled("read", "\n".join(lines), names)
    return read


def _short_string_read(name: str) -> list[str]:
    """`read_string`, in place for those whose length is one byte."""
    return [
        " length = datum[position]",
        " if length & 0x81:",
        f"  {name}, position = read_string(datum, position)",
        " else:",
        "  position += 1",
        "  end = position + (length >> 1)",
        "  if end > size: raise ValueError('a string is cut off')",
        f"  {name} = datum[position:end].decode()",
        "  position = end",
    ]


def _compiled(name: str, source: str, names: dict[str, Any]) -> Any:
    """The function of this name in a source: made as dataclasses make theirs, so that nothing is left to loop over."""
    exec(source, names)  # noqa: S102 # of names and numbers of our own classes
    return names[name]


def _optional_parts(arguments: tuple[Any, ...]) -> tuple[int, Any]:
    """The place of null in a union of it and another type, and that type."""
    if len(arguments) != 2 or type(None) not in arguments:
        raise TypeError(f"no union but one of null and another type: {arguments}")
    null = arguments.index(type(None))
    return null, arguments[1 - null]


def _optional_writer(arguments: tuple[Any, ...]) -> Writer:
    null, annotation = _optional_parts(arguments)
    write, nothing, something = writer_of(annotation), _SHORT[null], _SHORT[1 - null]
    return lambda value: nothing if value is None else something + write(value)


def _optional_reader(arguments: tuple[Any, ...]) -> Reader:
    null, annotation = _optional_parts(arguments)
    read, nothing, something = reader_of(annotation), null << 1, (1 - null) << 1

    def read_optional(datum: bytes, position: int) -> tuple[Any, int]:
        branch = datum[position]
        if branch == nothing:
            return None, position + 1
        if branch != something:
            raise ValueError("a union has no such branch")
        return read(datum, position + 1)

    return read_optional


def _array_writer(write: Writer) -> Writer:
    def write_array(items: Any) -> bytes:
        return b"".join([write_long(len(items)), *map(write, items), _END]) if items else _END

    return write_array


def _map_writer(write: Writer) -> Writer:
    def write_map(members: Any) -> bytes:
        if not members:
            return _END
        return b"".join(
            [write_long(len(members)), *(write_string(key) + write(value) for key, value in members.items()), _END]
        )

    return write_map


def _array_reader(read: Reader) -> Reader:
    def read_array(datum: bytes, position: int) -> tuple[tuple[Any, ...], int]:
        items = []
        count, position = _read_count(datum, position)
        while count:
            for _ in range(count):
                item, position = read(datum, position)
                items.append(item)
            count, position = _read_count(datum, position)
        return tuple(items), position

    return read_array


def _map_reader(read: Reader) -> Reader:
    def read_map(datum: bytes, position: int) -> tuple[dict[str, Any], int]:
        members = {}
        count, position = _read_count(datum, position)
        while count:
            for _ in range(count):
                key, position = read_string(datum, position)
                members[key], position = read(datum, position)
            count, position = _read_count(datum, position)
        return members, position

    return read_map


def _read_count(datum: bytes, position: int) -> tuple[int, int]:
    """How many items the next block has; a negative number says that its size in bytes follows."""
    count, position = read_long(datum, position)
    if count < 0:
        _, position = read_long(datum, position)
    return abs(count), position
