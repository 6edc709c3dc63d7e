"""The reading side of an SQLite file: lookups and pages.

A batch reads one snapshot, taken after everything was acknowledged that its callers could know of. SQLite looks at the
clock while it works, so that a scan ends with its deadline and not when the collection does.
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from time import monotonic
from typing import Any

import apsw
import orjson

from kaa_common.store.documents import values_at
from kaa_common.store.gathering import Work
from kaa_common.store.index_keys import END, Position, encode_values
from kaa_common.store.port import Collection, Document, Index, Matches, Query, Scalar, StoreUnavailable
from kaa_common.store.sqlite_file import stored_document, table_of
from kaa_common.store.sqlite_halves import Halves, end_at
from kaa_common.store.sqlite_scan import Scan


class Reader:
    """Reads through one connection, in one thread; what looks at every row, through those of `halves`."""

    def __init__(self, connection: apsw.Connection, deadline: float, halves: Halves | None = None) -> None:
        self._connection = connection
        self._deadline = deadline
        self._halves = halves
        self._until = 0.0

    def process(self, batch: Sequence[Work["Reader"]]) -> list[Any]:  # Any: each work's own answer, or its exception
        """Do all of it on one snapshot, within the deadline."""
        until = self._until = monotonic() + self._deadline
        end_at(self._connection, until)
        self._connection.execute("BEGIN")
        try:
            return [self._outcome_of(work) for work in batch]
        finally:
            self._connection.execute("ROLLBACK")

    def _outcome_of(self, work: Work["Reader"]) -> Any:
        try:
            return work(self)
        except apsw.Error as exc:
            unavailable = StoreUnavailable(f"SQLite: {exc}")
            unavailable.__cause__ = exc
            return unavailable
        except Exception as exc:
            return exc  # raised to its caller; the others have nothing to do with it

    def ping(self) -> None:
        self._connection.execute('SELECT 1 FROM "_indexes" LIMIT 1').fetchone()

    def get(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        found = {}
        for document_id in ids:
            stored = stored_document(self._connection, collection, document_id)
            if stored is not None:
                found[document_id] = orjson.loads(stored.body)
        return found

    def page(
        self,
        collection: str,
        index: Index,
        equals: Sequence[Scalar],
        after: Position | None,
        offset: int,
        limit: int,
        descending: bool,
    ) -> list[Document]:
        prefix = encode_values(equals)
        # The position behind which the page starts takes the place of that end of the range, so that SQLite seeks it.
        low, high = "key >= :low", "key < :high"
        parameters = {"low": prefix, "high": prefix + END, "limit": limit, "offset": offset}
        if after is not None:
            parameters |= {"key": prefix + encode_values(after.values), "id": after.id}
            if descending:
                high = "(key, i.id) < (:key, :id)"
            else:
                low = "(key, i.id) > (:key, :id)"
        keys, documents = table_of(collection, index.name), table_of(collection)
        direction = "DESC" if descending else "ASC"
        rows = self._connection.execute(
            # What the offset skips is read from the index alone.
            f"SELECT body FROM (SELECT key, id FROM {keys} AS i WHERE {low} AND {high} "
            f"ORDER BY key {direction}, id {direction} LIMIT :limit OFFSET :offset) AS i "
            f"CROSS JOIN {documents} AS d ON d.id = i.id ORDER BY key {direction}, i.id {direction}",
            parameters,
        )
        return [orjson.loads(body) for (body,) in rows]

    def query(
        self,
        collection: Collection,
        query: Query,
        index: Index | None,
        equals: Sequence[Scalar],
        after: str,
        offset: int,
        limit: int,
    ) -> Matches:
        return self._scan(collection, query, index, equals).page(after, offset, limit)

    def count(
        self,
        collection: Collection,
        index: Index | None,
        equals: Sequence[Scalar],
        query: Query | None,
        limit: int | None,
    ) -> int:
        if query is not None:
            return self._scan(collection, query, index, equals).count(limit)
        return self._count(collection.name, index, equals, limit)

    def _scan(self, collection: Collection, query: Query, index: Index | None, equals: Sequence[Scalar]) -> Scan:
        assert self._halves is not None, "a reader of scans"
        return Scan(self._connection, self._halves, self._until, collection, query, index, equals)

    def _count(self, collection: str, index: Index | None, equals: Sequence[Scalar], limit: int | None) -> int:
        parameters: tuple[bytes, ...] = ()
        if index is None:
            ids = f"SELECT id FROM {table_of(collection)}"
        else:
            prefix, what = encode_values(equals), "id" if len(equals) == len(index.fields) else "DISTINCT id"
            ids = f"SELECT {what} FROM {table_of(collection, index.name)} WHERE key >= ? AND key < ?"
            parameters = (prefix, prefix + END)
        bounded = ids if limit is None else f"{ids} LIMIT {limit:d}"
        return int(self._connection.execute(f"SELECT count(*) FROM ({bounded})", parameters).get)

    def distinct(
        self, collection: str, path: str, index: Index, equals: Sequence[Scalar], limit: int
    ) -> frozenset[str]:
        prefix, parts = encode_values(equals), path.split(".")
        keys, documents = table_of(collection, index.name), table_of(collection)
        rows = self._connection.execute(
            f"SELECT body FROM {keys} AS i CROSS JOIN {documents} AS d ON d.id = i.id WHERE key >= ? AND key < ?",
            (prefix, prefix + END),
        )
        found: set[str] = set()
        with closing(rows):
            for (body,) in rows:
                values = values_at(orjson.loads(body), parts, elements=True)
                found.update(value for value in values if isinstance(value, str))
                if len(found) >= limit:
                    break
        return frozenset(islice(found, limit))
