"""What the tests of every package share: real servers on free ports."""

import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pymongo
import pytest

from kaa_common.bus import NatsBus, connect
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.sqlite import SqliteStore
from support.mongo_server import mongodb_uri
from support.mqtt_js import install_mqtt_js
from support.nats_server import NatsServer

# In debug mode asyncio warns of each slow call, as any may be on a busy machine; tests look at what is logged.
logging.getLogger("asyncio").setLevel(logging.ERROR)


SLOW_FIRST = ("tests/faults", "tests/e2e", "tests")
"""The folders whose files take longest: when they are done last, some processors have nothing left to do."""


@pytest.hookimpl(trylast=True)  # after the order was made random
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((i for i, folder in enumerate(SLOW_FIRST) if _is_in(item, folder)), len(SLOW_FIRST))
    )


def _is_in(item: pytest.Item, folder: str) -> bool:
    return item.path.is_relative_to(item.config.rootpath / folder)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server that all tests use; whoever stops or restarts one uses `own_nats_server`."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server of the test alone."""
    directory = tmp_path / "nats"
    directory.mkdir()
    server = NatsServer(directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mqtt_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Node finds MQTT.js: its NODE_PATH."""
    return install_mqtt_js(tmp_path_factory.mktemp("mqtt-js"))


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    """A connection to the shared nats-server."""
    async with connect(nats_server.url, "test") as connection:
        yield connection


@pytest.fixture
async def rpc(bus: NatsBus) -> Rpc:
    """Typed messages over `bus`, as a replica of its own."""
    started = Rpc(bus, f"test-{secrets.token_hex(4)}")
    await started.start()
    return started


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a server that speaks MongoDB's protocol, for all tests."""
    with mongodb_uri(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    """An empty store of each kind, gone afterwards."""
    if request.param == "sqlite":
        async with SqliteStore(tmp_path / "store.db") as sqlite:
            yield sqlite
    else:
        uri, database = request.getfixturevalue("mongodb"), f"kaa_test_{secrets.token_hex(8)}"
        async with MongoStore(uri, database) as mongo:
            yield mongo
        with pymongo.MongoClient[dict[str, object]](uri) as client:
            client.drop_database(database)
