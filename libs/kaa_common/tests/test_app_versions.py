import asyncio
from collections.abc import AsyncIterator

import pytest

from kaa_common import app_versions as app_versions_module
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.avro import encode
from kaa_common.bus import connect
from kaa_common.clock import Deadline
from kaa_common.errors import DeadlineExceeded, Forbidden, KaaError, NotFound, Unavailable
from kaa_common.messages.acp import GET_APP_VERSION_CONFIG, AppVersionConfigRequest, AppVersionConfigResponse
from kaa_common.messages.declared import Event
from kaa_common.messages.scmp import (
    CONFIGURATION_DELETED,
    CONFIGURATION_UPSERTED,
    BroadcastConfigurationUpdateEvent,
    ServiceSpecificConfigurationUpdateEvent,
)
from kaa_common.rpc import Reply, Rpc, answer_header, event_header
from kaa_common.subjects import service_subject
from support.nats_server import NatsServer
from support.waiting import until


class Tekton:
    """Answers for the application versions it is given, and keeps what it was asked."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.configs: dict[str, bytes | None] = {"kettle-v1": b'{"extensions":["epmx"]}', "kettle-v2": None}
        self.asked: list[tuple[str, str]] = []
        self.failure: KaaError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        name = request.app_version_name
        self.asked.append((name, request.service_instance_name))
        known, config = name in self.configs, self.configs.get(name)
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        if not known:
            raise NotFound("no application version with this name")
        answer = AppVersionConfigResponse(
            **answer_header(request),
            app_version_name=name,
            tenant_id="default",
            app_name="kettle",
            config=config,
            status_code=200,
        )
        return Reply(answer)

    async def announce(self) -> None:
        """Say to every service that something changed."""
        event = BroadcastConfigurationUpdateEvent(**event_header(), originator_replica_id="t")
        await self.rpc.emit(CONFIGURATION_UPSERTED, "tekton-1", event)


@pytest.fixture
async def tekton(nats_server: NatsServer) -> AsyncIterator[Tekton]:
    async with connect(nats_server.url, "tekton") as bus:
        tekton = Tekton(Rpc(bus, "tekton"))
        await tekton.rpc.serve(GET_APP_VERSION_CONFIG, "tekton-1", tekton.answer)
        await bus.flush(1)
        yield tekton


@pytest.fixture
async def app_versions(rpc: Rpc) -> AppVersions:
    versions = AppVersions(rpc, "tekton-1", "kpc-1")
    await versions.start()
    await rpc.bus.flush(1)
    return versions


async def look_up(app_versions: AppVersions, name: str) -> AppVersion:
    return await app_versions.get(name, Deadline.after(5))


async def test_an_application_version_comes_with_the_configuration_of_the_service_that_asks(
    app_versions: AppVersions, tekton: Tekton
) -> None:
    assert await look_up(app_versions, "kettle-v1") == AppVersion(
        name="kettle-v1", app_name="kettle", tenant_id="default", config={"extensions": ["epmx"]}
    )
    assert (await look_up(app_versions, "kettle-v2")).config == {}
    assert tekton.asked == [("kettle-v1", "kpc-1"), ("kettle-v2", "kpc-1")]


async def test_what_is_known_is_not_asked_for_again(app_versions: AppVersions, tekton: Tekton) -> None:
    first = await look_up(app_versions, "kettle-v1")

    assert await look_up(app_versions, "kettle-v1") is first
    assert len(tekton.asked) == 1


async def test_what_is_unknown_is_not_asked_for_again_at_once(app_versions: AppVersions, tekton: Tekton) -> None:
    for _ in range(3):
        with pytest.raises(NotFound, match="unknown application version"):
            await look_up(app_versions, "toaster-v1")

    assert len(tekton.asked) == 1


async def test_a_name_that_cannot_be_one_is_unknown_without_asking(app_versions: AppVersions, tekton: Tekton) -> None:
    for name in ("", "a.b", "a/b", "*", "x" * 200):
        with pytest.raises(NotFound, match="unknown application version"):
            await look_up(app_versions, name)

    assert tekton.asked == []


@pytest.mark.parametrize("event", [CONFIGURATION_UPSERTED, CONFIGURATION_DELETED])
async def test_a_change_that_concerns_everybody_is_noticed(
    app_versions: AppVersions, tekton: Tekton, event: Event[BroadcastConfigurationUpdateEvent]
) -> None:
    await look_up(app_versions, "kettle-v2")
    tekton.configs["kettle-v2"] = b'{"new":1}'
    change = BroadcastConfigurationUpdateEvent(**event_header(), originator_replica_id="t", app_name="kettle")
    await tekton.rpc.emit(event, "tekton-1", change)

    await until_config(app_versions, "kettle-v2", {"new": 1})


@pytest.mark.parametrize("kind", ["upsert", "delete"])
async def test_a_change_that_concerns_this_service_is_noticed(
    app_versions: AppVersions, tekton: Tekton, kind: str
) -> None:
    await look_up(app_versions, "kettle-v2")
    tekton.configs["kettle-v2"] = b'{"new":1}'
    change = ServiceSpecificConfigurationUpdateEvent(**event_header(), tenant_id="default")
    subject = service_subject("kpc-1", "scmp", f"configuration.{kind}")
    await tekton.rpc.bus.publish(subject, encode(change))

    await until_config(app_versions, "kettle-v2", {"new": 1})


async def test_a_new_application_version_is_noticed_though_it_was_unknown(
    app_versions: AppVersions, tekton: Tekton
) -> None:
    with pytest.raises(NotFound):
        await look_up(app_versions, "toaster-v1")
    tekton.configs["toaster-v1"] = b'{"new":1}'
    await tekton.announce()

    async with asyncio.timeout(1):  # which is less than UNKNOWN_FOR
        while True:
            try:
                assert (await look_up(app_versions, "toaster-v1")).config == {"new": 1}
            except NotFound:
                await asyncio.sleep(0.01)
            else:
                break


async def test_an_answer_overtaken_by_a_change_is_not_kept(app_versions: AppVersions, tekton: Tekton, rpc: Rpc) -> None:
    tekton.may_answer.clear()
    async with asyncio.TaskGroup() as tasks:
        overtaken = tasks.create_task(look_up(app_versions, "kettle-v2"))
        await until(lambda: len(tekton.asked) == 1)
        tekton.configs["kettle-v2"] = b'{"new":1}'
        await tekton.announce()
        await tekton.rpc.bus.flush(1)
        await rpc.bus.flush(1)
        tekton.may_answer.set()

    assert overtaken.result().config == {}
    assert (await look_up(app_versions, "kettle-v2")).config == {"new": 1}


async def test_what_is_known_is_forgotten_when_a_change_may_have_been_missed(own_nats_server: NatsServer) -> None:
    async with connect(own_nats_server.url, "test") as bus:
        rpc = Rpc(bus, "test")
        await rpc.start()
        tekton, versions = Tekton(rpc), AppVersions(rpc, "tekton-1", "kpc-1")
        await rpc.serve(GET_APP_VERSION_CONFIG, "tekton-1", tekton.answer)
        await versions.start()
        await look_up(versions, "kettle-v1")
        own_nats_server.restart()
        await until(lambda: not bus.connected)
        with pytest.raises(Unavailable):
            await look_up(versions, "kettle-v1")
        await until(lambda: bus.connected)

        await look_up(versions, "kettle-v1")

    assert len(tekton.asked) == 2


async def test_what_is_known_is_believed_for_a_limited_time(
    rpc: Rpc, tekton: Tekton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_versions_module, "KEPT_FOR", 0.01)
    versions = AppVersions(rpc, "tekton-1", "kpc-1")
    tekton.configs["kettle-v2"] = None
    await look_up(versions, "kettle-v2")
    tekton.configs["kettle-v2"] = b'{"new":1}'

    await until_config(versions, "kettle-v2", {"new": 1})


async def test_a_failure_of_tekton_is_passed_on_and_not_kept(app_versions: AppVersions, tekton: Tekton) -> None:
    tekton.failure = Forbidden("not yours")
    with pytest.raises(Forbidden, match="not yours"):
        await look_up(app_versions, "kettle-v1")
    tekton.failure = None

    assert (await look_up(app_versions, "kettle-v1")).app_name == "kettle"


@pytest.mark.parametrize("config", [b"[1]", b"{", b'"text"', b"18446744073709551616"])
async def test_a_configuration_that_is_no_json_object_is_tektons_fault_and_not_the_callers(
    app_versions: AppVersions, tekton: Tekton, config: bytes
) -> None:
    tekton.configs["kettle-v1"] = config

    with pytest.raises(Unavailable, match="configuration of kettle-v1"):
        await look_up(app_versions, "kettle-v1")


async def test_without_tekton_the_look_up_fails_at_once(rpc: Rpc) -> None:
    versions = AppVersions(rpc, "tekton-absent", "kpc-1")

    async with asyncio.timeout(1):
        with pytest.raises(Unavailable):
            await look_up(versions, "kettle-v1")


async def test_a_silent_tekton_costs_the_deadline(app_versions: AppVersions, tekton: Tekton) -> None:
    tekton.may_answer.clear()

    with pytest.raises(DeadlineExceeded):
        await app_versions.get("kettle-v1", Deadline.after(0.05))
    tekton.may_answer.set()


async def until_config(app_versions: AppVersions, name: str, config: dict[str, object]) -> None:
    async with asyncio.timeout(5):
        while (await look_up(app_versions, name)).config != config:
            await asyncio.sleep(0.01)
