"""JSON text (RFC 8259) read strictly and written exactly.

What is read can be stored and given back bit for bit, or it is refused with a reason: integers beyond 64 bits, floats
beyond a double, lone surrogates, NUL in keys, nesting deeper than the limit.
"""

import json
import re
from typing import Any

import orjson

from kaa_common.errors import BadRequest

MAX_DEPTH = 32
"""Levels of arrays and objects: more than a device's data has, and what every part that handles it recurses into."""
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
_MAYBE_BEYOND_64_BITS = re.compile(rb"\d{19}")


class InvalidJson(BadRequest):
    """The text is not JSON, or holds what cannot be kept exactly."""


def parse(text: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that the text stands for. Raises InvalidJson."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise InvalidJson(f"not valid JSON: {exc}") from exc
    _check(value, max_depth)
    if _MAYBE_BEYOND_64_BITS.search(text):
        # orjson reads such integers as floats; the standard library tells.
        json.loads(text, parse_int=_integer_of_64_bits)
    return value


def dump(value: Any) -> bytes:
    """The shortest text of a value."""
    return orjson.dumps(value)


def _check(value: Any, depth_left: int) -> None:
    if isinstance(value, dict | list):
        if depth_left == 0:
            raise InvalidJson("JSON is nested too deeply")
        if isinstance(value, dict):
            if any("\0" in key for key in value):
                raise InvalidJson("JSON has a key with a NUL character")
            value = value.values()
        for item in value:
            _check(item, depth_left - 1)


def _integer_of_64_bits(digits: str) -> int:
    # The length is looked at first: converting very long ones is slow, and refused by Python itself.
    if len(digits) > 20 or not _MIN_INTEGER <= int(digits) <= _MAX_INTEGER:
        raise InvalidJson("JSON has an integer beyond 64 bits")
    return int(digits)
