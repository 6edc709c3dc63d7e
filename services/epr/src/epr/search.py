"""What is searched for among the endpoints: the words of the REST interface as a query of the store [pure].

    metadataFilter   city=Kyiv,floor=3,serial           pairs, all of which must hold; a key alone must exist
                     {"city": "Kyiv", "floor": {"$gt": 2}}   or an object of conditions on metadata keys
    multiFilter      a text that the id, the application version or a value of the metadata contains
    regex            whether those values and that text are regular expressions, as `$regex` allows them
    query            a query as filters have it (filters/queries.py)

A string that a metadata key must be equal to is a term (terms.py), found through an index whatever the number of
endpoints.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from epr.filters.queries import compile_filter_query
from epr.metadata import check_keys
from epr.terms import term
from kaa_common import jsontext
from kaa_common.errors import BadRequest
from kaa_common.store import Document, Query, compile_query

MAX_PAIRS: Final = 32
_PAIR = re.compile(r'\s*([^=,\s]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^,]*))?(?:,|$)')
_PLAIN = frozenset("!\"#%&',-/:;<=>@_`~ ")
"""Characters that stand for themselves in a pattern, besides letters and digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """None and an empty text where something is not asked for."""

    application: str | None = None
    app_version: str | None = None
    filter_id: str | None = None
    metadata_filter: str = ""
    multi_filter: str = ""
    regex: bool = False
    query: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is left of a search beside application, application version and filter."""

    query: Query | None
    """None when there is nothing else, or the term says it all."""
    term: str | None


def conditions_of(search: Search, *, with_terms: bool = True) -> Conditions:
    """Raises BadRequest, with what is wrong."""
    clauses = [*_metadata_clauses(search), *([search.query] if search.query else [])]
    written_out = compile_filter_query({"$and": clauses}).query.source if clauses else {}
    found = next(_terms_in(written_out), None) if with_terms else None
    if found is not None and len(clauses) == 1 and _is_term_alone(written_out) and not search.multi_filter:
        return Conditions(query=None, term=found)
    parts = [part for part in (written_out, _multi_filter(search)) if part]
    return Conditions(query=compile_query({"$and": parts}) if parts else None, term=found)


def narrowed(query: Query, search: Search) -> Query:
    """The query with the rest of a search, for an index that does not say it."""
    parts: list[Document] = [query.source]
    if search.application is not None:
        parts.append({"application": search.application})
    if search.app_version is not None:
        parts.append({"application_version": search.app_version})
    if search.filter_id is not None:
        parts.append({"filters": search.filter_id})
    return compile_query({"$and": parts}) if len(parts) > 1 else query


EVERYTHING: Final = compile_query({})


def _metadata_clauses(search: Search) -> Iterator[Document]:
    text = search.metadata_filter.strip()
    if text.startswith("{"):
        conditions = jsontext.parse(text.encode(errors="surrogatepass"))
        check_keys(conditions)
        for key, condition in conditions.items():
            yield {f"metadata.{key}": condition}
    elif text:
        for key, value in _pairs(text):
            yield {f"metadata.{key}": _condition(value, is_pattern=search.regex)}


def _pairs(text: str) -> Iterator[tuple[str, str | None]]:
    position = count = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        count += 1
        if pair is None or count > MAX_PAIRS:
            raise BadRequest(f'metadataFilter takes up to {MAX_PAIRS} pairs, key=value,key="value", or a JSON object')
        key, value = pair.groups()
        check_keys([key])
        yield key, value
        position = pair.end()


def _condition(value: str | None, *, is_pattern: bool) -> Any:
    if value is None:
        return {"$exists": True}
    if is_pattern:
        return {"$regex": _unquoted(value)}
    if value.startswith('"'):
        return _unquoted(value)
    literal = _literal(value)
    # Nobody can see from `floor=3` whether a number is meant or a text.
    return value if literal is None else {"$in": [literal, value]}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    text = jsontext.parse(value.encode(errors="surrogatepass"))
    return str(text)


def _literal(value: str) -> int | float | bool | None:
    """The number or boolean that is written like this."""
    try:
        literal = jsontext.parse(value.encode(errors="surrogatepass"))
    except BadRequest:
        return None
    return literal if isinstance(literal, int | float) else None


def _multi_filter(search: Search) -> Document:
    text = search.multi_filter
    if not text:
        return {}
    contains = {"$regex": text if search.regex else _escaped(text), "$options": "i"}
    alternatives: list[Document] = [{path: contains} for path in ("_id", "application_version", "metadata.value")]
    if (literal := _literal(text)) is not None:
        alternatives.append({"metadata.value": literal})
    return {"$or": alternatives}


def _escaped(text: str) -> str:
    return "".join(
        character if character.isalnum() or character in _PLAIN or ord(character) > 127 else f"\\{character}"
        for character in text
    )


def _terms_in(query: Document) -> Iterator[str]:
    for path, value in query.items():
        if path == "$and":
            for inner in value:
                yield from _terms_in(inner)
        elif path == "metadata" and (found := _term_of(value)) is not None:
            yield found


def _term_of(condition: Any) -> str | None:
    match condition:
        case {"$elemMatch": {"key": str(key), "value": str(value) | {"$eq": str(value)}}}:
            return term(key, value)
    return None


def _is_term_alone(query: Document) -> bool:
    """Whether it says no more than its term: one condition, wrapped in any number of `$and`."""
    match list(query.items()):
        case [("$and", [inner])]:
            return _is_term_alone(inner)
        case [("metadata", {"$elemMatch": {"key": _, "value": str() | {"$eq": str()}, **more_of_element}, **more})]:
            return not more and not more_of_element
    return False


def names_in(texts: Iterable[str] | None) -> list[str]:
    """Names separated by commas, of a parameter that may be repeated; each once."""
    return list(dict.fromkeys(part for text in texts or () for part in text.split(",") if part))
