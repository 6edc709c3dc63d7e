"""Terms: what an endpoint's metadata can be looked up by through an index [pure].

A term is a key with a short string that it has. Numbers make no terms: they change all the time, and each change would
have to move an entry of the index.
"""

from collections.abc import Mapping
from typing import Any, Final

MAX_TERM: Final = 64
"""Characters of the string: what names a thing is short, what describes it is not looked up as a whole."""
MAX_TERMS: Final = 1024
"""Of an endpoint: twice the metadata keys it may have."""
INCOMPLETE: Final = "*"
"""In the place of terms when there are more: such an endpoint may be equal to anything."""


def term(key: str, value: str) -> str | None:
    """None when the value is too long for one."""
    return f"{key}={value}" if len(value) <= MAX_TERM else None


def terms_of(metadata: Mapping[str, Any]) -> list[str]:
    """The terms of metadata, each once. To a query an array is equal to each of its elements."""
    terms: list[str] = []
    for key, value in metadata.items():
        if type(value) is str:
            if len(value) <= MAX_TERM:
                terms.append(f"{key}={value}")
        elif type(value) is list:
            terms += dict.fromkeys(f"{key}={text}" for text in value if type(text) is str and len(text) <= MAX_TERM)
    return terms if len(terms) <= MAX_TERMS else [INCOMPLETE]
