import asyncio
import uuid
from collections.abc import Callable
from functools import partial

import pytest

from kaa_common.avro import decode
from kaa_common.bus import BusMessage, NatsBus
from kaa_common.errors import Conflict, NotFound, PayloadTooLarge, PreconditionFailed
from kaa_common.messages.scmp import (
    CONFIGURATION_DELETED,
    CONFIGURATION_UPSERTED,
    BroadcastConfigurationUpdateEvent,
    ServiceSpecificConfigurationUpdateEvent,
)
from kaa_common.outbox import Outbox, open_outbox
from kaa_common.rest import check_if_match
from kaa_common.store import Document, DocumentStore
from kaa_common.subjects import service_subject
from tekton.applications import Applications
from tekton.documents import APPLICATIONS


class CrashError(Exception):
    """The process is gone."""


class CrashingOutbox(Outbox):
    async def publish(self, document: Document) -> None:
        raise CrashError


def any_revision(_: int) -> None:
    pass


@pytest.fixture
async def heard(bus: NatsBus, instance: str) -> list[BusMessage]:
    """What the service says on the bus, to all and to the instances `kpc-…` and `epmx-…` of the test."""
    messages: list[BusMessage] = []

    async def hear(message: BusMessage) -> None:
        messages.append(message)

    await bus.subscribe(CONFIGURATION_UPSERTED.subject(instance), hear)
    for service in ("kpc", "epmx"):
        await bus.subscribe(service_subject(f"{service}-{instance}", "scmp", "configuration.upsert"), hear)
    await bus.flush(5)
    return messages


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_name_is_generated_when_none_is_given(applications: Applications) -> None:
    application = await applications.create(None, {})
    assert uuid.UUID(application.name).version == 4
    assert await applications.get(application.name) == application


async def test_a_name_is_taken_once(applications: Applications) -> None:
    await applications.create("meters", {})
    with pytest.raises(Conflict):
        await applications.create("meters", {})


async def test_applications_are_listed_in_the_order_they_were_created(applications: Applications) -> None:
    created = [await applications.create(None, {}) for _ in range(5)]
    listed = await applications.list_all()
    assert sorted(listed, key=lambda application: application.name) == sorted(created, key=lambda a: a.name)
    assert [application.created_ms for application in listed] == sorted(a.created_ms for a in created)


async def test_deletions_are_announced_as_such(
    applications: Applications, bus: NatsBus, instance: str, heard: list[BusMessage]
) -> None:
    async def hear(message: BusMessage) -> None:
        heard.append(message)

    await bus.subscribe(CONFIGURATION_DELETED.subject(instance), hear)
    await bus.flush(5)
    await applications.create("meters", {})
    await applications.create_version("meters", "v1", {})
    await applications.delete_version("meters", "meters-v1", any_revision)
    await applications.delete("meters", any_revision)
    await eventually(lambda: len(heard) == 4)
    deleted = [decode(BroadcastConfigurationUpdateEvent, m.data) for m in heard if m.subject.endswith(".delete")]
    assert [(event.app_name, event.app_ver_name) for event in deleted] == [("meters", "meters-v1"), ("meters", None)]


async def test_a_deleted_application_leaves_nothing_behind(store: DocumentStore, applications: Applications) -> None:
    await applications.create("meters", {})
    await applications.delete("meters", any_revision)
    async with asyncio.timeout(5):
        while await store.get(APPLICATIONS, ["meters"]):
            await asyncio.sleep(0.001)


async def test_an_application_of_another_tenant_is_unknown(
    store: DocumentStore, bus: NatsBus, applications: Applications
) -> None:
    async with open_outbox(store, bus, APPLICATIONS) as outbox:
        others = Applications(store, outbox, instance="tekton", replica_id="replica", tenant_id="other")
        await others.create("meters", {})
        with pytest.raises(NotFound):
            await applications.get("meters")
        assert await applications.list_all() == []


async def test_a_version_is_found_by_its_name_alone(applications: Applications) -> None:
    await applications.create("water-meters", {})
    await applications.create_version("water-meters", "v1", {"display_name": "First"})
    application, version = await applications.find_version("water-meters-v1")
    assert (application.name, version.name, version.display_name) == ("water-meters", "water-meters-v1", "First")


@pytest.mark.parametrize("name", ["water-meters-v2", "water-meters", "v1", "", "-", "other-v1"])
async def test_a_version_that_does_not_exist_is_not_found(applications: Applications, name: str) -> None:
    await applications.create("water-meters", {})
    await applications.create_version("water-meters", "v1", {})
    with pytest.raises(NotFound):
        await applications.find_version(name)


async def test_a_change_of_another_revision_changes_nothing(applications: Applications) -> None:
    before = await applications.create("meters", {})
    with pytest.raises(PreconditionFailed):
        await applications.describe("meters", {"display_name": "Meters"}, partial(check_if_match, '"7"'))
    assert await applications.get("meters") == before


async def test_concurrent_changes_are_all_kept(applications: Applications) -> None:
    await applications.create("meters", {})
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(applications.create_version("meters", f"v{number}", {}))
    application = await applications.get("meters")
    assert set(application.versions) == {f"meters-v{number}" for number in range(20)}
    assert application.revision == 21


async def test_an_application_is_bounded(applications: Applications) -> None:
    await applications.create("meters", {})
    await applications.create_version("meters", "v1", {})
    with pytest.raises(PayloadTooLarge):
        await applications.configure("meters", "meters-v1", {"kpc": {"a": "x" * 5_000_000}}, any_revision)


async def test_new_and_changed_applications_and_versions_are_broadcast(
    applications: Applications, heard: list[BusMessage]
) -> None:
    await applications.create("meters", {})
    await applications.describe("meters", {"display_name": "Meters"}, any_revision)
    await applications.create_version("meters", "v1", {})
    await applications.describe_version("meters", "meters-v1", {"display_name": "First"}, any_revision)
    await eventually(lambda: len(heard) == 4)
    events = [decode(BroadcastConfigurationUpdateEvent, message.data) for message in heard]
    assert {(event.tenant_id, event.app_name, event.originator_replica_id) for event in events} == {
        ("tenant", "meters", "replica")
    }
    assert [event.app_ver_name for event in events] == [None, None, "meters-v1", "meters-v1"]
    assert [message.headers["Nats-Msg-Id"] for message in heard] == [f"meters:{i}:upsert" for i in range(1, 5)]


async def test_a_configuration_is_announced_to_the_instances_it_is_for(
    applications: Applications, heard: list[BusMessage], instance: str
) -> None:
    await applications.create("meters", {})
    await applications.create_version("meters", "v1", {})
    configurations = {f"kpc-{instance}": {"a": 1}, f"epmx-{instance}": None}
    await applications.configure("meters", "meters-v1", configurations, any_revision)
    await applications.merge_configuration("meters", "meters-v1", f"kpc-{instance}", {"b": 2}, any_revision)
    await eventually(lambda: len(heard) == 5)
    targeted = [message for message in heard if message.subject.startswith("kaa.v1.service.")]
    assert sorted(message.subject.split(".")[3] for message in targeted) == [
        f"epmx-{instance}",
        f"kpc-{instance}",
        f"kpc-{instance}",
    ]
    for message in targeted:
        event = decode(ServiceSpecificConfigurationUpdateEvent, message.data)
        assert (event.tenant_id, event.app_name, event.app_ver_name) == ("tenant", "meters", "meters-v1")


async def test_a_configuration_of_an_application_itself_is_announced_without_a_version(
    applications: Applications, heard: list[BusMessage], instance: str
) -> None:
    await applications.create("meters", {})
    await applications.configure("meters", None, {f"kpc-{instance}": {"a": 1}}, any_revision)
    await eventually(lambda: len(heard) == 2)
    event = decode(ServiceSpecificConfigurationUpdateEvent, heard[1].data)
    assert (event.tenant_id, event.app_name, event.app_ver_name) == ("tenant", "meters", None)


async def test_events_that_a_crash_left_behind_are_published_by_the_next_replica(
    store: DocumentStore, bus: NatsBus, heard: list[BusMessage], instance: str
) -> None:
    crashing = Applications(
        store, CrashingOutbox(store, bus, APPLICATIONS), instance=instance, replica_id="replica", tenant_id="tenant"
    )
    with pytest.raises(CrashError):
        await crashing.create("meters", {})
    async with open_outbox(store, bus, APPLICATIONS):
        await eventually(lambda: len(heard) == 1)
    assert decode(BroadcastConfigurationUpdateEvent, heard[0].data).app_name == "meters"
