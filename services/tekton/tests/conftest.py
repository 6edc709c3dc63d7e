"""The service without its process: real stores, a real bus, the REST interface called in memory."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pymongo
import pytest

from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.store import DocumentStore
from kaa_common.store.mongodb import MongoStore
from kaa_common.store.sqlite import SqliteStore
from support.mongo_server import mongodb_uri
from tekton.applications import Applications
from tekton.documents import APPLICATIONS
from tekton.rest_api import RestApi

API_KEY = "key"


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of one server for all tests."""
    with mongodb_uri(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    """A store of each kind, with the service's collections."""
    if request.param == "sqlite":
        async with SqliteStore(tmp_path / "tekton.db") as sqlite:
            await sqlite.ensure([APPLICATIONS])
            yield sqlite
    else:
        uri, database = request.getfixturevalue("mongodb"), f"tekton_{secrets.token_hex(8)}"
        async with MongoStore(uri, database) as mongo:
            await mongo.ensure([APPLICATIONS])
            yield mongo
        with pymongo.MongoClient[dict[str, object]](uri) as client:
            client.drop_database(database)


@pytest.fixture
def instance() -> str:
    """An instance name of the test's own, as the nats-server is shared."""
    return f"tekton-{secrets.token_hex(4)}"


@pytest.fixture
async def applications(store: DocumentStore, bus: NatsBus, instance: str) -> AsyncIterator[Applications]:
    async with open_outbox(store, bus, APPLICATIONS) as outbox:
        yield Applications(store, outbox, instance=instance, replica_id="replica", tenant_id="tenant")


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    api = rest_api("Tekton", "", "/tekton", RestApi(applications).router(), Access(hash_api_key(API_KEY)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api),
        base_url="http://test/tekton/api/v1",
        headers={"X-API-Key": API_KEY},
    ) as client:
        yield client
