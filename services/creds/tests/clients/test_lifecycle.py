import asyncio

import pytest

from creds.clients.app import Clients
from creds.clients.documents import BASIC_CREDENTIALS, BY_USERNAME, X509_CREDENTIALS
from creds.clients.lifecycle import Lifecycle
from creds.clients.model import BasicCredentials, CertificateCredentials, State
from kaa_common.errors import Conflict, NotFound, PreconditionFailed
from kaa_common.messages.cap import ClientCredentialsRevokedEvent
from kaa_common.messages.ecap import ClientCredentialRevokedEvent
from kaa_common.store import DocumentStore
from support.waiting import until

ACTIVE, SUSPENDED, REVOKED = State.ACTIVE, State.SUSPENDED, State.REVOKED


def any_revision(_: int) -> None:
    pass


def no_revision(_: int) -> None:
    raise PreconditionFailed


@pytest.fixture
def basic(clients: Clients) -> Lifecycle[BasicCredentials]:
    return clients.basic.lifecycle


async def create(clients: Clients) -> tuple[BasicCredentials, CertificateCredentials]:
    return (
        (await clients.basic.create("tenant", "user", "correct horse")).credentials,
        (await clients.certificates.issue("tenant", "device", 60)).credentials,
    )


async def test_suspending_revoking_and_deleting_are_announced_in_both_protocols(
    clients: Clients,
    cap_events: list[tuple[str, ClientCredentialsRevokedEvent]],
    ecap_events: list[ClientCredentialRevokedEvent],
) -> None:
    user, device = await create(clients)
    for state in (SUSPENDED, ACTIVE, REVOKED):
        await clients.basic.lifecycle.move("tenant", user.id, state, any_revision)
        await clients.certificates.lifecycle.move("tenant", device.id, state, any_revision)
    await clients.basic.lifecycle.delete("tenant", user.id, any_revision)
    await clients.certificates.lifecycle.delete("tenant", device.id, any_revision)
    await until(lambda: len(cap_events) == 6 and len(ecap_events) == 6)
    for group, credentials_id in (("basic", user.id), ("certificate", device.id)):
        events = [event for event_group, event in cap_events if event_group == group]
        assert [(event.tenant_id, event.credentials_id) for event in events] == [("tenant", credentials_id)] * 3
        assert {event.originator_replica_id for event in events} == {"replica"}
    assert sorted(event.credential_id for event in ecap_events) == sorted([user.id, device.id] * 3)


async def test_deleted_credentials_leave_nothing_and_their_name_is_free(clients: Clients, store: DocumentStore) -> None:
    user, device = await create(clients)
    await clients.basic.authenticate("tenant", "user", "correct horse")
    await clients.basic.lifecycle.delete("tenant", user.id, any_revision)
    await clients.certificates.lifecycle.delete("tenant", device.id, any_revision)
    for attempt in (
        clients.basic.lifecycle.get("tenant", user.id),
        clients.basic.lifecycle.delete("tenant", user.id, any_revision),
        clients.basic.lifecycle.use("tenant", user.id),
        clients.certificates.authenticate("CN=tenant", device.serial_number),
    ):
        with pytest.raises(NotFound):
            await attempt
    await until_gone(store, user.id, device.id)
    assert (await clients.basic.create("tenant", "user", "correct horse")).credentials.id != user.id


async def until_gone(store: DocumentStore, user_id: str, device_id: str) -> None:
    """Wait until what was kept for the sake of the events is gone too."""
    async with asyncio.timeout(5):
        while await store.get(BASIC_CREDENTIALS, [user_id]) or await store.get(X509_CREDENTIALS, [device_id]):
            await asyncio.sleep(0.001)


async def test_two_deleted_ones_are_not_in_each_others_way(
    clients: Clients, basic: Lifecycle[BasicCredentials]
) -> None:
    for _ in range(3):
        user, device = await create(clients)
        await basic.delete("tenant", user.id, any_revision)
        await clients.certificates.lifecycle.delete("tenant", device.id, any_revision)
    assert await basic.find(BY_USERNAME, "tenant", "user") is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_change_of_another_revision_changes_nothing(
    clients: Clients, basic: Lifecycle[BasicCredentials]
) -> None:
    user, _ = await create(clients)
    with pytest.raises(PreconditionFailed):
        await basic.move("tenant", user.id, SUSPENDED, no_revision)
    with pytest.raises(PreconditionFailed):
        await basic.delete("tenant", user.id, no_revision)
    assert await basic.get("tenant", user.id) == user


async def test_credentials_are_those_of_their_tenant(clients: Clients, basic: Lifecycle[BasicCredentials]) -> None:
    user, _ = await create(clients)
    for attempt in (
        basic.get("other", user.id),
        basic.move("other", user.id, SUSPENDED, any_revision),
        basic.delete("other", user.id, any_revision),
        basic.use("other", user.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await basic.page("other", 0, 10) == []
    assert await basic.page("tenant", 0, 10) == [user]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_an_illegal_change_is_a_conflict(clients: Clients, basic: Lifecycle[BasicCredentials]) -> None:
    user, _ = await create(clients)
    await basic.move("tenant", user.id, REVOKED, any_revision)
    with pytest.raises(Conflict, match="from Revoked to Active"):
        await basic.move("tenant", user.id, ACTIVE, any_revision)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_use_is_noted(clients: Clients, basic: Lifecycle[BasicCredentials]) -> None:
    user, _ = await create(clients)
    assert await basic.last_uses([user]) == {}
    used = await basic.use("tenant", user.id)
    last_use = (await basic.last_uses([user]))[user.id]
    assert last_use >= used.updated_ms
    assert (await basic.get("tenant", user.id)).revision == used.revision == 2
