"""The SQLite adapter: one file in WAL mode, `synchronous=FULL`, shared by any number of processes.

One thread writes: what was submitted while a commit was on its way to the disk becomes the next transaction, and a
caller is answered after the COMMIT that holds its write. Three threads read, each on its own connection, so that a page
never waits for a commit and a lookup never waits for a scan; a fourth takes half of a scan. The event loop itself
touches no file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from kaa_common.store.documents import is_text
from kaa_common.store.gathering import GatheringThread, Process
from kaa_common.store.index_keys import check_range, position_of
from kaa_common.store.port import (
    DEFAULT_DEADLINE,
    Collection,
    Document,
    Index,
    Matches,
    Query,
    Scalar,
)
from kaa_common.store.sqlite_file import encode_document, open_connection
from kaa_common.store.sqlite_halves import Halves
from kaa_common.store.sqlite_reader import Reader
from kaa_common.store.sqlite_writer import Writer

Subject = TypeVar("Subject")

CAPACITY: Final = 1024  # waiting calls for each thread: a tenth of a second of work for a busy one
WRITES_PER_COMMIT: Final = 256  # a longer transaction gains nothing more and keeps its callers waiting
READS_PER_TURN: Final = 64
ENSURE_DEADLINE: Final = 60.0  # a new index over a large collection is built in one transaction


class SqliteStore:
    """A `DocumentStore` in a file."""

    def __init__(self, path: Path, *, deadline: float = DEFAULT_DEADLINE) -> None:
        self._path = path
        self._deadline = deadline
        self._exit_stack = AsyncExitStack()
        self._writer = self._thread("sqlite-write", self._open_writer, WRITES_PER_COMMIT, deadline)
        self._lookups = self._thread("sqlite-get", self._open_reader, READS_PER_TURN, deadline)
        self._pages = self._thread("sqlite-page", self._open_reader, 1, deadline)
        self._scans = self._thread("sqlite-scan", self._open_scanner, 1, deadline)

    def _thread(
        self, name: str, process: Callable[[], AbstractContextManager[Process[Subject]]], batch: int, deadline: float
    ) -> GatheringThread[Subject]:
        return GatheringThread(name, process, capacity=CAPACITY, batch=batch, deadline=deadline)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._writer.start()  # first, because it makes the file
            stack.push_async_callback(self._writer.stop)
            for reader in (self._lookups, self._pages, self._scans):
                await reader.start()
                stack.push_async_callback(reader.stop)
            self._exit_stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit_stack.aclose()

    async def ensure(self, collections: Sequence[Collection]) -> None:
        """See `DocumentStore.ensure`."""
        ensuring = self._thread("sqlite-ensure", self._open_writer, 1, ENSURE_DEADLINE)
        await ensuring.start()
        try:
            await ensuring.submit(lambda writer: writer.ensure(collections))
        finally:
            await ensuring.stop()

    async def ping(self) -> None:
        """See `DocumentStore.ping`."""
        await self._lookups.submit(Reader.ping)

    async def get(self, collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
        """See `DocumentStore.get`."""
        possible = [document_id for document_id in ids if is_text(document_id)]
        return await self._lookups.submit(lambda reader: reader.get(collection.name, possible))

    async def insert(self, collection: Collection, document: Document) -> None:
        """See `DocumentStore.insert`."""
        stored = encode_document(collection, document)
        await self._writer.submit(lambda writer: writer.insert(collection.name, stored))

    async def replace(self, collection: Collection, document: Document, expected_revision: int) -> bool:
        """See `DocumentStore.replace`."""
        stored = encode_document(collection, document)
        return await self._writer.submit(lambda writer: writer.replace(collection.name, stored, expected_revision))

    async def delete(self, collection: Collection, document_id: str, expected_revision: int | None) -> bool:
        """See `DocumentStore.delete`."""
        if not is_text(document_id):
            return False
        return await self._writer.submit(lambda writer: writer.delete(collection.name, document_id, expected_revision))

    async def page(
        self,
        collection: Collection,
        index: Index,
        *,
        equals: Sequence[Scalar] = (),
        after: Document | None = None,
        offset: int = 0,
        limit: int,
        descending: bool = False,
    ) -> list[Document]:
        """See `DocumentStore.page`."""
        check_range(index, equals, offset, limit)
        behind = position_of(index, after, len(equals))
        return await self._pages.submit(
            lambda reader: reader.page(collection.name, index, equals, behind, offset, limit, descending)
        )

    async def query(
        self,
        collection: Collection,
        query: Query,
        *,
        index: Index | None = None,
        equals: Sequence[Scalar] = (),
        after: str | None = None,
        offset: int = 0,
        limit: int,
    ) -> Matches:
        """See `DocumentStore.query`."""
        check_range(index, equals, offset, limit)
        return await self._scans.submit(
            lambda reader: reader.query(collection, query, index, equals, after or "", offset, limit)
        )

    async def count(
        self,
        collection: Collection,
        *,
        index: Index | None = None,
        equals: Sequence[Scalar] = (),
        query: Query | None = None,
        limit: int | None = None,
    ) -> int:
        """See `DocumentStore.count`."""
        check_range(index, equals)
        return await self._scans.submit(lambda reader: reader.count(collection, index, equals, query, limit))

    async def distinct(
        self, collection: Collection, path: str, *, index: Index, equals: Sequence[Scalar], limit: int
    ) -> frozenset[str]:
        """See `DocumentStore.distinct`."""
        check_range(index, equals)
        return await self._scans.submit(lambda reader: reader.distinct(collection.name, path, index, equals, limit))

    @contextmanager
    def _open_writer(self) -> Iterator[Process[Writer]]:
        with open_connection(self._path, self._deadline) as connection:
            yield Writer(connection).process

    @contextmanager
    def _open_reader(self) -> Iterator[Process[Reader]]:
        with open_connection(self._path, self._deadline) as connection:
            yield Reader(connection, self._deadline).process

    @contextmanager
    def _open_scanner(self) -> Iterator[Process[Reader]]:
        with (
            open_connection(self._path, self._deadline) as first,
            open_connection(self._path, self._deadline) as second,
            closing(Halves(first, second)) as halves,
        ):
            yield Reader(first, self._deadline, halves).process
