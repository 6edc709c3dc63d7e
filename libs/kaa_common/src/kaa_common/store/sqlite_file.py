"""How documents lie in an SQLite file; what the writing and the reading side have in common.

"<collection>"          id, revision, queried, body   the documents as JSON text
"<collection>.<index>"  key, id                       the keys of `index_keys`, one row for each key of each document
"_indexes"              collection, name, ...         the catalogue

`queried` has the queried members once more, in SQLite's own form of JSON, where it finds a value ten times as fast as
in the text of the whole; the keyed one as an object, {"floor": 3} for [{"key": "floor", "value": 3}]. Where the own
form would have a NUL, there is text: so it can be searched as if it were text. Where the keyed member is no such array,
or the row is older than the column, there is NULL.
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

import apsw
import orjson

from kaa_common.store.documents import encode_json
from kaa_common.store.port import Collection, Document, StoreUnavailable

_PAUSE_FOR_LOCK: Final = 0.01
_SHORT: Final = 256
"""Characters of JSON text whose own form needs no size of several bytes."""


class NewDocument(NamedTuple):
    """A document that is to be written; `read_back` has not looked at its text yet."""

    document: Document
    body: str
    queried: str | None


class StoredDocument(NamedTuple):
    """A document as its row has it."""

    row: int
    revision: int
    body: str


def encode_document(collection: Collection, document: Document) -> NewDocument:
    """Return what is to be written; raise InvalidDocument when it surely cannot be kept exactly."""
    return NewDocument(document, encode_json(document).decode(), _queried_of(collection, document))


def _queried_of(collection: Collection, document: Document) -> str | None:
    """The queried members, with the keyed one as an object; None when that is no array of entries."""
    members = {name: document[name] for name in collection.queried if name in document}
    if not members:
        return None
    try:
        if collection.keyed in members:
            entries = members[collection.keyed]
            members[collection.keyed] = values = {entry["key"]: entry["value"] for entry in entries}
            if type(entries) is not list or len(values) != len(entries):
                return None
        return orjson.dumps(members).decode()
    except (TypeError, KeyError):  # also for a key that is no string
        return None


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


def formed(parameter: str, new: NewDocument) -> str:
    """Return what is kept of the queried members for a parameter that is their text."""
    form, text = f"jsonb({parameter})", new.queried
    if text is None or (len(text) < _SHORT and text.isascii() and "null" not in text):
        return form  # a NUL would be a null, or in a size
    return f"(SELECT iif(instr(form, x'00') > 0, {parameter}, form) FROM (SELECT {form} AS form))"


def table_of(collection: str, index: str | None = None) -> str:
    """Return the quoted name of the table of a collection or of one of its indexes."""
    return f'"{collection}"' if index is None else f'"{collection}.{index}"'


def stored_document(connection: apsw.Connection, collection: str, document_id: str) -> StoredDocument | None:
    """Return the row of a document."""
    statement = f"SELECT rowid, revision, body FROM {table_of(collection)} WHERE id = ?"
    row = connection.execute(statement, (document_id,)).fetchone()
    return None if row is None else StoredDocument(*row)
