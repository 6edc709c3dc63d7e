"""The MongoDB adapter, on PyMongo's asynchronous client.

Writes are acknowledged by a majority and journaled. Concurrent ones share round trips, and so do lookups: what is asked
for while a bulk write or a find is under way is collected for the next one. A server before MongoDB 8 has no bulk write
that could say which of several compare-and-sets matched; there each write is a command of its own.

The driver reconnects by itself, repeats reads, and on a replica set repeats a write once under the same transaction
number; what still fails within the deadline is StoreUnavailable.
"""

import asyncio
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, DeleteOne, IndexModel, InsertOne, ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError

from kaa_common.store.documents import is_text
from kaa_common.store.index_keys import check_range, position_of
from kaa_common.store.mongodb_codec import (
    CODEC_OPTIONS,
    decode_value,
    encode_document,
    encode_equality,
    encode_path,
    encode_position,
    encode_query,
)
from kaa_common.store.mongodb_lookups import Found, GatheredLookups
from kaa_common.store.mongodb_reports import ConnectionReports
from kaa_common.store.mongodb_writes import GatheredWrites, Model, Outcomes, bulk_write, write_alone
from kaa_common.store.port import (
    DEFAULT_DEADLINE,
    PRIMARY_KEY,
    Collection,
    Document,
    DuplicateKey,
    Index,
    InvalidDocument,
    Matches,
    Query,
    QueryError,
    Scalar,
    StoreError,
    StoreUnavailable,
)

logger = logging.getLogger(__name__)

POOL_SIZE: Final = 64  # operations in flight; the others wait for a connection, within their deadline
SERVER_SELECTION_TIMEOUT: Final = 2.0  # an election may take longer; the next request waits again
ENSURE_DEADLINE: Final = 60.0  # a new index over a large collection
GATHERS_SINCE: Final = 25  # the wire version of MongoDB 8
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0

# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_PARALLEL_ARRAYS: Final = 171
_INDEX_CONFLICTS: Final = (85, 86)
_REFUSED_QUERIES: Final = (2, 9, 51091)  # BadValue, FailedToParse, a regular expression that does not compile


class MongoStore:
    """A `DocumentStore` in a MongoDB database."""

    def __init__(self, uri: str, database: str, *, deadline: float = DEFAULT_DEADLINE) -> None:
        self._uri = uri
        self._database_name = database
        self._deadline = deadline
        self._lookups = GatheredLookups(self._find)
        self._writes = GatheredWrites(self._bulk_write)
        self._gathers_writes = False
        self._reports = ConnectionReports()

    async def __aenter__(self) -> Self:
        with _translated():
            self._client: AsyncMongoClient[Document] = AsyncMongoClient(
                self._uri,
                w="majority",
                journal=True,
                readPreference="primary",
                maxPoolSize=POOL_SIZE,
                serverSelectionTimeoutMS=int(SERVER_SELECTION_TIMEOUT * 1000),
                timeoutMS=int(self._deadline * 1000),
                event_listeners=[self._reports],
            )
        self._database = self._client.get_database(self._database_name, codec_options=CODEC_OPTIONS)
        try:
            await self._wait_for_server()
            with _translated():
                self._gathers_writes = (await self._client.admin.command("hello"))["maxWireVersion"] >= GATHERS_SINCE
            await self._writes.__aenter__()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reports.closing = True
        try:
            await self._writes.__aexit__(exc_type, exc, traceback)
        finally:
            await self._client.close()

    async def _wait_for_server(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                with _translated():
                    await self._client.admin.command("ping")
            except StoreUnavailable as exc:
                if not isinstance(exc.__cause__, ConnectionFailure):
                    raise
                logger.warning("MongoDB cannot be reached yet, trying again in %.2f s: %s", pause, exc)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def ensure(self, collections: Sequence[Collection]) -> None:
        """See `DocumentStore.ensure`."""
        for collection in collections:
            models = [_index_model(index) for index in collection.indexes]
            if not models:
                continue  # MongoDB makes a collection with its first document
            try:
                with pymongo.timeout(ENSURE_DEADLINE), _translated(), _duplicates_of(collection):
                    await self._database[collection.name].create_indexes(models)
            except StoreUnavailable as exc:
                if isinstance(exc.__cause__, OperationFailure) and exc.__cause__.code in _INDEX_CONFLICTS:
                    raise StoreError(f"an index of {collection.name} exists with another definition") from exc
                raise

    async def ping(self) -> None:
        """See `DocumentStore.ping`."""
        with _translated():
            await self._client.admin.command("ping")

    async def get(self, collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
        """See `DocumentStore.get`."""
        possible = [document_id for document_id in ids if is_text(document_id)]
        try:
            async with asyncio.timeout(self._deadline):
                found = await self._lookups.get(collection.name, possible)
        except TimeoutError as exc:
            raise StoreUnavailable(f"MongoDB did not answer within {self._deadline} s") from exc
        return {document_id: decode_value(found[document_id]) for document_id in possible if document_id in found}

    async def _find(self, collection: str, ids: list[str]) -> Found:
        with _translated():
            documents = await self._database[collection].find({PRIMARY_KEY: {"$in": ids}}).to_list()
        return {document[PRIMARY_KEY]: document for document in documents}

    async def insert(self, collection: Collection, document: Document) -> None:
        """See `DocumentStore.insert`."""
        encoded = encode_document(document)
        insertion = InsertOne(encoded, namespace=self._namespace(collection))
        await self._write(collection, insertion, len(encoded.raw))

    async def replace(self, collection: Collection, document: Document, expected_revision: int) -> bool:
        """See `DocumentStore.replace`."""
        encoded = encode_document(document)
        expected = {PRIMARY_KEY: document[PRIMARY_KEY], "revision": expected_revision}
        replacement = ReplaceOne[RawBSONDocument](expected, encoded, namespace=self._namespace(collection))
        return await self._write(collection, replacement, len(encoded.raw)) == 1

    async def delete(self, collection: Collection, document_id: str, expected_revision: int | None) -> bool:
        """See `DocumentStore.delete`."""
        if not is_text(document_id):
            return False
        expected: Document = {PRIMARY_KEY: document_id}
        if expected_revision is not None:
            expected["revision"] = expected_revision
        return await self._write(collection, DeleteOne(expected, namespace=self._namespace(collection))) == 1

    async def _write(self, collection: Collection, model: Model, size: int = 0) -> int:
        """Return how many documents a write met."""
        try:
            with _translated(), _duplicates_of(collection):
                async with asyncio.timeout(self._deadline):
                    if self._gathers_writes:
                        return await self._writes.submit(model, size)
                    return await write_alone(self._documents(collection), model)
        except TimeoutError as exc:
            raise StoreUnavailable(f"MongoDB did not answer within {self._deadline} s") from exc

    async def _bulk_write(self, models: list[Model]) -> Outcomes:
        return await bulk_write(self._client, models)

    def _namespace(self, collection: Collection) -> str | None:
        """What a write must name to be gathered, and must not name to be written alone."""
        return f"{self._database_name}.{collection.name}" if self._gathers_writes else None

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
        equality, rest = encode_equality(index.fields, equals), index.fields[len(equals) :]
        position = position_of(index, after, len(equals))
        if position is None:
            condition = equality
        else:
            condition = {"$or": [equality | behind for behind in encode_position(rest, position, descending)]}
        direction = DESCENDING if descending else ASCENDING
        # The keys of a unique index order its documents completely, and the index itself does not hold `_id`.
        order = [*map(encode_path, rest)] if index.unique and rest else [*map(encode_path, rest), PRIMARY_KEY]
        with _translated():
            cursor = self._documents(collection).find(condition, sort=[(path, direction) for path in order])
            return [decode_value(document) for document in await cursor.skip(offset).limit(limit).to_list()]

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
        condition = _narrowed(index, equals, query)
        if after is not None:
            condition["$and"].append({PRIMARY_KEY: {"$gt": after}})
        with _translated():
            cursor = self._documents(collection).find(condition, sort=[(PRIMARY_KEY, ASCENDING)])
            return Matches([decode_value(document) for document in await cursor.skip(offset).limit(limit).to_list()])

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
        bound: dict[str, Any] = {} if limit is None else {"limit": limit}  # Any: options of the driver
        with _translated():
            return await self._documents(collection).count_documents(_narrowed(index, equals, query), **bound)

    async def distinct(
        self, collection: Collection, path: str, *, index: Index, equals: Sequence[Scalar], limit: int
    ) -> frozenset[str]:
        """See `DocumentStore.distinct`."""
        check_range(index, equals)
        found_at = encode_path(path)
        stages: list[Document] = [
            {"$match": _narrowed(index, equals, None)},
            {"$unwind": f"${found_at.partition('.')[0]}"},
            {"$group": {PRIMARY_KEY: f"${found_at}"}},
            {"$limit": limit},
        ]
        with _translated():
            found = await (await self._documents(collection).aggregate(stages)).to_list()
        return frozenset(group[PRIMARY_KEY] for group in found if isinstance(group[PRIMARY_KEY], str))

    def _documents(self, collection: Collection) -> AsyncCollection[Document]:
        return self._database[collection.name]


def _index_model(index: Index) -> IndexModel:
    fields = [encode_path(field) for field in index.fields]
    # With `_id` behind its fields the index also gives the order within equal keys.
    keys = fields if index.unique else [*fields, PRIMARY_KEY]
    return IndexModel([(key, ASCENDING) for key in keys], name=index.name, unique=index.unique)


def _narrowed(index: Index | None, equals: Sequence[Scalar], query: Query | None) -> dict[str, list[Document]]:
    equality = {} if index is None else encode_equality(index.fields, equals)
    return {"$and": [equality, {} if query is None else encode_query(query)]}


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's exceptions into the port's, and let nobody be cancelled in vain."""
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    try:
        try:
            yield
        finally:
            # The driver takes a cancellation for a broken connection, after which it repeats a read.
            if task is not None and task.cancelling() > cancelled:
                raise asyncio.CancelledError
    except PyMongoError as exc:
        code = exc.code if isinstance(exc, OperationFailure) else None
        if code == _PARALLEL_ARRAYS:
            raise InvalidDocument("more than one field of an index leads to an array") from exc
        if code in _REFUSED_QUERIES:
            raise QueryError(f"MongoDB: {_summary(exc)}") from exc
        raise StoreUnavailable(f"MongoDB: {_summary(exc)}") from exc


@contextmanager
def _duplicates_of(collection: Collection) -> Iterator[None]:
    """Name the index of a duplicate key; all but the one of the primary key are declared."""
    try:
        yield
    except DuplicateKeyError as exc:
        fields = tuple((exc.details or {}).get("keyPattern", {}))
        names = [index.name for index in collection.indexes if tuple(map(encode_path, index.fields)) == fields]
        raise DuplicateKey(collection.name, names[0] if names else PRIMARY_KEY) from exc


def _summary(exc: PyMongoError) -> str:
    """The driver appends the whole topology and the server its reply; the first clause says what happened."""
    return re.split(r", Timeout:|, full error:| \(configured timeouts:", str(exc))[0]
