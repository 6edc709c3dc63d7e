"""How documents lie in an SQLite file; what the writing and the reading side have in common.

"<collection>"          id, revision, queried, body   the documents as JSON text, but for the queried members
"<collection>.<index>"  key, id                       the keys of `index_keys`, one row for each key of each document
"_indexes"              collection, name, ...         the catalogue

`queried` has these members in SQLite's own form of JSON, where it finds a value ten times as fast as in text; the keyed
one as an object, {"floor": 3} for [{"key": "floor", "value": 3}]. In `body` there is null in their place, and [] in the
place of the keyed one. Where the own form would have a NUL, there is text: so it can be searched as if it were text.
Where the keyed member is no such array, or the row older than the column, it is NULL and `body` has everything.
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

import apsw
import orjson

from kaa_common.store.documents import check_identity, dump_parts, encode_json
from kaa_common.store.port import Collection, Document, StoreUnavailable

_PAUSE_FOR_LOCK: Final = 0.01
_SHORT: Final = 256
"""Characters of JSON text whose own form needs no size of several bytes."""
_ENTRY: Final = ("key", "value")


class NewDocument(NamedTuple):
    """A document that is to be written, and its texts; `checked_copy` has not looked at these yet."""

    document: Document
    body: str
    queried: str | None


class StoredDocument(NamedTuple):
    """A document as its row has it, with the queried members as JSON text."""

    row: int
    revision: int
    body: str
    queried: str | None

    def document(self) -> Document:
        return decode_document(self.body, self.queried)


def encode_document(collection: Collection, document: Document) -> NewDocument:
    """Return what is to be written; raise InvalidDocument when it surely cannot be kept exactly."""
    parts: Document = {name: document[name] for name in collection.queried if name in document}
    places: Document = dict.fromkeys(parts)
    if collection.keyed in parts:
        parts[collection.keyed] = members = _members_of(parts[collection.keyed])
        places[collection.keyed] = []
        if members is None:
            parts = {}
    if not parts:
        return NewDocument(document, encode_json(document).decode(), None)
    check_identity(document)
    body, queried = dump_parts(document, document | places, parts)
    return NewDocument(document, body.decode(), queried.decode())


def decode_document(body: str, queried: str | None) -> Document:
    """Return the document of a row."""
    document: Document = orjson.loads(body)
    if queried is not None:
        for name, value in orjson.loads(queried).items():
            is_keyed = document[name] is not None
            document[name] = [{"key": key, "value": one} for key, one in value.items()] if is_keyed else value
    return document


def _members_of(array: Any) -> Document | None:  # Any: whatever the document has there
    """The object that an array of entries stands for; None when one could not be made the other again."""
    if type(array) is not list:
        return None
    members: Document = {}
    for entry in array:
        if type(entry) is not dict or tuple(entry) != _ENTRY or type(key := entry["key"]) is not str:
            return None
        members[key] = entry["value"]
    return members if len(members) == len(array) else None


@contextmanager
def open_connection(path: Path, deadline: float) -> Iterator[apsw.Connection]:
    """Open the file, made on first use and readable by its owner alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(int(deadline * 1000))
    except (OSError, apsw.Error) as exc:
        raise StoreUnavailable(f"{path} cannot be opened: {exc}") from exc
    with closing(connection):
        try:
            _prepare(connection, deadline)
        except apsw.Error as exc:
            raise StoreUnavailable(f"{path} cannot be used: {exc}") from exc
        yield connection


def _prepare(connection: apsw.Connection, deadline: float) -> None:
    limit = monotonic() + deadline
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except apsw.BusyError:  # several replicas start at once: this statement alone does not wait its turn
            if monotonic() > limit:
                raise
            sleep(_PAUSE_FOR_LOCK)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        'CREATE TABLE IF NOT EXISTS "_indexes" (collection TEXT NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL, '
        "is_unique INTEGER NOT NULL, PRIMARY KEY (collection, name)) WITHOUT ROWID"
    )


def has_no_nul(queried: str | None) -> bool:
    """Tell whether there is surely no NUL in the own form of the queried members: it would be a null, or in a size."""
    return queried is None or (len(queried) < _SHORT and queried.isascii() and "null" not in queried)


@cache
def formed(parameter: str, without_nul: bool) -> str:
    """Return what is kept of the queried members for a parameter that is their text."""
    form = f"jsonb({parameter})"
    if without_nul:
        return form
    return f"(SELECT iif(instr(form, x'00') > 0, {parameter}, form) FROM (SELECT {form} AS form))"


def table_of(collection: str, index: str | None = None) -> str:
    """Return the quoted name of the table of a collection or of one of its indexes."""
    return f'"{collection}"' if index is None else f'"{collection}.{index}"'


def stored_document(connection: apsw.Connection, collection: str, document_id: str) -> StoredDocument | None:
    """Return the row of a document."""
    statement = f"SELECT rowid, revision, body, json(queried) FROM {table_of(collection)} WHERE id = ?"
    row = connection.execute(statement, (document_id,)).fetchone()
    return None if row is None else StoredDocument(*row)
