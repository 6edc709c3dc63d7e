"""Conditions of SQL that need not say everything [pure].

A condition comes as two: what a document must have to match (`possible`), and what makes sure that it does (`certain`).
What lies between is for the matcher. Neither is ever NULL, so `$nor` is one turned into the other.

A value is found by its path in the JSON of a column: numbers, strings and the rest are told apart by `json_type`, and
`->` gives the text of a value as it was written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self


@dataclass(frozen=True, slots=True)
class Condition:
    """What SQL says of a row `d` of documents."""

    possible: str
    certain: str

    @classmethod
    def exactly(cls, condition: str) -> Self:
        return cls(condition, condition)

    def __and__(self, other: "Condition") -> "Condition":
        return all_of([self, other])

    def __invert__(self) -> "Condition":
        return Condition(_not(self.certain), _not(self.possible))


MAX_CASES: Final = 8
"""Values that are sooner compared with than looked up."""

ALWAYS: Final = Condition.exactly("1")
PERHAPS: Final = Condition("1", "0")


def all_of(conditions: Iterable[Condition]) -> Condition:
    listed = [*conditions]
    return Condition(_and(one.possible for one in listed), _and(one.certain for one in listed))


def any_of(conditions: Iterable[Condition]) -> Condition:
    listed = [*conditions]
    return Condition(_or(one.possible for one in listed), _or(one.certain for one in listed))


def _and(conditions: Iterable[str]) -> str:
    return _joined(" AND ", [*dict.fromkeys(conditions)], "1", "0")


def _or(conditions: Iterable[str]) -> str:
    return _joined(" OR ", [*dict.fromkeys(conditions)], "0", "1")


def _not(condition: str) -> str:
    return {"0": "1", "1": "0"}.get(condition, f"NOT {condition}")


def _joined(operator: str, conditions: Sequence[str], neutral: str, decisive: str) -> str:
    conditions = [one for one in conditions if one != neutral]
    if decisive in conditions:
        return decisive
    if len(conditions) <= 1:
        return conditions[0] if conditions else neutral
    # As a tree whose depth SQLite allows.
    half = len(conditions) // 2
    left, right = (_joined(operator, some, neutral, decisive) for some in (conditions[:half], conditions[half:]))
    return f"({left}{operator}{right})"


@dataclass(slots=True)
class Parameters:
    """The values of a statement by the names that conditions have for them."""

    values: dict[str, Any] = field(default_factory=dict)  # Any: whatever SQLite can be given
    _names: dict[tuple[type, Any], str] = field(default_factory=dict)

    def __call__(self, value: Any) -> str:
        name = self._names.setdefault((type(value), value), f"p{len(self.values)}")
        self.values[name] = value
        return f":{name}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is in the JSON of a column."""

    column: str
    path: str

    @property
    def type(self) -> str:
        """NULL when there is nothing."""
        return f"json_type({self.column}, {self.path})"

    @property
    def text(self) -> str:
        return f"({self.column} -> {self.path})"

    @property
    def content(self) -> str:
        """A number or string as SQL has it."""
        return f"({self.column} ->> {self.path})"

    def is_of(self, types: Sequence[str]) -> str:
        return _is_one_of(self.type, [f"'{one}'" for one in types])

    def has_text(self, parameters: Iterable[str]) -> str:
        return _is_one_of(self.text, [*parameters])


def _is_one_of(value: str, others: Sequence[str]) -> str:
    if len(others) > MAX_CASES:
        return f"ifnull({value} IN ({', '.join(others)}), 0)"
    # For IN, SQLite would make a table of more than two.
    return f"CASE {value} {' '.join(f'WHEN {one} THEN 1' for one in others)} ELSE 0 END"


def json_path(steps: Sequence[str]) -> str | None:
    """None where SQLite's paths cannot lead."""
    if any(not step or not step.isprintable() or '"' in step or "\\" in step for step in steps):
        return None
    return "$" + "".join(f'."{step}"' for step in steps)
