"""Concurrent writes in few round trips.

What is asked for while some bulk writes are under way becomes part of the next one. Each keeps its own outcome: the
server's `bulkWrite` command (MongoDB 8) tells of every single operation what it matched or why it failed. So a lost
compare-and-set or a duplicate key concerns nobody else, and each operation is as atomic as if it had come alone. When
the command as a whole fails, the outcome of all its writes is unknown.

Tasks of the store run the bulks, not those of the callers: a caller that gives up takes nobody's outcome with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, DeleteOne, InsertOne, ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)

from kaa_common.store.port import Document, StoreUnavailable

BULKS_AT_ONCE: Final = 4  # a server that syncs each write has others to do meanwhile; more would make the bulks smaller
WRITES_PER_BULK: Final = 256
BYTES_PER_BULK: Final = 16 * 1024 * 1024  # with one more document of at most this size it is still one message of 48 MB
WAITING_WRITES: Final = 1024  # the callers of more are held back

_DUPLICATE_KEY: Final = 11000

Model = InsertOne[RawBSONDocument] | ReplaceOne[RawBSONDocument] | DeleteOne
# How many documents each write met, or why it failed.
Outcomes = Sequence[int | Exception]


@dataclass(slots=True)
class _Write:
    model: Model
    size: int
    met: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GatheredWrites:
    """Runs `write(models)` for many callers at once. An asynchronous context: it works while that is entered."""

    def __init__(self, write: Callable[[list[Model]], Awaitable[Outcomes]]) -> None:
        self._write = write
        self._waiting: asyncio.Queue[_Write] = asyncio.Queue(WAITING_WRITES)
        self._tasks = asyncio.TaskGroup()
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._workers = [self._tasks.create_task(self._work(), name="mongodb-write") for _ in range(BULKS_AT_ONCE)]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        await self._tasks.__aexit__(None, None, None)  # what the context raised is not the business of the workers
        while not self._waiting.empty():
            _resolve([self._waiting.get_nowait()], [StoreUnavailable("the store is closed")])

    async def submit(self, model: Model, size: int = 0) -> int:
        """Write; return how many documents it met. `size` is that of the document in bytes.

        Raises the driver's errors. A write whose caller gave up before its turn is never done.
        """
        if not self._workers or self._workers[0].done():
            raise StoreUnavailable("the store is closed")
        write = _Write(model, size)
        await self._waiting.put(write)
        return await write.met

    async def _work(self) -> None:
        while True:
            bulk = await self._next_bulk()
            try:
                outcomes = await self._write([write.model for write in bulk])
            except Exception as exc:
                outcomes = [exc] * len(bulk)
            except BaseException:
                _resolve(bulk, [StoreUnavailable("the store is closed")] * len(bulk))
                raise
            _resolve(bulk, outcomes)

    async def _next_bulk(self) -> list[_Write]:
        """Wait for a write, then take all there are."""
        bulk: list[_Write] = []
        size = 0
        while not bulk or (len(bulk) < WRITES_PER_BULK and size < BYTES_PER_BULK and not self._waiting.empty()):
            write = await self._waiting.get()
            if not write.met.done():
                bulk.append(write)
                size += write.size
        return bulk


async def bulk_write(client: AsyncMongoClient[Document], models: list[Model]) -> Outcomes:
    """Let the server run these writes, which name their collections; raise when the outcome of all is unknown."""
    results: Mapping[str, Any]
    try:
        results = (await client.bulk_write(models, ordered=False, verbose_results=True)).bulk_api_result
    except ClientBulkWriteException as exc:
        if trouble := exc.error or exc.write_concern_errors:
            raise PyMongoError(str(trouble)) from exc
        results = exc.details
    outcomes: dict[int, int | Exception] = {error["idx"]: _error_of(error) for error in results["writeErrors"]}
    outcomes |= dict.fromkeys(results["insertResults"], 1)
    outcomes |= {index: update.matched_count for index, update in results["updateResults"].items()}
    outcomes |= {index: delete.deleted_count for index, delete in results["deleteResults"].items()}
    return [outcomes[index] for index in range(len(models))]


async def write_alone(collection: AsyncCollection[Document], model: Model) -> int:
    """Write as `submit` does, on a server that cannot gather."""
    try:
        result = await collection.bulk_write([model])  # type: ignore[list-item] # the collection reads other documents
    except BulkWriteError as exc:
        if errors := exc.details["writeErrors"]:
            raise _error_of(errors[0]) from exc
        raise
    return result.inserted_count + result.matched_count + result.deleted_count


def _error_of(error: dict[str, Any]) -> OperationFailure:
    kind = DuplicateKeyError if error["code"] == _DUPLICATE_KEY else OperationFailure
    return kind(error["errmsg"], error["code"], error)


def _resolve(bulk: Sequence[_Write], outcomes: Outcomes) -> None:
    for write, outcome in zip(bulk, outcomes, strict=True):
        if write.met.done():
            continue  # its caller gave up
        if isinstance(outcome, Exception):
            write.met.set_exception(outcome)
        else:
            write.met.set_result(outcome)
