"""Filter queries: what a filter may ask for, written for the array of metadata, and what it mentions [pure].

A query names `application_version` and metadata, in either of two forms, mixed at will:

    {"metadata": {"$elemMatch": {"key": "city", "value": "Kyiv"}}}     Kaa's: an array of {key, value}
    {"metadata.city": "Kyiv"}                                          plain: as if metadata were an object

The plain form is rewritten to the other one, so that the database and the matcher read the same query. What holds for a
missing key is put beside what holds for a present one: `{"metadata.city": null}` matches where there is no `city`.
The verdict of a query changes only with something that it mentions.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from epr.metadata import KEY_PATTERN
from kaa_common.store import Document, Query, QueryError
from kaa_common.store.matcher import LOGICAL, compile_query, is_condition

APPLICATION_VERSION: Final = "application_version"
METADATA: Final = "metadata"

# What is mentioned besides metadata keys; a `$` is in none of these.
MENTIONS_APPLICATION_VERSION: Final = "$application_version"
MENTIONS_ANY_KEY: Final = "$any"

_KEY = re.compile(KEY_PATTERN.strip("^$"))
_ARRAY_FORM: Final = 'metadata takes {"$elemMatch": {"key", "value"}} or $not of it; else write metadata.<key>'


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterQuery:
    query: Query
    """For the database and for the matcher."""
    mentions: frozenset[str]
    """Metadata keys, MENTIONS_APPLICATION_VERSION, MENTIONS_ANY_KEY."""


def compile_filter_query(source: Document) -> FilterQuery:
    """Raises QueryError, which says what is wrong."""
    compile_query(source)
    mentions: set[str] = set()
    rewritten = _rewritten(source, mentions)
    try:
        return FilterQuery(query=compile_query(rewritten), mentions=frozenset(mentions))
    except QueryError as exc:
        raise QueryError(f"with metadata.<key> written out: {exc}") from exc


def _rewritten(query: Document, mentions: set[str]) -> Document:
    return _all_of(_rewritten_clause(path, value, mentions) for path, value in query.items())


def _rewritten_clause(path: str, value: Any, mentions: set[str]) -> Document:
    if path in LOGICAL:
        return {path: [_rewritten(query, mentions) for query in value]}
    if path == APPLICATION_VERSION:
        mentions.add(MENTIONS_APPLICATION_VERSION)
        return {path: value}
    if path == METADATA:
        _check_array_form(value, mentions)
        return {path: value}
    field, _, rest = path.partition(".")
    key, dot, inner = rest.partition(".")
    if field != METADATA or _KEY.fullmatch(key) is None:
        raise QueryError(f"{path} cannot be queried: application_version, metadata and metadata.<key> can")
    mentions.add(key)
    return _Plain(key, f"value{dot}{inner}").condition(value)


def _check_array_form(value: Any, mentions: set[str]) -> None:
    if not is_condition(value):
        raise QueryError(_ARRAY_FORM)
    for operator, operand in value.items():
        if operator == "$elemMatch":
            _check_element(operand)
            mentions.update(_keys_of_element(operand))
        elif operator == "$not":
            _check_array_form(operand, mentions)
        else:
            raise QueryError(_ARRAY_FORM)


def _check_element(query: Document) -> None:
    for path, value in query.items():
        if path in LOGICAL:
            for inner in value:
                _check_element(inner)
        elif path != "key" and path.partition(".")[0] != "value":
            raise QueryError(_ARRAY_FORM)


def _keys_of_element(query: Document) -> Iterable[str]:
    """The only keys that an element can have which matches."""
    match query.get("key"):
        case str(key) | {"$eq": str(key)}:
            return [key]
        case {"$in": keys} if all(isinstance(key, str) for key in keys):
            return keys  # type: ignore[no-any-return] # checked to be strings
    return [MENTIONS_ANY_KEY]


@dataclass(frozen=True, slots=True)
class _Plain:
    """A condition on `metadata.<key>...`; the path leads there within an element of the array."""

    key: str
    path: str

    def condition(self, value: Any) -> Document:
        if not is_condition(value):
            return self._equal(value)
        return _all_of(
            self._operation(operator, operand, value) for operator, operand in value.items() if operator != "$options"
        )

    def _operation(self, operator: str, operand: Any, value: Document) -> Document:
        match operator:
            case "$eq":
                return self._equal(operand)
            case "$ne":
                return _not(self._equal(operand))
            case "$in":
                return self._in(operand)
            case "$nin":
                return _not(self._in(operand))
            case "$all" if operand:
                return _all_of(map(self._equal, operand))
            case "$not":
                return _not(self.condition(operand))
            case "$exists":
                present = self._present({"$exists": True})
                return present if operand else _not(present)
            case "$gte" | "$lte" if operand is None:
                return self._equal(None)
            case "$regex":
                return self._present({name: value[name] for name in ("$regex", "$options") if name in value})
        return self._present({operator: operand})

    def _equal(self, literal: Any) -> Document:
        return self._or_missing(self._present(literal), literal is None)

    def _in(self, literals: list[Any]) -> Document:
        return self._or_missing(self._present({"$in": literals}), None in literals)

    def _or_missing(self, present: Document, also_missing: bool) -> Document:
        return {"$or": [present, _not(_element({"key": self.key}))]} if also_missing else present

    def _present(self, condition: Any) -> Document:
        return _element({"key": self.key, self.path: condition})


def _element(query: Document) -> Document:
    return {METADATA: {"$elemMatch": query}}


def _not(query: Document) -> Document:
    return {"$nor": query["$or"] if query.keys() == {"$or"} else [query]}


def _all_of(clauses: Iterable[Document]) -> Document:
    """Side by side where they can be, for the sake of the nesting, which is limited."""
    together: Document = {}
    others: list[Document] = []
    for clause in clauses:
        if clause.keys() & together.keys():
            others.append(clause)
        else:
            together |= clause
    if others and "$and" in together:
        return {"$and": [together, *others]}
    return together | {"$and": others} if others else together
