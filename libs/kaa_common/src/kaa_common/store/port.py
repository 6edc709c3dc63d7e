"""The document store every service keeps its documents in: one narrow port, two adapters (design: "The store").

A document is a JSON object with a string `_id` and an integer `revision` >= 1 (the optimistic lock and the ETag);
everything else in it is its owner's. A service declares its collections and their indexes as data and passes those
values to the operations, so neither a name nor a database's query can slip through. All operations belong to one
document or one page; there are no transactions, because a document carries its own outbox.

The docstrings here are the specification; one contract test holds both adapters to it.

    StoreError
     +-- StoreUnavailable   the database did not answer in time, or cannot; a write may or may not have happened
     +-- DuplicateKey       the write would break a unique index (or the primary key); nothing was written
     +-- InvalidDocument    the document cannot be kept exactly as it is; nothing was written
     +-- QueryError         the query is not in the allow-listed subset (`compile_query`), or the database refused it
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

from kaa_common.errors import BadRequest, Unavailable

Document = dict[str, Any]  # Any: a document holds whatever JSON its owner puts there
Scalar = str | int | float | bool | None

PRIMARY_KEY: Final = "_id"

# REST pages hold at most 1000 documents; one more tells the caller whether there is a next page.
MAX_PAGE: Final = 1001

# Longer than any healthy operation, short enough that a device still gets its error within its own request.
DEFAULT_DEADLINE: Final = 5.0


class StoreError(Exception):
    """Base of everything a store raises."""


class StoreUnavailable(StoreError, Unavailable):
    """The database did not answer within the deadline, or cannot; the outcome of a write is unknown."""


class DuplicateKey(StoreError):
    """Another document has the same key in a unique index; `index` names it (`_id`: the primary key)."""

    def __init__(self, collection: str, index: str) -> None:
        super().__init__(f"a document with the same key exists in {collection} (index {index})")
        self.collection = collection
        self.index = index


class InvalidDocument(StoreError):
    """The document cannot be kept exactly: see `DocumentStore.insert` for what can."""


class QueryError(StoreError, BadRequest):
    """The query is refused; the text says which part and why, and may be shown to the one who wrote it."""


def _check_name(name: str) -> None:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is not a name of lower case letters, digits and underscores")


@dataclass(frozen=True, slots=True)
class Index:
    """An index over dotted paths, in this order; a missing field counts as null, also for uniqueness.

    At most one of the fields may lead to an array, whose elements are then indexed one by one (`metadata.key`).
    Such a field serves equality only, never the order of a page.
    """

    name: str
    fields: tuple[str, ...]
    unique: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.fields or not all(part for field in self.fields for part in field.split(".")):
            raise ValueError(f"index {self.name} needs fields, and no path with an empty part")


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents and the indexes over it. A changed index needs a new name."""

    name: str
    indexes: tuple[Index, ...] = ()
    queried: tuple[str, ...] = ()
    """Members that queries without an index look into, those of most queries first."""
    keyed: str | None = None
    """The one of these that holds an array of objects `{"key", "value"}`, each key once."""

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked query; only `compile_query` makes one. `source` is what was checked, `matches` its predicate."""

    source: Document
    matches: Callable[[Document], bool]


@dataclass(frozen=True, slots=True)
class Matches:
    """A page of what matches a query."""

    documents: list[Document]
    total: int | None = None
    """How many match in all, where the store came to know that on its way."""


class DocumentStore(Protocol):
    """Every operation ends within the store's deadline or raises StoreUnavailable.

    A write returns after it is durable: SQLite has synced its commit, MongoDB has it on a majority and journaled.
    What is returned is the caller's own copy.
    """

    async def __aenter__(self) -> Self:
        """Open the store; wait for the database (with backoff) when it is not there yet."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the store; what was acknowledged is kept, what still waits raises StoreUnavailable."""
        ...

    async def ensure(self, collections: Sequence[Collection]) -> None:
        """Create what is missing of these collections and indexes; any number of replicas may do so at once.

        Raises StoreError if an index of that name exists with another definition.
        """
        ...

    async def ping(self) -> None:
        """Return if the database answers."""
        ...

    async def get(self, collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with these ids, by id; those that do not exist are absent."""
        ...

    async def insert(self, collection: Collection, document: Document) -> None:
        """Add a document.

        `_id` comes first. Kept bit for bit: null, booleans, integers of 64 bits (signed or unsigned), finite floats,
        strings without lone surrogates, arrays, and objects in their key order, whose keys may be anything but hold
        no NUL; 64 levels deep, 8 MiB in all. Anything else raises InvalidDocument.
        Raises DuplicateKey if its `_id` or its key in a unique index is taken.
        """
        ...

    async def replace(self, collection: Collection, document: Document, expected_revision: int) -> bool:
        """Put this document in the place of the one with its `_id`, if that one has the expected revision.

        Returns whether it did: False when there is none, or at another revision. The new document normally has the
        next revision; it may have the same one, to clear an outbox without counting as a change.
        Raises DuplicateKey and InvalidDocument as `insert` does.
        """
        ...

    async def delete(self, collection: Collection, document_id: str, expected_revision: int | None) -> bool:
        """Remove a document, at that revision or (None) at any; return whether there was one."""
        ...

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
        """Return up to `limit` (<= MAX_PAGE) documents in the order of an index.

        `equals` are the values of the index's first fields; the order is that of the remaining fields, then of `_id`.
        Values are ordered null or missing, numbers, strings (by their bytes), booleans. `after` is the last document
        of the page before (only its index fields and `_id` are read): the page starts behind that position whether
        or not that document still exists. `offset` skips that many more.
        """
        ...

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
        """Return up to `limit` (<= MAX_PAGE) documents that match, in the order of `_id`, those behind `after` only.

        `index` and `equals` narrow the search beforehand; it is quickest when `equals` has all fields of the index.
        """
        ...

    async def count(
        self,
        collection: Collection,
        *,
        index: Index | None = None,
        equals: Sequence[Scalar] = (),
        query: Query | None = None,
        limit: int | None = None,
    ) -> int:
        """Return how many documents there are, under that equality and matching that query; count up to `limit` only.

        With a limit the costs are bounded, too: those of a page that long.
        """
        ...

    async def distinct(
        self, collection: Collection, path: str, *, index: Index, equals: Sequence[Scalar], limit: int
    ) -> frozenset[str]:
        """Return the different strings at a dotted path in the documents under that equality, up to `limit` of them.

        An array the path begins with is taken element by element. All those documents are read, so ask rarely.
        """
        ...
