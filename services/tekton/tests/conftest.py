"""The service without its process: real stores, a real bus, the REST interface called in memory."""

import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.store import DocumentStore
from tekton.applications import Applications
from tekton.documents import APPLICATIONS, TENANTS
from tekton.rest_api import RestApi
from tekton.service_instances import OF_THIS_PLATFORM, ServiceInstances
from tekton.tenants import Tenants

API_KEY = "key"


@pytest.fixture
async def store(store: DocumentStore) -> DocumentStore:
    """A store of each kind, with the service's collections."""
    await store.ensure([APPLICATIONS, TENANTS])
    return store


@pytest.fixture
def instance() -> str:
    """An instance name of the test's own, as the nats-server is shared."""
    return f"tekton-{secrets.token_hex(4)}"


@pytest.fixture
async def applications(store: DocumentStore, bus: NatsBus, instance: str) -> AsyncIterator[Applications]:
    async with open_outbox(store, bus, APPLICATIONS) as outbox:
        yield Applications(store, outbox, instance=instance, replica_id="replica", tenant_id="tenant")


@pytest.fixture
async def tenants(store: DocumentStore, bus: NatsBus) -> AsyncIterator[Tenants]:
    async with open_outbox(store, bus, TENANTS) as outbox:
        yield Tenants(store, outbox, "tenant")


@pytest.fixture
def service_instances() -> ServiceInstances:
    return ServiceInstances.read(OF_THIS_PLATFORM)


@pytest.fixture
async def client(
    applications: Applications, tenants: Tenants, service_instances: ServiceInstances
) -> AsyncIterator[httpx.AsyncClient]:
    api = rest_api(
        "Tekton",
        "",
        "/tekton",
        RestApi(applications, tenants, service_instances).router(),
        Access(hash_api_key(API_KEY)),
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api),
        base_url="http://test/tekton/api/v1",
        headers={"X-API-Key": API_KEY},
    ) as client:
        yield client
