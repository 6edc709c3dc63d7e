"""A search through the documents of an SQLite file for what matches a query.

SQLite looks for what may match (`sqlite_queries`), and the matcher judges that. Rows are read as they lie in the file,
ten times as fast as in the order of an index: when few may match, these are all there is to judge. When many may, a
page is soon full in the order of ids, and to count them only what SQLite is not certain of has to be judged.
"""
# ruff: noqa: S608 - the names put into statements were checked by Collection and Index, and are quoted

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from time import monotonic
from typing import Any, Final

import apsw
import orjson

from kaa_common.store.index_keys import END, encode_values, keys_of
from kaa_common.store.port import Collection, Document, Index, Matches, Query, Scalar, StoreUnavailable
from kaa_common.store.sqlite_conditions import Condition, Parameters
from kaa_common.store.sqlite_file import stored_document, table_of
from kaa_common.store.sqlite_halves import Halves, Rows
from kaa_common.store.sqlite_queries import condition_of

MAX_CANDIDATES: Final = 1_000
"""Documents that may match and are looked for wherever they lie; of more, a page is found in the order of ids."""
NARROW: Final = 2_000
"""Entries of an index whose documents are sooner looked up than all documents are read."""


class Scan:
    """What a query finds among the documents under an equality."""

    def __init__(
        self,
        connection: apsw.Connection,
        halves: Halves,
        until: float,
        collection: Collection,
        query: Query,
        index: Index | None,
        equals: Sequence[Scalar],
    ) -> None:
        self._connection = connection
        self._halves = halves
        self._until = until
        self._collection = collection.name
        self._documents = table_of(collection.name)
        self._parameters = Parameters()
        self._matches = query.matches
        self._is_narrow = False
        self._condition = condition_of(query.source, collection, self._parameters)
        if index is not None and equals:
            self._narrow_to(index, equals, query.source, collection)

    def page(self, after: str, offset: int, limit: int) -> Matches:
        """In the order of ids. The total is known when all that may match was judged."""
        candidates = self._candidates()
        if candidates is None:
            with closing(self._rows(self._condition.possible, after)) as documents:
                return Matches(list(islice(self._matching(documents), offset, offset + limit)))
        page: list[Document] = []
        total = 0
        for document in self._matching(self._those(candidates, after)):
            if offset <= total < offset + limit:
                page.append(document)
            total += 1
        return Matches(page, None if after else total)

    def count(self, limit: int | None) -> int:
        condition = self._condition
        if condition.certain != "0":
            counts = "SELECT count(*), ifnull(sum(c), 0) FROM ({})".format
            of_halves = self._fetch(f"{condition.certain} AS c", limit, counts)
            possible, certain = (sum(of_half) for of_half in zip(*of_halves, strict=True))
            if possible == certain:
                return int(possible if limit is None else min(possible, limit))
            if limit is None:
                with closing(self._rows(f"{condition.possible} AND NOT {condition.certain}")) as documents:
                    return int(certain) + sum(1 for _ in self._matching(documents))
        with closing(self._rows(condition.possible)) as documents:
            return sum(1 for _ in islice(self._matching(documents), limit))

    def _narrow_to(self, index: Index, equals: Sequence[Scalar], query: Document, collection: Collection) -> None:
        """Have the condition say what the index does."""
        keys, prefix, fields = table_of(self._collection, index.name), encode_values(equals), index.fields
        self._parameters.values |= {"low": prefix, "high": prefix + END}
        inside = f"SELECT id FROM {keys} WHERE key >= :low AND key < :high"
        if self._are_few(inside, NARROW):
            self._is_narrow = True
            self._condition &= Condition.exactly(f"d.id IN ({inside})")
        elif {*fields[: len(equals)]} <= {*collection.queried}:
            # Mostly all documents have the values of the first fields in common.
            said = next(n for n in range(len(equals), -1, -1) if self._are_all_under(keys, encode_values(equals[:n])))
            if said < len(equals):
                equality = dict(zip(fields[said:], equals[said:], strict=False))
                self._condition = condition_of({"$and": [query, equality]}, collection, self._parameters)
                matches, under = self._matches, fields[: len(equals)]
                self._matches = lambda document: matches(document) and prefix in keys_of(under, document)
        else:
            # The plus keeps SQLite from looking up each of these ids.
            self._condition &= Condition.exactly(f"+d.id IN ({inside})")

    def _are_all_under(self, keys: str, prefix: bytes) -> bool:
        outside = f"SELECT 1 FROM {keys} WHERE key < :from UNION ALL SELECT 1 FROM {keys} WHERE key >= :to LIMIT 1"
        return self._connection.execute(outside, {"from": prefix, "to": prefix + END}).fetchone() is None

    def _are_few(self, ids: str, few: int) -> bool:
        return int(self._execute(f"SELECT count(*) FROM ({ids} LIMIT {few + 1})").get) <= few

    def _candidates(self) -> list[str] | None:
        """Return the ids of all that may match; None when they are many."""
        rows = self._fetch("d.id", MAX_CANDIDATES + 1)
        return None if len(rows) > MAX_CANDIDATES else [str(row[0]) for row in rows]

    def _fetch(self, columns: str, limit: int | None, of_these: Callable[[str], str] = str) -> Rows:
        """Return what a statement makes of all rows that may match; of so many in each half if there is a limit."""
        possible, values = self._condition.possible, self._parameters.values | {"limit": -1 if limit is None else limit}

        def statement(half: str) -> str:
            rows = f"SELECT {columns} FROM {self._documents} AS d WHERE {half} AND {possible} LIMIT :limit"
            return of_these(rows)

        if self._is_narrow:
            return self._connection.execute(statement("1"), values).fetchall()
        return self._halves.fetch(self._documents, statement, values, self._until)

    def _those(self, candidates: Sequence[str], after: str) -> Iterator[Document]:
        for document_id in sorted({one for one in candidates if one.encode() > after.encode()}, key=str.encode):
            stored = stored_document(self._connection, self._collection, document_id)
            if stored is not None:
                yield orjson.loads(stored.body)

    def _rows(self, condition: str, after: str | None = None) -> Generator[Document, None, None]:
        """Yield the documents for which that holds, as they lie in the file or in the order of ids."""
        in_order = "" if after is None else " AND d.id > :after ORDER BY d.id"
        statement = f"SELECT d.body FROM {self._documents} AS d WHERE {condition}{in_order}"
        with closing(self._execute(statement, after=after)) as rows:
            for (body,) in rows:
                yield orjson.loads(body)

    def _matching(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            if monotonic() > self._until:
                raise StoreUnavailable("SQLite: the search did not end in time")
            if self._matches(document):
                yield document

    def _execute(self, statement: str, **parameters: Any) -> apsw.Cursor:  # Any: whatever SQLite can be given
        return self._connection.execute(statement, self._parameters.values | parameters)
