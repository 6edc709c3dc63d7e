"""Endpoints follow what a communication service announces: a small stand-in for it, real stores, a real bus."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from epr import leases as leases_module
from epr import sessions as sessions_module
from epr.leases import REPLICAS, Leases
from epr.model import Endpoint
from epr.sessions import Names as SessionNames
from epr.sessions import following
from kaa_common import jsontext
from kaa_common.app_versions import AppVersions
from kaa_common.avro import encode
from kaa_common.bus import NatsBus, connect
from kaa_common.clock import now_ms
from kaa_common.errors import NotFound
from kaa_common.messages.acp import GET_APP_VERSION_CONFIG, AppVersionConfigRequest, AppVersionConfigResponse
from kaa_common.messages.cop import (
    HELD_ENDPOINTS,
    REPLICA_ALIVE,
    REPLICA_LEFT,
    HeldEndpoint,
    HeldEndpointsRequest,
    HeldEndpointsResponse,
    ReplicaEvent,
)
from kaa_common.messages.elce import (
    CONNECTED,
    DISCONNECTED,
    AppVersionUpdatedEvent,
    ConnectedEvent,
    DisconnectedEvent,
)
from kaa_common.messages.scmp import ServiceSpecificConfigurationUpdateEvent
from kaa_common.rpc import Reply, Rpc, answer_header, event_header
from kaa_common.store import DocumentStore
from kaa_common.subjects import service_subject
from support.nats_server import NatsServer
from support.waiting import until

from .conftest import Events, Names, Replica, on_one_store

LEASE = 2.0
KEYS = {"connectivity": {"metadata-keys": {"state": "connected", "state-ts": "connectivity_ts"}}}


@dataclass(slots=True)
class Tekton:
    """Answers with one configuration for all versions of kettle and toaster."""

    config: dict[str, Any] | None = None
    is_away: bool = False

    async def answer(self, request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        app_name, _, suffix = request.app_version_name.rpartition("-")
        if self.is_away:
            await asyncio.sleep(60)
        if app_name not in ("kettle", "toaster") or suffix not in ("v1", "v2"):
            raise NotFound("no such application version")
        is_epl = request.service_instance_name.startswith("epl")
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=request.app_version_name,
                tenant_id="tenant",
                app_name=app_name,
                config=jsontext.dump(self.config) if is_epl and self.config is not None else None,
                status_code=200,
            )
        )


@dataclass(slots=True)
class Kpc:
    """A communication replica: announces, answers, gives signs of life while it lives."""

    rpc: Rpc
    instance: str
    replica_id: str = field(default_factory=lambda: f"kpc-{secrets.token_hex(4)}")
    holds: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: int = 0

    async def connect(self, *endpoint_ids: str, app_version: str = "kettle-v1", at: int | None = None) -> None:
        at = now_ms() if at is None else at
        self.holds |= dict.fromkeys(endpoint_ids, (app_version, at))
        await self.announce(CONNECTED, ConnectedEvent, dict.fromkeys(endpoint_ids, app_version), at)

    async def disconnect(self, *endpoint_ids: str, at: int | None = None) -> None:
        for name in endpoint_ids:
            self.holds.pop(name, None)
        await self.announce(
            DISCONNECTED, DisconnectedEvent, dict.fromkeys(endpoint_ids, "kettle-v1"), now_ms() if at is None else at
        )

    async def announce(self, event: Any, record: Any, endpoints: Mapping[str, str], at: int) -> None:
        header = {**event_header(), "timestamp": at}
        await self.rpc.emit(
            event, self.instance, record(**header, endpoints=endpoints, originator_replica_id=self.replica_id)
        )

    async def beat(self) -> None:
        sign = ReplicaEvent(**event_header(), originator_replica_id=self.replica_id)
        await self.rpc.emit(REPLICA_ALIVE, self.instance, sign)

    async def leave(self) -> None:
        sign = ReplicaEvent(**event_header(), originator_replica_id=self.replica_id)
        await self.rpc.emit(REPLICA_LEFT, self.instance, sign)

    async def answer(self, request: HeldEndpointsRequest) -> Reply[HeldEndpointsResponse]:
        self.asked += 1
        names = sorted(name for name in self.holds if name > request.after)
        page = names[: min(request.limit, 3)]
        held = [HeldEndpoint(endpoint_id=n, app_version_name=self.holds[n][0], since=self.holds[n][1]) for n in page]
        return Reply(
            HeldEndpointsResponse(
                **answer_header(request), endpoints=tuple(held), is_complete=page == names, status_code=200
            )
        )

    async def keep_beating(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Gives signs of life, and answers, until the context is left: then it is dead."""
        await self.rpc.serve(HELD_ENDPOINTS, self.replica_id, self.answer)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(self.keep_beating())
            try:
                yield
            finally:
                beating.cancel()


@pytest.fixture
def session_names(names: Names) -> SessionNames:
    mark = secrets.token_hex(4)
    return SessionNames(epr=names.epr, kpc=f"kpc-{mark}", epl=f"epl-{mark}")


def tekton_of(session_names: SessionNames) -> str:
    return f"tekton-{session_names.epl}"


async def epl_versions(rpc: Rpc, session_names: SessionNames) -> AppVersions:
    app_versions = AppVersions(rpc, tekton_of(session_names), session_names.epl)
    await app_versions.start()
    return app_versions


@pytest.fixture
async def configured(rpc: Rpc, session_names: SessionNames) -> Tekton:
    """Whose application versions name the keys for the connectivity."""
    tekton = Tekton(KEYS)
    await rpc.serve(GET_APP_VERSION_CONFIG, tekton_of(session_names), tekton.answer)
    return tekton


@asynccontextmanager
async def a_follower(
    replica: Replica, store: DocumentStore, nats_url: str, names: SessionNames, replica_id: str = "epr-1"
) -> AsyncIterator[Leases]:
    await store.ensure([REPLICAS])
    async with connect(nats_url, "epr") as bus:
        rpc = Rpc(bus, f"{replica_id}-{secrets.token_hex(4)}")
        await rpc.start()
        app_versions = await epl_versions(rpc, names)
        async with following(rpc, store, replica.register, app_versions, names, lease=LEASE) as leases:
            await bus.flush(5)
            yield leases


@pytest.fixture
async def leases(
    epr: Replica, store: DocumentStore, nats_server: NatsServer, session_names: SessionNames, configured: Tekton
) -> AsyncIterator[Leases]:
    async with a_follower(epr, store, nats_server.url, session_names) as following_leases:
        yield following_leases


@pytest.fixture
def kpc(rpc: Rpc, session_names: SessionNames) -> Kpc:
    return Kpc(rpc, session_names.kpc)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks after replicas often, so that tests do not wait for the next look."""
    monkeypatch.setattr(leases_module, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(leases_module, "LEFT_LEASE", 0.2)
    monkeypatch.setattr(leases_module, "COMPARE_PAUSE", 0.1)


async def until_it_has(epr: Replica, endpoint_id: str, **metadata: Any) -> Endpoint:
    """The endpoint, when its metadata have these values."""
    async with asyncio.timeout(10):
        while True:
            endpoint = await epr.register.get(endpoint_id)
            if all(repr(endpoint.metadata.get(key)) == repr(value) for key, value in metadata.items()):
                return endpoint
            await asyncio.sleep(0.01)


async def until_it_is(epr: Replica, endpoint_id: str, app_version: str) -> Endpoint:
    async with asyncio.timeout(10):
        while (endpoint := await epr.register.get(endpoint_id)).app_version != app_version:
            await asyncio.sleep(0.01)
        return endpoint


async def until_replicas(store: DocumentStore, names: SessionNames, *replica_ids: str) -> None:
    """These and no others are remembered as holding endpoints."""
    async with asyncio.timeout(10):
        while True:
            page = await store.page(REPLICAS, leases_module.BY_INSTANCE, equals=[names.kpc], limit=100)
            if sorted(document["_id"] for document in page) == sorted(replica_ids):
                return
            await asyncio.sleep(0.01)


async def test_an_endpoint_takes_over_the_version_that_its_device_reports(
    epr: Replica, leases: Leases, kpc: Kpc, configured: Tekton, events: Events
) -> None:
    configured.config = None
    endpoint = await epr.endpoint({"a": 1}, "kettle-v1")
    await kpc.connect(endpoint.id, app_version="kettle-v2")
    updated = await until_it_is(epr, endpoint.id, "kettle-v2")
    assert (updated.revision, dict(updated.metadata)) == (endpoint.revision + 1, {"a": 1})
    await until(lambda: len(events.records) == 2)
    (event,) = [record for record in events.records if isinstance(record, AppVersionUpdatedEvent)]
    assert (event.previous_app_version_name, event.app_version_name) == ("kettle-v1", "kettle-v2")


@on_one_store
@pytest.mark.parametrize("reported", ["toaster-v1", "unknown-v1", "kettle-v9", "..", ""])
async def test_a_version_of_another_application_or_none_is_ignored(
    epr: Replica, leases: Leases, kpc: Kpc, reported: str
) -> None:
    endpoint = await epr.endpoint({}, "kettle-v1")
    await kpc.connect(endpoint.id, app_version=reported)
    assert (await until_it_has(epr, endpoint.id, connected=True)).app_version == "kettle-v1"


@on_one_store
async def test_what_a_device_reported_before_somebody_chose_its_version_is_no_news(
    epr: Replica, leases: Leases, kpc: Kpc
) -> None:
    endpoint = await epr.endpoint({}, "kettle-v1")
    await kpc.connect(endpoint.id, app_version="kettle-v2", at=endpoint.created_at - 1)
    assert (await until_it_has(epr, endpoint.id, connected=True)).app_version == "kettle-v1"


async def test_metadata_say_whether_an_endpoint_is_connected(
    epr: Replica, leases: Leases, kpc: Kpc, events: Events
) -> None:
    endpoint = await epr.endpoint({"a": 1})
    await kpc.connect(endpoint.id, at=1_000_000_000_000)
    connected = await until_it_has(epr, endpoint.id, a=1, connected=True, connectivity_ts=1_000_000_000_000)
    await kpc.disconnect(endpoint.id, at=1_000_000_000_005)
    gone = await until_it_has(epr, endpoint.id, a=1, connected=False, connectivity_ts=1_000_000_000_005)
    assert (connected.revision, gone.revision) == (endpoint.revision + 1, endpoint.revision + 2)
    await until(lambda: len(events.records) == 3)
    assert [record.updated["connected"].new_value for record in events.records[2:]] == ["false"]


@on_one_store
async def test_without_keys_nothing_is_written(epr: Replica, leases: Leases, kpc: Kpc, configured: Tekton) -> None:
    configured.config = {"connectivity": {"metadata-keys": None}}
    endpoint, marker = await epr.endpoint({}), await epr.endpoint({}, "kettle-v1")
    await kpc.connect(endpoint.id)
    await kpc.connect(marker.id, app_version="kettle-v2")
    await until_it_is(epr, marker.id, "kettle-v2")
    now = await epr.register.get(endpoint.id)
    assert (now.revision, now.restamped, now.metadata) == (endpoint.revision, endpoint.restamped, {})


@on_one_store
async def test_a_malformed_configuration_is_told_and_changes_nothing(
    epr: Replica, leases: Leases, kpc: Kpc, configured: Tekton, caplog: pytest.LogCaptureFixture
) -> None:
    configured.config = {"connectivity": {"metadata-keys": {"state": "not a key"}}}
    endpoint = await epr.endpoint({}, "kettle-v1")
    await kpc.connect(endpoint.id, app_version="kettle-v2")
    assert dict((await until_it_is(epr, endpoint.id, "kettle-v2")).metadata) == {}
    assert [r.levelname for r in caplog.records if r.name == "epr.connectivity"] == ["ERROR"]


async def test_what_is_announced_again_changes_nothing_that_anybody_sees(
    epr: Replica, leases: Leases, kpc: Kpc, events: Events
) -> None:
    endpoint, marker = await epr.endpoint({}), await epr.endpoint({})
    at = now_ms()
    await kpc.connect(endpoint.id, at=at)
    connected = await until_it_has(epr, endpoint.id, connected=True)
    for later in (0, 0, 10, 5):
        await kpc.connect(endpoint.id, at=at + later)
    async with asyncio.timeout(10):
        while (now := await epr.register.get(endpoint.id)).connections[0].opened_at < at + 10:
            await asyncio.sleep(0.01)
    await kpc.connect(marker.id)
    await until_it_has(epr, marker.id, connected=True)
    assert (now.revision, now.metadata) == (connected.revision, connected.metadata)


async def test_a_crowd_on_one_connection_goes_together(
    epr: Replica, leases: Leases, kpc: Kpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = [await epr.endpoint({}) for _ in range(40)]
    names = [endpoint.id for endpoint in endpoints]
    await kpc.connect(*names)
    for name in names:
        await until_it_has(epr, name, connected=True)
    await kpc.disconnect(*names, "unknown")
    for name in names:
        await until_it_has(epr, name, connected=False)


async def test_two_replicas_of_the_register_agree_whatever_the_order(
    epr: Replica,
    other_epr: Replica,
    leases: Leases,
    kpc: Kpc,
    store: DocumentStore,
    nats_server: NatsServer,
    session_names: SessionNames,
) -> None:
    there = Kpc(kpc.rpc, kpc.instance)
    endpoints = [await epr.endpoint({}) for _ in range(5)]
    start = now_ms()
    announced: list[tuple[Kpc, bool, int]] = [
        (kpc, True, start + 1),
        (there, True, start + 2),
        (kpc, False, start + 3),
        (there, False, start + 4),
        (there, True, start + 5),
        (kpc, True, start + 6),
        (there, False, start + 7),
    ]
    async with a_follower(other_epr, store, nats_server.url, session_names, "epr-2"):
        for endpoint in endpoints:
            for who, is_open, at in random.sample(announced * 2, len(announced) * 2):
                await (who.connect if is_open else who.disconnect)(endpoint.id, at=at)
        for endpoint in endpoints:
            async with asyncio.timeout(10):
                while len(known := (await epr.register.get(endpoint.id)).connections) < 2 or {
                    (it.opened_at - start, it.closed_at - start) for it in known
                } != {(6, 3), (5, 7)}:
                    await asyncio.sleep(0.01)
            await until_it_has(epr, endpoint.id, connected=True, connectivity_ts=start + 6)


async def test_the_endpoints_of_a_replica_that_dies_are_disconnected(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, store: DocumentStore, session_names: SessionNames, bus: NatsBus
) -> None:
    other = Kpc(kpc.rpc, kpc.instance)
    stays, dies = await epr.endpoint({}), await epr.endpoint({})
    heard: list[DisconnectedEvent] = []

    async def hear(event: DisconnectedEvent) -> None:
        heard.append(event)

    await kpc.rpc.listen(DISCONNECTED, kpc.instance, hear)
    async with other.alive():
        async with kpc.alive():
            await kpc.connect(dies.id)
            await other.connect(stays.id)
            await until_it_has(epr, dies.id, connected=True)
            await until_it_has(epr, stays.id, connected=True)
            await until_replicas(store, session_names, kpc.replica_id, other.replica_id)
        await until_it_has(epr, dies.id, connected=False)
        await until_replicas(store, session_names, other.replica_id)
        await until_it_has(epr, stays.id, connected=True)
    assert [(event.originator_replica_id, dict(event.endpoints)) for event in heard] == [
        (kpc.replica_id, {dies.id: "kettle-v1"})
    ]


async def test_one_of_two_replicas_of_the_register_ends_a_dead_one_page_by_page(
    epr: Replica,
    other_epr: Replica,
    leases: Leases,
    kpc: Kpc,
    quick: None,
    store: DocumentStore,
    nats_server: NatsServer,
    session_names: SessionNames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases_module, "PAGE", 3)
    heard: list[str] = []

    async def hear(event: DisconnectedEvent) -> None:
        heard.extend(event.endpoints)

    await kpc.rpc.listen(DISCONNECTED, kpc.instance, hear)
    names = [(await epr.endpoint({})).id for _ in range(8)]
    async with a_follower(other_epr, store, nats_server.url, session_names, "epr-2"):
        async with kpc.alive():
            await kpc.connect(*names)
            for name in names:
                await until_it_has(epr, name, connected=True)
            await until_replicas(store, session_names, kpc.replica_id)
        await until_replicas(store, session_names)
    assert sorted(heard) == sorted(names)
    for name in names:
        await until_it_has(epr, name, connected=False)


@on_one_store
async def test_a_dead_replica_is_found_and_not_asked_by_a_register_that_started_after_it_died(
    epr: Replica,
    kpc: Kpc,
    quick: None,
    configured: Tekton,
    store: DocumentStore,
    nats_server: NatsServer,
    session_names: SessionNames,
) -> None:
    endpoint = await epr.endpoint({})
    async with a_follower(epr, store, nats_server.url, session_names), kpc.alive():
        await kpc.connect(endpoint.id)
        await until_it_has(epr, endpoint.id, connected=True)
        await until_replicas(store, session_names, kpc.replica_id)
    asked = kpc.asked
    async with a_follower(epr, store, nats_server.url, session_names):
        await until_it_has(epr, endpoint.id, connected=False)
    assert kpc.asked == asked


@on_one_store
async def test_a_replica_that_says_goodbye_is_not_waited_for(
    epr: Replica,
    kpc: Kpc,
    quick: None,
    configured: Tekton,
    store: DocumentStore,
    nats_server: NatsServer,
    session_names: SessionNames,
    rpc: Rpc,
) -> None:
    endpoint = await epr.endpoint({})
    app_versions = await epl_versions(rpc, session_names)
    async with following(rpc, await with_replicas(store), epr.register, app_versions, session_names, lease=3600):
        async with kpc.alive():
            await kpc.connect(endpoint.id)
            await until_it_has(epr, endpoint.id, connected=True)
        await kpc.leave()
        await until_it_has(epr, endpoint.id, connected=False)
        await until_replicas(store, session_names)


async def with_replicas(store: DocumentStore) -> DocumentStore:
    await store.ensure([REPLICAS])
    return store


@on_one_store
async def test_a_replica_that_is_back_has_its_endpoints_again(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, store: DocumentStore, session_names: SessionNames
) -> None:
    endpoint = await epr.endpoint({})
    async with kpc.alive():
        await kpc.connect(endpoint.id)
        await until_it_has(epr, endpoint.id, connected=True)
        await until_replicas(store, session_names, kpc.replica_id)
    await until_it_has(epr, endpoint.id, connected=False)
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(kpc.keep_beating())
        await until_it_has(epr, endpoint.id, connected=True)
        beating.cancel()


@on_one_store
async def test_the_late_event_of_a_dead_replica_is_ignored(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, store: DocumentStore, session_names: SessionNames
) -> None:
    endpoint, marker = await epr.endpoint({}), await epr.endpoint({})
    async with kpc.alive():
        await until_replicas(store, session_names, kpc.replica_id)
    await until_replicas(store, session_names)
    async with asyncio.timeout(5):
        while not leases.is_gone(kpc.replica_id):
            await asyncio.sleep(0.01)
    await kpc.connect(endpoint.id)
    await Kpc(kpc.rpc, kpc.instance).connect(marker.id)
    await until_it_has(epr, marker.id, connected=True)
    assert "connected" not in (await epr.register.get(endpoint.id)).metadata


@on_one_store
async def test_a_register_that_was_frozen_waits_a_whole_lease(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "AWAY", 0.2)
    endpoint = await epr.endpoint({})
    heard: list[DisconnectedEvent] = []

    async def hear(event: DisconnectedEvent) -> None:
        heard.append(event)

    await kpc.rpc.listen(DISCONNECTED, kpc.instance, hear)
    async with kpc.alive():
        await kpc.connect(endpoint.id)
        await until_it_has(epr, endpoint.id, connected=True)
        await asyncio.sleep(0.2)
        time.sleep(LEASE + 0.5)  # this process stands still: nobody beats, nobody watches
        asked = kpc.asked
        async with asyncio.timeout(10):
            while kpc.asked == asked:
                await asyncio.sleep(0.01)
    assert not heard


@on_one_store
async def test_what_was_announced_while_nobody_listened_is_asked_for(
    epr: Replica,
    kpc: Kpc,
    quick: None,
    configured: Tekton,
    store: DocumentStore,
    nats_server: NatsServer,
    session_names: SessionNames,
) -> None:
    came = [(await epr.endpoint({}, endpoint_id=f"came-{number}")).id for number in range(5)]
    went = [(await epr.endpoint({}, endpoint_id=f"went-{number}")).id for number in range(5)]
    async with AsyncExitStack() as living:
        async with a_follower(epr, store, nats_server.url, session_names):
            await living.enter_async_context(kpc.alive())
            await kpc.connect(*went)
            for name in went:
                await until_it_has(epr, name, connected=True)
        await kpc.disconnect(*went)
        await kpc.connect(*came, app_version="kettle-v2")
        async with a_follower(epr, store, nats_server.url, session_names):
            for name in went:
                await until_it_has(epr, name, connected=False)
            for name in came:
                assert (await until_it_has(epr, name, connected=True)).app_version == "kettle-v2"


@on_one_store
async def test_keys_that_are_configured_later_are_written_for_who_is_connected(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, configured: Tekton, rpc: Rpc, session_names: SessionNames
) -> None:
    configured.config = None
    endpoint = await epr.endpoint({}, "kettle-v1")
    async with kpc.alive():
        await kpc.connect(endpoint.id, app_version="kettle-v2")
        await until_it_is(epr, endpoint.id, "kettle-v2")
        configured.config = KEYS
        changed = ServiceSpecificConfigurationUpdateEvent(**event_header(), tenant_id="tenant")
        await rpc.bus.publish(service_subject(session_names.epl, "scmp", "configuration.upsert"), encode(changed))
        await until_it_has(epr, endpoint.id, connected=True)


@on_one_store
async def test_a_report_that_cannot_be_recorded_is_made_up_for(
    epr: Replica,
    leases: Leases,
    kpc: Kpc,
    quick: None,
    configured: Tekton,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sessions_module, "RETRY_PAUSES", (0.01,))
    monkeypatch.setattr("epr.connectivity.LOOK_UP_TIMEOUT", 0.1)
    endpoint = await epr.endpoint({})
    configured.is_away = True
    async with kpc.alive():
        await kpc.connect(endpoint.id)
        async with asyncio.timeout(10):
            while not any("was not recorded" in record.getMessage() for record in caplog.records):
                await asyncio.sleep(0.01)
        configured.is_away = False
        await until_it_has(epr, endpoint.id, connected=True)


@on_one_store
async def test_an_endpoint_with_too_many_keys_is_followed_without_metadata(
    epr: Replica, leases: Leases, kpc: Kpc, quick: None, store: DocumentStore, session_names: SessionNames
) -> None:
    endpoint = await epr.endpoint({f"k{number}": 0 for number in range(512)})
    async with kpc.alive():
        await kpc.connect(endpoint.id)
        async with asyncio.timeout(10):
            while not (now := await epr.register.get(endpoint.id)).connections:
                await asyncio.sleep(0.01)
        await until_replicas(store, session_names, kpc.replica_id)
    await until_replicas(store, session_names)
    assert (now.revision, len(now.metadata)) == (endpoint.revision, 512)


async def test_device_changes_and_connectivity_lose_nothing_of_each_other(
    epr: Replica, leases: Leases, kpc: Kpc, events: Events
) -> None:
    endpoint = await epr.endpoint({"count": 0})
    start = now_ms()

    async def count() -> None:
        for _ in range(40):
            async with epr.register.turn(endpoint.id):
                await epr.register.change_metadata(
                    endpoint.id, lambda it: {**it.metadata, "count": it.metadata["count"] + 1}
                )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(count())
        for number in range(20):
            await kpc.connect(endpoint.id, at=start + 2 * number)
            await kpc.disconnect(endpoint.id, at=start + 2 * number + 1)
    await until_it_has(epr, endpoint.id, count=40, connected=False, connectivity_ts=start + 39)
    revisions = [int(message.headers["Kaa-Endpoint-Revision"]) for message in events.messages]
    last = (await epr.register.get(endpoint.id)).revision
    async with asyncio.timeout(10):
        while len(revisions) <= last - endpoint.revision:
            await asyncio.sleep(0.01)
            revisions = [int(message.headers["Kaa-Endpoint-Revision"]) for message in events.messages]
    assert revisions == list(range(endpoint.revision, last + 1))
