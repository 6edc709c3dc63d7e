"""The document store: the port and its values, the query language, and the two adapters."""

from kaa_common.store.port import (
    DEFAULT_DEADLINE,
    MAX_PAGE,
    PRIMARY_KEY,
    Collection,
    Document,
    DocumentStore,
    DuplicateKey,
    Index,
    InvalidDocument,
    Query,
    QueryError,
    Scalar,
    StoreError,
    StoreUnavailable,
)

__all__ = [
    "DEFAULT_DEADLINE",
    "MAX_PAGE",
    "PRIMARY_KEY",
    "Collection",
    "Document",
    "DocumentStore",
    "DuplicateKey",
    "Index",
    "InvalidDocument",
    "Query",
    "QueryError",
    "Scalar",
    "StoreError",
    "StoreUnavailable",
]
