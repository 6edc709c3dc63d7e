"""How documents lie in an SQLite file; what the writing and the reading side have in common.

"<collection>"          id, revision, body       the documents as JSON text
"<collection>.<index>"  key, id                  the keys of `index_keys`, one row for each key of each document
"_indexes"              collection, name, ...    the catalogue
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

import apsw

from kaa_common.store.documents import encode_json
from kaa_common.store.port import Document, StoreUnavailable

_PAUSE_FOR_LOCK: Final = 0.01


class NewDocument(NamedTuple):
    """A document that is to be written; `read_back` has not looked at its text yet."""

    document: Document
    body: str


class StoredDocument(NamedTuple):
    """A document as its row has it."""

    row: int
    revision: int
    body: str


def encode_document(document: Document) -> NewDocument:
    """Return what is to be written; raise InvalidDocument when it surely cannot be kept exactly."""
    return NewDocument(document, encode_json(document).decode())


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


def table_of(collection: str, index: str | None = None) -> str:
    """Return the quoted name of the table of a collection or of one of its indexes."""
    return f'"{collection}"' if index is None else f'"{collection}.{index}"'


def stored_document(connection: apsw.Connection, collection: str, document_id: str) -> StoredDocument | None:
    """Return the row of a document."""
    statement = f"SELECT rowid, revision, body FROM {table_of(collection)} WHERE id = ?"
    row = connection.execute(statement, (document_id,)).fetchone()
    return None if row is None else StoredDocument(*row)
