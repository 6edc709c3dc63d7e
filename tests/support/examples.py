"""An example of any record, made from its types: every field set, or every field null that can be."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")

_VALUES: dict[Any, Any] = {str: "text \N{SNOWMAN}", int: 2**40, bool: False, bytes: b"\x00\xff"}
_SMALL_INTEGER = -(2**31)


def example_of(record: type[R], *, nulls: bool = False) -> R:
    """A record that has a value in each field; with `nulls` None where it can be."""
    hints = get_type_hints(record, include_extras=True)
    return record(**{field.name: _example(hints[field.name], nulls) for field in dataclasses.fields(record)})  # type: ignore[arg-type] # records are dataclasses


def _example(annotation: Any, nulls: bool) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if type(None) in arguments:
        values = [argument for argument in arguments if argument is not type(None)]
        return None if nulls else _example(values[0], nulls)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return example_of(annotation, nulls=nulls)
    if origin is Annotated:
        return _SMALL_INTEGER
    if origin is tuple:
        return (_example(arguments[0], nulls), _example(arguments[0], nulls))
    if origin is Mapping:
        return {"key": _example(arguments[1], nulls), "": _example(arguments[1], nulls)}
    return _VALUES[annotation]
