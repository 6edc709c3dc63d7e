"""The service without its process: real stores, a real bus, the REST interface called in memory."""

import secrets
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from creds.bus_api import BusApi
from creds.cut_off import CutOff
from creds.documents import TOKENS
from creds.hashing import TokenKeys
from creds.register import Register
from creds.rest_api import RestApi
from creds.tokens import Tokens
from kaa_common.access import Access, hash_api_key
from kaa_common.bus import NatsBus
from kaa_common.messages.ecap import TOKEN_REVOKED, EndpointTokenRevokedEvent
from kaa_common.outbox import Outbox, open_outbox
from kaa_common.rest import rest_api
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore

API_KEY = "key"
KEYS = TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210")


@pytest.fixture
async def store(store: DocumentStore) -> DocumentStore:
    """A store of each kind, with the service's collections."""
    await store.ensure([TOKENS])
    return store


@pytest.fixture
def suffix() -> str:
    """Makes the instance names of a test its own, as the nats-server is shared."""
    return secrets.token_hex(4)


@pytest.fixture
async def outbox(store: DocumentStore, bus: NatsBus) -> AsyncIterator[Outbox]:
    async with open_outbox(store, bus, TOKENS) as outbox:
        yield outbox


@pytest.fixture
def make_tokens(store: DocumentStore, outbox: Outbox, suffix: str) -> Callable[[TokenKeys], Tokens]:
    """The use cases as a replica with these keys has them."""
    return lambda keys: Tokens(store, outbox, keys, instance=f"cm-{suffix}", replica_id="replica", generated_length=10)


@pytest.fixture
def tokens(make_tokens: Callable[[TokenKeys], Tokens]) -> Tokens:
    return make_tokens(KEYS)


@pytest.fixture
async def served(tokens: Tokens, rpc: Rpc, suffix: str) -> str:
    """The instance name under which the service answers on the bus."""
    await BusApi(tokens).serve(rpc, f"cm-{suffix}", f"epr-{suffix}")
    await rpc.bus.flush(5)
    return f"cm-{suffix}"


@pytest.fixture
async def revoked(rpc: Rpc, suffix: str) -> list[EndpointTokenRevokedEvent]:
    """The revoked events heard so far."""
    heard: list[EndpointTokenRevokedEvent] = []

    async def hear(event: EndpointTokenRevokedEvent) -> None:
        heard.append(event)

    await rpc.listen(TOKEN_REVOKED, f"cm-{suffix}", hear)
    await rpc.bus.flush(5)
    return heard


@pytest.fixture
async def client(tokens: Tokens, rpc: Rpc, suffix: str) -> AsyncIterator[httpx.AsyncClient]:
    router = RestApi(tokens, Register(rpc, f"epr-{suffix}"), CutOff(rpc, f"kpc-{suffix}"), "tenant").router()
    api = rest_api("Credentials", "", "/cm", router, Access(hash_api_key(API_KEY)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test/cm/api/v1", headers={"X-API-Key": API_KEY}
    ) as client:
        yield client
