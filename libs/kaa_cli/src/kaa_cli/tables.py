"""Answers as text for people: tables and lists of fields.

Values come from devices, so whatever a terminal would obey is replaced before it is shown.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Columns = Mapping[str, str]
"""Heading to where the value is in a row, levels separated by dots: `{"VERSION": "appVersion.name"}`."""


def table(columns: Columns, rows: Sequence[Any]) -> str:
    """The rows below their headings; columns as wide as their widest value."""
    lines = [list(columns), *([_text(_at(row, path)) for path in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def page_table(columns: Columns, page: Any) -> str:
    """One page of a longer list: `{"content", "totalElements"}`."""
    return f"{table(columns, page['content'])}\n({len(page['content'])} of {page['totalElements']})"


def fields(columns: Columns, row: Any) -> str:
    """One row as lines of heading and value, without the values it does not have."""
    pairs = [(heading, _at(row, path)) for heading, path in columns.items()]
    return pairs_table((heading, _text(value)) for heading, value in pairs if value is not None)


def metadata_table(metadata: Mapping[str, Any]) -> str:
    """Keys and JSON values, sorted by key."""
    return pairs_table(
        (f"  {key}", printable(json.dumps(metadata[key], ensure_ascii=False))) for key in sorted(metadata)
    )


def pairs_table(pairs: Iterable[tuple[str, str]]) -> str:
    lines = [(printable(name), value) for name, value in pairs]
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(_aligned(line, (width, 0)) for line in lines)


def printable(text: str) -> str:
    """The text without control characters: no escape sequence reaches the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _at(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
