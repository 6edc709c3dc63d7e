"""The writing side of an SQLite file: transactions, the catalogue of indexes, and the statements that change documents.

A writer maintains the indexes of the catalogue, not those its own process declared: replicas of different versions may
share a file during an upgrade. Transactions take the write lock at their beginning, so a write can check first and then
change without failing half way, and one refused write leaves the others of its batch alone.
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import orjson

from kaa_common.recent import Recent
from kaa_common.store.documents import read_back
from kaa_common.store.gathering import Work
from kaa_common.store.index_keys import changed_fields, keys_of
from kaa_common.store.port import (
    PRIMARY_KEY,
    Collection,
    Document,
    DuplicateKey,
    Index,
    StoreError,
    StoreUnavailable,
)
from kaa_common.store.sqlite_file import NewDocument, formed, stored_document, table_of

MAX_WRITTEN_CHARACTERS: Final = 4 * 1024 * 1024
"""Of JSON text that a writer remembers having written."""

KeyChange = tuple[Index, set[bytes], set[bytes]]  # an index, the keys to remove, the keys to add


class Writer:
    """Writes through one connection, in one thread."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._indexes: dict[str, list[Index]] = {}
        self._sources: dict[str, dict[str, list[Index]]] = {}
        """The members of a document that keys are made of, and the indexes that each of them is for."""
        self._schema_version = -1
        self._written: Recent[tuple[str, str], tuple[str, bytes]] = Recent(MAX_WRITTEN_CHARACTERS)
        """The texts of documents written lately, and what their keys are made of."""

    def process(self, batch: Sequence[Work["Writer"]]) -> list[Any]:  # Any: each work's own answer, or its StoreError
        """Do all of it in one durable commit; a StoreError is the outcome of its work alone."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._read_catalogue()
            outcomes = [self._outcome_of(work) for work in batch]
            self._connection.execute("COMMIT")
        except BaseException as exc:
            self._schema_version = -1  # the catalogue may have been read from what is now rolled back
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(exc, apsw.Error):
                raise StoreUnavailable(f"SQLite: {exc}") from exc
            raise
        return outcomes

    def _outcome_of(self, work: Work["Writer"]) -> Any:
        try:
            return work(self)
        except StoreError as exc:
            return exc

    def _read_catalogue(self) -> None:
        version = self._connection.execute("PRAGMA schema_version").get
        if version == self._schema_version:
            return
        indexes: dict[str, list[Index]] = defaultdict(list)
        for collection, name, fields, is_unique in self._connection.execute('SELECT * FROM "_indexes"'):
            indexes[collection].append(Index(name, tuple(orjson.loads(fields)), bool(is_unique)))
        self._indexes, self._schema_version = indexes, version
        self._sources = {collection: _sources(indexes[collection]) for collection in indexes}
        self._written.clear()

    def ensure(self, collections: Sequence[Collection]) -> None:
        self._connection.execute("SAVEPOINT ensure")
        try:
            for collection in collections:
                self._ensure_table(table_of(collection.name))
                for index in collection.indexes:
                    self._ensure_index(collection, index)
        except BaseException:
            self._connection.execute("ROLLBACK TO ensure")
            raise
        finally:
            self._connection.execute("RELEASE ensure")
            self._read_catalogue()

    def _ensure_table(self, table: str) -> None:
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            "(id TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL, queried BLOB, body TEXT NOT NULL)"
        )
        if "queried" not in [name for _, name, *_ in self._connection.execute(f"PRAGMA table_info({table})")]:
            self._connection.execute(f"ALTER TABLE {table} ADD COLUMN queried BLOB")

    def _ensure_index(self, collection: Collection, index: Index) -> None:
        existing = {index.name: index for index in self._indexes.get(collection.name, [])}
        if index.name in existing:
            if existing[index.name] != index:
                raise StoreError(f"index {index.name} of {collection.name} exists with another definition")
            return
        table, key_columns = table_of(collection.name, index.name), "key" if index.unique else "key, id"
        self._connection.execute(
            f"CREATE TABLE {table} (key BLOB NOT NULL, id TEXT NOT NULL, PRIMARY KEY ({key_columns})) WITHOUT ROWID"
        )
        self._connection.execute(
            'INSERT INTO "_indexes" VALUES (?, ?, ?, ?)',
            (collection.name, index.name, orjson.dumps(index.fields).decode(), index.unique),
        )
        for document_id, body in self._connection.execute(f"SELECT id, body FROM {table_of(collection.name)}"):
            for key in keys_of(index.fields, orjson.loads(body)):
                self._check_free(collection.name, index, key)
                self._connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, document_id))

    def insert(self, collection: str, new: NewDocument) -> None:
        document = read_back(new.body, new.document)
        document_id = document[PRIMARY_KEY]
        if stored_document(self._connection, collection, document_id) is not None:
            raise DuplicateKey(collection, PRIMARY_KEY)
        changes = self._key_changes(collection, None, document)
        values = f"?1, ?2, {formed('?3', new)}, ?4"
        self._connection.execute(
            f"INSERT INTO {table_of(collection)} (id, revision, queried, body) VALUES ({values})",
            (document_id, document["revision"], new.queried, new.body),
        )
        self._change_keys(collection, document_id, changes)

    def replace(self, collection: str, new: NewDocument, expected_revision: int) -> bool:
        document = read_back(new.body, new.document)
        return self._replace_written(collection, document, new, expected_revision) or self._replace_stored(
            collection, document, new, expected_revision
        )

    def _replace_written(self, collection: str, document: Document, new: NewDocument, expected_revision: int) -> bool:
        """Replace what this writer wrote last, if it is still there, bit for bit, and has the same keys.

        That needs neither reading nor any change of an index.
        """
        document_id = document[PRIMARY_KEY]
        sources = orjson.dumps([document.get(field) for field in self._sources.get(collection, ())])
        written = self._written.pop((collection, document_id))
        self._written.put((collection, document_id), (new.body, sources), len(new.body))
        if written is None or written[1] != sources:
            return False
        self._connection.execute(
            f"{_update_of(collection, new)} WHERE id = ?4 AND revision = ?5 AND body = ?6",
            (document["revision"], new.queried, new.body, document_id, expected_revision, written[0]),
        )
        return self._connection.changes() == 1

    def _replace_stored(self, collection: str, document: Document, new: NewDocument, expected_revision: int) -> bool:
        document_id = document[PRIMARY_KEY]
        stored = stored_document(self._connection, collection, document_id)
        if stored is None or stored.revision != expected_revision:
            return False
        changes = self._key_changes(collection, orjson.loads(stored.body), document)
        self._connection.execute(
            f"{_update_of(collection, new)} WHERE rowid = ?4",
            (document["revision"], new.queried, new.body, stored.row),
        )
        self._change_keys(collection, document_id, changes)
        return True

    def delete(self, collection: str, document_id: str, expected_revision: int | None) -> bool:
        stored = stored_document(self._connection, collection, document_id)
        if stored is None or expected_revision not in (None, stored.revision):
            return False
        changes = self._key_changes(collection, orjson.loads(stored.body), None)
        self._connection.execute(f"DELETE FROM {table_of(collection)} WHERE rowid = ?", (stored.row,))
        self._change_keys(collection, document_id, changes)
        return True

    def _key_changes(self, collection: str, old: Document | None, new: Document | None) -> list[KeyChange]:
        """Return the keys to remove from and to add to each index; raise DuplicateKey if one of those is taken."""
        indexes: Iterable[Index] = self._indexes.get(collection, [])
        if indexes and old is not None and new is not None:
            # Most changes leave most indexes alone, and making keys costs more than seeing that.
            sources = self._sources[collection]
            concerned = [index for field in changed_fields(sources, old, new) for index in sources[field]]
            indexes = {index.name: index for index in concerned}.values()
        changes = []
        for index in indexes:
            old_keys = set() if old is None else keys_of(index.fields, old)
            new_keys = set() if new is None else keys_of(index.fields, new)
            for key in new_keys - old_keys:
                self._check_free(collection, index, key)
            changes.append((index, old_keys - new_keys, new_keys - old_keys))
        return changes

    def _check_free(self, collection: str, index: Index, key: bytes) -> None:
        if not index.unique:
            return
        statement = f"SELECT 1 FROM {table_of(collection, index.name)} WHERE key = ?"
        if self._connection.execute(statement, (key,)).fetchone():
            raise DuplicateKey(collection, index.name)

    def _change_keys(self, collection: str, document_id: str, changes: list[KeyChange]) -> None:
        for index, removed, added in changes:
            table = table_of(collection, index.name)
            for key in removed:
                self._connection.execute(f"DELETE FROM {table} WHERE key = ? AND id = ?", (key, document_id))
            for key in added:
                self._connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, document_id))


def _update_of(collection: str, new: NewDocument) -> str:
    """Return the statement that writes a document over others, given its revision, queried members and body."""
    return f"UPDATE {table_of(collection)} SET revision = ?1, queried = {formed('?2', new)}, body = ?3"


def _sources(indexes: Sequence[Index]) -> dict[str, list[Index]]:
    sources: dict[str, list[Index]] = defaultdict(list)
    for index in indexes:
        for field in {field.partition(".")[0] for field in index.fields}:
            sources[field].append(index)
    return sources
