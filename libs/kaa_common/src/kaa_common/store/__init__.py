"""The document store: the port, its values and the query language.

The adapters are `kaa_common.store.sqlite.SqliteStore` and `kaa_common.store.mongodb.MongoStore`.
"""

from kaa_common.store.matcher import compile_query
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
    Matches,
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
    "Matches",
    "Query",
    "QueryError",
    "Scalar",
    "StoreError",
    "StoreUnavailable",
    "compile_query",
]
