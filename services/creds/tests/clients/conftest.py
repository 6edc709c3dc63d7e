"""Client credentials without the process around them: real stores, a real bus, passwords that cost little."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from argon2 import PasswordHasher

from creds.clients.app import Clients, ClientsOptions, open_clients
from creds.clients.bus_api import ClientsBusApi
from creds.clients.documents import COLLECTIONS
from creds.clients.lifecycle import Sender
from creds.clients.pki import Authority
from creds.clients.rest_api import ClientsRestApi
from creds.clients.sealing import Seal
from creds.cut_off import CutOff
from creds.hashing import TokenKeys
from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.messages.cap import (
    BASIC_CREDENTIALS_REVOKED,
    CERTIFICATE_CREDENTIALS_REVOKED,
    ClientCredentialsRevokedEvent,
)
from kaa_common.messages.declared import Event
from kaa_common.messages.ecap import CLIENT_CREDENTIAL_REVOKED, ClientCredentialRevokedEvent
from kaa_common.rest import rest_api
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore

API_KEY = "key"
KEYS = "new:0123456789abcdef,old:fedcba9876543210"

Opened = Callable[[ClientsOptions], AbstractAsyncContextManager[Clients]]


@pytest.fixture
async def client_store(store: DocumentStore) -> DocumentStore:
    """The store, with the collections of client credentials."""
    await store.ensure(COLLECTIONS)
    return store


@pytest.fixture
def make_options() -> Callable[..., ClientsOptions]:
    """How a replica is configured."""

    def make(
        keys: str = KEYS, authority: Authority | None = None, concurrency: int = 2, queue: int = 1000
    ) -> ClientsOptions:
        return ClientsOptions(
            hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
            password_concurrency=concurrency,
            password_queue=queue,
            seal=Seal(TokenKeys.parse(keys).derive("private keys of certificate authorities")),
            authority=authority,
        )

    return make


@pytest.fixture
def opened(client_store: DocumentStore, bus: NatsBus, suffix: str) -> Opened:
    """The use cases as a replica that is configured so has them."""
    sender = Sender(ccm_instance=f"ccm-{suffix}", cm_instance=f"cm-{suffix}", replica_id="replica")
    return lambda options: open_clients(client_store, bus, sender, options)


@pytest.fixture
async def clients(opened: Opened, make_options: Callable[..., ClientsOptions]) -> AsyncIterator[Clients]:
    async with opened(make_options()) as clients:
        yield clients


@pytest.fixture
async def served_clients(clients: Clients, rpc: Rpc, suffix: str) -> None:
    """Client credentials answer on the bus, as `ccm-<suffix>` and `cm-<suffix>`."""
    await ClientsBusApi(clients).serve(rpc, f"ccm-{suffix}", f"cm-{suffix}")
    await rpc.bus.flush(5)


@pytest.fixture
async def ccm(clients: Clients, rpc: Rpc, suffix: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST interface."""
    router = ClientsRestApi(clients, CutOff(rpc, f"kpc-{suffix}"), "tenant").router()
    api = rest_api("Client credentials", "", "/ccm", router, Access(hash_api_key(API_KEY)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test/ccm/api/v1", headers={"X-API-Key": API_KEY}
    ) as client:
        yield client


@pytest.fixture
async def cap_events(rpc: Rpc, suffix: str) -> list[tuple[str, ClientCredentialsRevokedEvent]]:
    """The revoked events of 22/CAP heard so far, with their group."""
    heard: list[tuple[str, ClientCredentialsRevokedEvent]] = []

    async def listen(event: Event[ClientCredentialsRevokedEvent]) -> None:
        async def hear(record: ClientCredentialsRevokedEvent) -> None:
            heard.append((event.path[1], record))

        await rpc.listen(event, f"ccm-{suffix}", hear)

    await listen(BASIC_CREDENTIALS_REVOKED)
    await listen(CERTIFICATE_CREDENTIALS_REVOKED)
    await rpc.bus.flush(5)
    return heard


@pytest.fixture
async def ecap_events(rpc: Rpc, suffix: str) -> list[ClientCredentialRevokedEvent]:
    """The revoked events of 16/ECAP heard so far."""
    heard: list[ClientCredentialRevokedEvent] = []

    async def hear(record: ClientCredentialRevokedEvent) -> None:
        heard.append(record)

    await rpc.listen(CLIENT_CREDENTIAL_REVOKED, f"cm-{suffix}", hear)
    await rpc.bus.flush(5)
    return heard
