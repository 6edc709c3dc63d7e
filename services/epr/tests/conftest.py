"""The register on real stores and a real bus; tekton and creds are small stand-ins that speak their messages."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from epr.applications import Applications
from epr.batch_task import BATCHES
from epr.batches import Batches
from epr.bus_api import Extension, MetadataManagement
from epr.bus_relations import RelationsManagement
from epr.filters.activation import Activation
from epr.filters.bus_api import FilterManagement
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.filters.filters import Filters
from epr.filters.rest_api import FilterApi
from epr.http_api import EndpointApi
from epr.listing import Listing
from epr.metadata_keys import MetadataKeys
from epr.model import Endpoint
from epr.register import ENDPOINTS, Register
from epr.registration import Registrar, Registration
from epr.relations import RELATIONS, Relations
from epr.tokens import Tokens
from epr.whitelists import Whitelists
from kaa_common import jsontext
from kaa_common.access import Access, hash_api_key
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.avro import decode
from kaa_common.bus import Bus, BusMessage, NatsBus
from kaa_common.clock import Deadline
from kaa_common.errors import BadRequest, Conflict, KaaError, NotFound
from kaa_common.messages.acp import (
    GET_APP_VERSION_CONFIG,
    GET_APPLICATION,
    ApplicationRequest,
    ApplicationResponse,
    AppVersionConfigRequest,
    AppVersionConfigResponse,
)
from kaa_common.messages.ecap import (
    TRANSITION_TOKEN_STATUS,
    EndpointTokenStatusTransitionRequest,
    EndpointTokenStatusTransitionResponse,
)
from kaa_common.messages.efe import EVENTS as FILTER_EVENTS
from kaa_common.messages.elce import APP_VERSION_UPDATED, REGISTERED, UNREGISTERED
from kaa_common.messages.eme import METADATA_UPDATED
from kaa_common.messages.eprmp import RELATIONS_UPDATED
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.messages.etp import (
    DISCARD_TOKENS,
    PROVISION_TOKEN,
    EndpointTokenProvisionRequest,
    EndpointTokenProvisionResponse,
    EndpointTokensDiscardRequest,
    EndpointTokensDiscardResponse,
)
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.rpc import Reply, Rpc, answer_header, request_header
from kaa_common.store import DocumentStore

API_KEY = "key"
TOKEN_TIMEOUT = 0.5

APP_VERSIONS: dict[str, dict[str, Any] | None] = {
    "kettle-v1": None,
    "kettle-v2": {"metadata-keys": {"model": {"write-enabled": False}, "room": {}, "level": None}},
    "toaster-v1": {},
}

NASTY = (
    b'{"whole_float":1.0,"minus_zero":-0.0,"most":18446744073709551615,"least":-9223372036854775808,'
    b'"beyond_a_float":9007199254740993,"huge":1.7976931348623157e+308,"tiny":5e-324,"third":0.3333333333333333,'
    b'"null":null,"no":false,"empty":"","list":[[],{},[null]],"text":"\xc3\xa9 \xf0\x9f\x98\x80 \\u0001 \\" \\\\ /",'
    b'"keys":{"a.b":{"$ref":"#","$where":1},"":{"":[]},"$set":[{"$oid":"x"}],"_id":7}}'
)
"""Metadata whose text every store and interface must give back bit for bit."""

on_one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For tests whose outcome no store decides."""


@dataclass(frozen=True, slots=True)
class Names:
    """Instance names of one test, as the nats-server is shared."""

    epr: str
    epmx: str
    cm: str
    tekton: str


class FakeTekton:
    """Answers for APP_VERSIONS."""

    async def config(self, request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        if request.app_version_name not in APP_VERSIONS:
            raise NotFound("no such application version")
        config = APP_VERSIONS[request.app_version_name]
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=request.app_version_name,
                tenant_id="tenant",
                app_name=request.app_version_name.rpartition("-")[0],
                config=None if config is None else jsontext.dump(config),
                status_code=200,
            )
        )

    async def application(self, request: ApplicationRequest) -> Reply[ApplicationResponse]:
        versions = tuple(name for name in APP_VERSIONS if name.rpartition("-")[0] == request.app_name)
        if not versions:
            raise NotFound("no such application")
        return Reply(
            ApplicationResponse(
                **answer_header(request),
                app_name=request.app_name,
                tenant_id="tenant",
                app_version_names=versions,
                status_code=200,
            )
        )


@dataclass(slots=True)
class FakeCreds:
    """Keeps tokens by application and value, as (endpoint id, token id); `failure` is what it does instead."""

    tokens: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    failure: KaaError | None = None
    loses_answers: bool = False
    """It does what it is asked and says that it failed."""

    async def provision(self, request: EndpointTokenProvisionRequest) -> Reply[EndpointTokenProvisionResponse]:
        if self.failure and not self.loses_answers:
            raise self.failure
        value = secrets.token_hex(5) if request.token is None else request.token
        if "/" in value:
            raise BadRequest("malformed token")
        owner, token_id = self.tokens.setdefault((request.app_name, value), (request.endpoint_id, secrets.token_hex(4)))
        if owner != request.endpoint_id:
            raise Conflict("the token belongs to another endpoint")
        if self.failure:
            raise self.failure
        return Reply(
            EndpointTokenProvisionResponse(
                **answer_header(request), token_id=token_id, token=value, token_status="Inactive", status_code=201
            )
        )

    async def discard(self, request: EndpointTokensDiscardRequest) -> Reply[EndpointTokensDiscardResponse]:
        if self.failure:
            raise self.failure
        for key, (owner, _) in list(self.tokens.items()):
            if key[0] == request.app_name and owner == request.endpoint_id:
                del self.tokens[key]
        return Reply(EndpointTokensDiscardResponse(**answer_header(request), status_code=200))

    async def transition(
        self, request: EndpointTokenStatusTransitionRequest
    ) -> Reply[EndpointTokenStatusTransitionResponse]:
        if (request.app_name, request.token) not in self.tokens:
            raise NotFound("unknown token")
        assert request.target_status == "Inactive"
        raise Conflict("a token cannot become inactive")


@dataclass(slots=True)
class Events:
    """What the register published, in its order."""

    messages: list[BusMessage] = field(default_factory=list, repr=False)

    async def add(self, message: BusMessage) -> None:
        self.messages.append(message)

    @property
    def ids(self) -> list[str]:
        return [message.headers["Nats-Msg-Id"] for message in self.messages]

    @property
    def records(self) -> list[Any]:
        """Decoded; their classes say which event each is."""
        return [decode(_record_of(message), message.data) for message in self.messages]


def _record_of(message: BusMessage) -> type[Any]:
    kinds = (REGISTERED, UNREGISTERED, APP_VERSION_UPDATED, METADATA_UPDATED, RELATIONS_UPDATED, *FILTER_EVENTS)
    path = message.subject.split(".")[4:]
    if path[0] == "endpoint-filter":
        path[1] = "*"
    return next(event.record for event in kinds if list(event.path) == path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """The parts of the service, as `epr.app` puts them together."""

    register: Register
    registrar: Registrar
    api: EndpointApi
    filters: Filters
    activation: Activation
    filter_api: FilterApi

    async def endpoint(
        self, metadata: dict[str, Any], app_version: str = "kettle-v1", endpoint_id: str | None = None
    ) -> Endpoint:
        """A new endpoint."""
        wanted = Registration(
            endpoint_id=endpoint_id, app_version=app_version_named(app_version), metadata=metadata, token=None
        )
        return (await self.registrar.register(wanted))[0]


def app_version_named(name: str) -> AppVersion:
    return AppVersion(
        name=name, app_name=name.rpartition("-")[0], tenant_id="tenant", config=APP_VERSIONS.get(name) or {}
    )


@pytest.fixture
async def store(store: DocumentStore) -> DocumentStore:
    """A store of each kind, with the service's collections."""
    await store.ensure([ENDPOINTS, FILTERS, FILTER_SETS, RELATIONS, BATCHES])
    return store


@pytest.fixture
def names() -> Names:
    mark = secrets.token_hex(4)
    return Names(f"epr-{mark}", f"epmx-{mark}", f"cm-{mark}", f"tekton-{mark}")


@pytest.fixture
async def creds(rpc: Rpc, names: Names) -> FakeCreds:
    fake = FakeCreds()
    await rpc.serve(PROVISION_TOKEN, names.cm, fake.provision)
    await rpc.serve(DISCARD_TOKENS, names.cm, fake.discard)
    await rpc.serve(TRANSITION_TOKEN_STATUS, names.cm, fake.transition)
    return fake


@pytest.fixture
async def tekton(rpc: Rpc, names: Names) -> None:
    await rpc.serve(GET_APP_VERSION_CONFIG, names.tekton, FakeTekton().config)
    await rpc.serve(GET_APPLICATION, names.tekton, FakeTekton().application)


@pytest.fixture
async def events(bus: NatsBus, names: Names) -> Events:
    heard = Events()
    await bus.subscribe(f"kaa.v1.events.{names.epr}.>", heard.add)
    await bus.flush(5)
    return heard


@asynccontextmanager
async def open_replica(store: DocumentStore, rpc: Rpc, bus: Bus, names: Names) -> AsyncIterator[Replica]:
    """A replica of the register: on this store, answering on NATS."""
    async with (
        open_outbox(store, bus, ENDPOINTS) as outbox,
        open_outbox(store, bus, FILTERS) as filter_outbox,
        open_outbox(store, bus, RELATIONS) as relation_outbox,
        asyncio.TaskGroup() as tasks,
    ):
        register = Register(store, outbox, tenant="tenant", instance=names.epr, replica_id=rpc.replica_id)
        registrar = Registrar(store, register, Tokens(rpc, names.cm, TOKEN_TIMEOUT))
        app_versions = AppVersions(rpc, names.tekton, names.epmx)
        await app_versions.start()
        epl_versions = AppVersions(rpc, names.tekton, f"{names.epmx}-epl")
        await epl_versions.start()
        whitelists = Whitelists(app_versions, epl_versions)
        await Extension(register, whitelists, names.epmx).serve(rpc)
        await MetadataManagement(register, whitelists, names.epr).serve(rpc)
        activation = Activation(store, filter_outbox, register, instance=names.epr, replica_id=rpc.replica_id)
        filters = Filters(
            store, filter_outbox, activation.wake, tenant="tenant", instance=names.epr, replica_id=rpc.replica_id
        )
        await FilterManagement(register, filters, names.epr).serve(rpc)
        relations = Relations(store, relation_outbox, register, tenant="tenant", instance=names.epr)
        await RelationsManagement(relations, names.epr).serve(rpc)
        applications = Applications(rpc, names.tekton, TOKEN_TIMEOUT)
        listing = Listing(store, register, filters, tenant="tenant")
        api = EndpointApi(
            register=register,
            registrar=registrar,
            relations=relations,
            batches=Batches(store, registrar, app_versions, tenant="tenant"),
            listing=listing,
            filters=filters,
            keys=MetadataKeys(store, applications, tenant="tenant"),
            app_versions=app_versions,
            tenant="tenant",
            request_timeout=10,
        )
        activating = tasks.create_task(activation.keep_activating())
        working = tasks.create_task(api.batches.keep_working())
        yield Replica(
            register=register,
            registrar=registrar,
            api=api,
            filters=filters,
            activation=activation,
            filter_api=FilterApi(filters, listing, applications),
        )
        activating.cancel()
        working.cancel()


@asynccontextmanager
async def open_client(replica: Replica) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the replica's REST interface, in memory."""
    router = replica.api.router()
    router.routes.extend(replica.filter_api.router().routes)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(rest_api("EPR", "", "/epr", router, Access(hash_api_key(API_KEY)))),
        base_url="http://test/epr/api/v1",
        headers={"X-API-Key": API_KEY},
    ) as client:
        yield client


@pytest.fixture
async def epr(
    store: DocumentStore, rpc: Rpc, names: Names, creds: FakeCreds, tekton: None, events: Events
) -> AsyncIterator[Replica]:
    async with open_replica(store, rpc, rpc.bus, names) as replica:
        yield replica


@pytest.fixture
async def other_epr(epr: Replica, store: DocumentStore, bus: NatsBus, names: Names) -> AsyncIterator[Replica]:
    """A second replica on the same store; on NATS it shares the requests with the first."""
    rpc = Rpc(bus, f"other-{secrets.token_hex(4)}")
    await rpc.start()
    async with open_replica(store, rpc, bus, names) as replica:
        yield replica


@pytest.fixture
async def client(epr: Replica) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(epr) as opened:
        yield opened


@pytest.fixture
async def other_client(other_epr: Replica) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(other_epr) as opened:
        yield opened


class Device:
    """What KPC sends to the extension for a device."""

    def __init__(self, rpc: Rpc, epmx: str) -> None:
        self._rpc = rpc
        self._epmx = epmx

    async def ask(
        self, endpoint_id: str | None, path: str, payload: bytes = b"", app_version: str = "kettle-v1"
    ) -> ExtensionData:
        request = ClientData(
            **request_header(Deadline.after(10)),
            app_version_name=app_version,
            endpoint_id=endpoint_id,
            resource_path=path,
            request_id=42,
            payload=payload,
        )
        return (await self._rpc.call(CLIENT_DATA, self._epmx, request)).message


@pytest.fixture
def device(rpc: Rpc, names: Names, epr: Replica) -> Device:
    return Device(rpc, names.epmx)
