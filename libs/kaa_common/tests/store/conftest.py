"""The stores under test: the real adapters on a file and on a server that speaks MongoDB's protocol."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pymongo
import pytest

from kaa_common.store import DocumentStore
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.sqlite import SqliteStore
from support.mongo_server import mongodb_uri


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of one server for all tests."""
    with mongodb_uri(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@asynccontextmanager
async def open_store(kind: str, request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[DocumentStore]:
    """An empty store of that kind, gone afterwards."""
    if kind == "sqlite":
        async with SqliteStore(directory / "store.db") as store:
            yield store
    else:
        uri, database = request.getfixturevalue("mongodb"), f"kaa_test_{uuid4().hex}"
        async with MongoStore(uri, database) as store:
            yield store
        with pymongo.MongoClient[dict[str, object]](uri) as client:
            client.drop_database(database)


@pytest.fixture(params=["sqlite", "mongodb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    """An empty store of each kind."""
    async with open_store(request.param, request, tmp_path) as opened:
        yield opened
