"""What SQLite says of one document: whether it may match a query, and whether it surely does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from kaa_common.store import Collection, Document
from kaa_common.store.sqlite_conditions import Parameters
from kaa_common.store.sqlite_file import encode_document, open_connection
from kaa_common.store.sqlite_queries import condition_of
from kaa_common.store.sqlite_writer import Writer


@contextmanager
def connection_for(directory: Path, collection: Collection) -> Iterator[apsw.Connection]:
    """A file with the collection, empty."""
    with open_connection(directory / "store.db", 1.0) as connection:
        connection.execute("BEGIN")
        Writer(connection).ensure([collection])
        yield connection
        connection.execute("ROLLBACK")


def verdict(
    connection: apsw.Connection, collection: Collection, query: Document, document: Document
) -> tuple[bool, bool]:
    """Whether SQL says that the document may match, and that it does. The collection stays empty."""
    connection.execute("SAVEPOINT verdict")
    try:
        Writer(connection).insert(collection.name, encode_document(collection, document))
        assert not connection.execute(f"SELECT count(*) FROM {collection.name} WHERE instr(queried, x'00') > 0").get
        parameters = Parameters()
        condition = condition_of(query, collection, parameters)
        ((possible, certain),) = connection.execute(
            f"SELECT {condition.possible}, {condition.certain} FROM {collection.name} AS d", parameters.values
        )
    finally:
        connection.execute("ROLLBACK TO verdict")
    assert {possible, certain} <= {0, 1}
    return bool(possible), bool(certain)
