import asyncio
import contextlib
from typing import Any

import pytest

from epr.metadata import merge
from epr.model import Endpoint, State
from epr.register import BY_APPLICATION, ENDPOINTS
from epr.registration import Registrar, Registration
from epr.tokens import Tokens
from kaa_common.errors import BadRequest, Conflict, NotFound, PayloadTooLarge, Unavailable
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore
from support.waiting import until

from .conftest import TOKEN_TIMEOUT, Events, FakeCreds, Names, Replica, app_version_named, on_one_store


def wanted(
    endpoint_id: str | None = None,
    token: str | None = None,
    metadata: dict[str, Any] | None = None,
    app_version: str = "kettle-v1",
) -> Registration:
    return Registration(
        endpoint_id=endpoint_id, app_version=app_version_named(app_version), metadata=metadata or {}, token=token
    )


def reservation(endpoint_id: str, until: int) -> Endpoint:
    return Endpoint(
        metadata={},
        id=endpoint_id,
        revision=1,
        state=State.RESERVED,
        tenant="tenant",
        application="kettle",
        app_version="kettle-v1",
        app_version_at=1,
        created_at=1,
        reserved_until=until,
    )


def settled(endpoint: Endpoint) -> Endpoint:
    """Whatever of its events may have been taken out of it by now."""
    return endpoint._replace(outbox=(), pending=None)


async def everything(store: DocumentStore) -> list[Endpoint]:
    return [Endpoint.from_document(found) for found in await store.page(ENDPOINTS, BY_APPLICATION, limit=100)]


@pytest.fixture
async def lonely_registrar(epr: Replica, store: DocumentStore, rpc: Rpc) -> Registrar:
    """One whose credentials service does not run."""
    return Registrar(store, epr.register, Tokens(rpc, "nobody", TOKEN_TIMEOUT))


async def test_a_registered_endpoint_has_its_token(epr: Replica, creds: FakeCreds) -> None:
    endpoint, token = await epr.registrar.register(wanted("id-1", "token1", {"a": 1}))
    assert creds.tokens == {("kettle", "token1"): ("id-1", token.id)}
    assert (token.value, token.status) == ("token1", "Inactive")
    assert (endpoint.id, endpoint.metadata, endpoint.state) == ("id-1", {"a": 1}, State.REGISTERED)
    assert settled(await epr.register.get("id-1")) == settled(endpoint)


async def test_id_and_token_are_generated_when_absent(epr: Replica, creds: FakeCreds) -> None:
    one, one_token = await epr.registrar.register(wanted())
    two, two_token = await epr.registrar.register(wanted())
    assert one.id != two.id
    assert len(one.id) == 36
    assert creds.tokens == {
        ("kettle", one_token.value): (one.id, one_token.id),
        ("kettle", two_token.value): (two.id, two_token.id),
    }


async def test_a_repeated_registration_has_the_same_answer(epr: Replica, creds: FakeCreds, events: Events) -> None:
    first = await epr.registrar.register(wanted("id-1", "token1", {"a": 1}))
    await epr.register.change_metadata("id-1", lambda endpoint: merge({"b": 2})(endpoint.metadata))
    endpoint, token = await epr.registrar.register(wanted("id-1", "token1", {"a": 1}))
    assert (endpoint.id, token) == (first[0].id, first[1])
    assert endpoint.metadata == {"a": 1, "b": 2}
    await until(lambda: len(events.messages) == 2)
    assert len(creds.tokens) == 1


@on_one_store
@pytest.mark.parametrize(
    "again",
    [wanted("id-1"), wanted("id-1", "other"), wanted("id-1", "taken"), wanted("id-1", "token1", {}, "toaster-v1")],
)
async def test_a_taken_id_is_refused_and_gets_no_further_token(
    epr: Replica, creds: FakeCreds, store: DocumentStore, again: Registration
) -> None:
    await epr.registrar.register(wanted("id-1", "token1", {"a": 1}))
    await epr.registrar.register(wanted("id-2", "taken"))
    tokens = dict(creds.tokens)
    with pytest.raises(Conflict, match="id is taken"):
        await epr.registrar.register(again)
    assert creds.tokens == tokens
    assert (await epr.register.get("id-1")).metadata == {"a": 1}
    assert len(await everything(store)) == 2


@on_one_store
@pytest.mark.parametrize(("token", "error"), [("taken", Conflict), ("mal/formed", BadRequest)])
@pytest.mark.parametrize("endpoint_id", ["id-2", None])
async def test_a_token_that_cannot_be_had_leaves_nothing_behind(
    epr: Replica,
    creds: FakeCreds,
    store: DocumentStore,
    endpoint_id: str | None,
    token: str,
    error: type[Exception],
) -> None:
    await epr.registrar.register(wanted("id-1", "taken"))
    with pytest.raises(error, match="token"):
        await epr.registrar.register(wanted(endpoint_id, token))
    assert [endpoint.id for endpoint in await everything(store)] == ["id-1"]
    assert list(creds.tokens) == [("kettle", "taken")]


@on_one_store
async def test_too_much_metadata_leaves_nothing_behind(epr: Replica, creds: FakeCreds, store: DocumentStore) -> None:
    with pytest.raises(PayloadTooLarge):
        await epr.registrar.register(wanted("id-1", "token1", {"a": "x" * 300_000}))
    assert await everything(store) == []
    assert creds.tokens == {}


async def test_without_creds_nothing_is_registered_and_the_next_attempt_succeeds(
    epr: Replica, lonely_registrar: Registrar, creds: FakeCreds, events: Events
) -> None:
    with pytest.raises(Unavailable):
        await lonely_registrar.register(wanted("id-1", "token1"))
    with pytest.raises(NotFound):
        await epr.register.get("id-1")
    assert (await epr.register.page(application=None, app_version=None, offset=0, limit=10))[0] == 0
    endpoint, _ = await epr.registrar.register(wanted("id-1", "token1"))
    assert (await epr.register.get("id-1")).state is State.REGISTERED
    await until(lambda: events.ids == [f"id-1:{endpoint.revision}:lifecycle.registered"])


async def test_a_token_whose_answer_was_lost_is_discarded(epr: Replica, creds: FakeCreds, store: DocumentStore) -> None:
    creds.failure, creds.loses_answers = Unavailable("lost"), True
    with pytest.raises(Unavailable):
        await epr.registrar.register(wanted(token="token1"))
    assert creds.tokens
    [left_behind] = await everything(store)
    assert left_behind.state is State.RESERVED

    creds.failure = None
    await epr.registrar.sweep()
    assert creds.tokens == {}
    assert await everything(store) == []


async def test_tokens_of_an_endpoint_unregistered_without_creds_are_discarded_by_a_sweep(
    epr: Replica, creds: FakeCreds, store: DocumentStore, events: Events
) -> None:
    await epr.registrar.register(wanted("id-1", "token1"))
    creds.failure = Unavailable("away")
    await epr.registrar.unregister("id-1", lambda endpoint: None)
    with pytest.raises(NotFound):
        await epr.register.get("id-1")
    await epr.registrar.sweep()
    assert creds.tokens

    creds.failure = None
    await epr.registrar.sweep()
    assert creds.tokens == {}
    await until(lambda: len(events.ids) == 2)
    assert events.ids[1].endswith(":lifecycle.unregistered")


async def test_an_endpoint_unregistered_without_creds_can_be_registered_again(
    epr: Replica, creds: FakeCreds, events: Events
) -> None:
    first, _ = await epr.registrar.register(wanted("id-1", "token1"))
    creds.failure = Unavailable("away")
    await epr.registrar.unregister("id-1", lambda endpoint: None)
    creds.failure = None
    second, token = await epr.registrar.register(wanted("id-1", "token2"))
    await epr.registrar.sweep()
    assert creds.tokens == {("kettle", "token2"): ("id-1", token.id)}
    assert second.revision > first.revision + 1
    await until(lambda: len(events.ids) == 3)
    assert (await epr.register.get("id-1")).state is State.REGISTERED


async def test_a_sweep_rolls_back_what_a_crash_left_behind(
    epr: Replica, creds: FakeCreds, store: DocumentStore
) -> None:
    creds.tokens[("kettle", "token1")] = ("id-1", "token-id")
    await store.insert(ENDPOINTS, reservation("id-1", until=1).to_document())
    await epr.registrar.sweep()
    assert creds.tokens == {}
    assert await everything(store) == []


async def test_a_registration_takes_over_what_a_crash_left_behind(
    epr: Replica, creds: FakeCreds, store: DocumentStore
) -> None:
    creds.tokens[("kettle", "token1")] = ("id-1", "token-id")
    await store.insert(ENDPOINTS, reservation("id-1", until=1).to_document())
    _, token = await epr.registrar.register(wanted("id-1", "token2"))
    assert creds.tokens == {("kettle", "token2"): ("id-1", token.id)}


async def test_a_registration_in_progress_elsewhere_is_left_alone(
    epr: Replica, creds: FakeCreds, store: DocumentStore
) -> None:
    creds.tokens[("kettle", "token1")] = ("id-1", "token-id")
    reserved = reservation("id-1", until=2**50)
    await store.insert(ENDPOINTS, reserved.to_document())
    await epr.registrar.sweep()
    with pytest.raises(Unavailable, match="being registered"):
        await epr.registrar.register(wanted("id-1", "token1"))
    assert await everything(store) == [reserved]
    assert len(creds.tokens) == 1


async def test_one_of_many_registrations_with_an_id_wins(
    epr: Replica, other_epr: Replica, creds: FakeCreds, store: DocumentStore
) -> None:
    winners: list[str] = []

    async def register(registrar: Registrar, token: str) -> None:
        with contextlib.suppress(Conflict, Unavailable):
            winners.append((await registrar.register(wanted("id-1", token)))[1].value)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(register((epr, other_epr)[number % 2].registrar, f"token{number}"))
    assert len(winners) == 1
    assert [value for _, value in creds.tokens] == winners
    assert [endpoint.state for endpoint in await everything(store)] == [State.REGISTERED]


async def test_one_of_many_registrations_with_a_token_wins(
    epr: Replica, other_epr: Replica, creds: FakeCreds, store: DocumentStore
) -> None:
    winners: list[str] = []

    async def register(registrar: Registrar) -> None:
        with contextlib.suppress(Conflict):
            winners.append((await registrar.register(wanted(token="token1")))[0].id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(register((epr, other_epr)[number % 2].registrar))
    assert [endpoint.id for endpoint in await everything(store)] == winners
    assert [owner for owner, _ in creds.tokens.values()] == winners


async def test_the_tokens_of_an_unregistered_endpoint_are_deleted(epr: Replica, creds: FakeCreds) -> None:
    endpoint, _ = await epr.registrar.register(wanted(token="token1"))
    await epr.registrar.unregister(endpoint.id, lambda _: None)
    assert creds.tokens == {}


async def test_an_endpoint_is_unregistered_also_without_the_credentials_service(epr: Replica, creds: FakeCreds) -> None:
    endpoint, _ = await epr.registrar.register(wanted(token="token1"))
    creds.failure = Unavailable("away")
    await epr.registrar.unregister(endpoint.id, lambda _: None)
    with pytest.raises(NotFound):
        await epr.register.get(endpoint.id)


async def test_an_id_can_be_registered_again_at_once(
    epr: Replica, creds: FakeCreds, store: DocumentStore, events: Events
) -> None:
    revisions = []
    for number in range(5):
        endpoint, _ = await epr.registrar.register(wanted("id-1", f"token{number}", {"number": number}))
        revisions.append(endpoint.revision)
        assert (await epr.register.get("id-1")).metadata == {"number": number}
        assert list(creds.tokens) == [("kettle", f"token{number}")], "those of its predecessors are gone"
        await epr.register.unregister("id-1", lambda _: None)
    await until(lambda: len(events.messages) >= 10)
    assert list(dict.fromkeys(events.ids)) == [
        f"id-1:{revision + later}:lifecycle.{event}"
        for revision in revisions
        for later, event in enumerate(["registered", "unregistered"])
    ]
    assert revisions == sorted(set(revisions))


async def test_a_failed_registration_does_not_lose_the_event_of_the_predecessor(
    epr: Replica, lonely_registrar: Registrar, store: DocumentStore, names: Names
) -> None:
    gone = (await epr.endpoint({}, endpoint_id="id-1")).unregistered()
    waiting = {"subject": f"kaa.v1.events.{names.epr}.x", "data": "AAAA", "headers": {"Nats-Msg-Id": "1"}}
    tombstone = gone._replace(outbox=(waiting,), pending=2**50)
    assert await store.replace(ENDPOINTS, tombstone.to_document(), gone.revision - 1)
    with pytest.raises(Unavailable):
        await lonely_registrar.register(wanted("id-1"))
    await epr.registrar.sweep()
    [left] = await everything(store)
    assert (left.state, left.outbox) == (State.UNREGISTERED, (waiting,))
