import asyncio
import re
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Literal

import pytest
from argon2 import PasswordHasher

from creds.clients import basic
from creds.clients.app import Clients, ClientsOptions
from creds.clients.basic import BasicClients, Created
from creds.clients.documents import BASIC_CREDENTIALS
from creds.clients.model import State
from kaa_common.errors import BadRequest, Conflict, Forbidden, KaaError, NotFound, TooManyRequests, Unavailable
from kaa_common.store import DocumentStore
from support.waiting import until

PASSWORD = "correct horse"

Opened = Callable[[ClientsOptions], AbstractAsyncContextManager[Clients]]


class CountingHasher(PasswordHasher):
    """A cheap one that knows how often it was asked."""

    verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 # the name in argon2
        self.verified += 1
        return super().verify(hash, password)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def make_options(make_options: Callable[..., ClientsOptions], hasher: CountingHasher) -> Callable[..., ClientsOptions]:
    return lambda **options: replace(make_options(**options), hasher=hasher)


@pytest.fixture
def users(clients: Clients) -> BasicClients:
    return clients.basic


async def create(users: BasicClients, username: str = "user", password: str = PASSWORD) -> Created:
    return await users.create("tenant", username, password)


async def outcome(users: BasicClients, username: str, password: str) -> type[KaaError] | None:
    """The error of an authentication."""
    try:
        await users.authenticate("tenant", username, password)
    except KaaError as exc:
        return type(exc)
    return None


def any_revision(_: int) -> None:
    pass


async def test_generated_credentials_can_be_used(users: BasicClients) -> None:
    created = [await users.create("tenant", None, None) for _ in range(3)]
    assert len({one.credentials.username for one in created}) == 3
    for one in created:
        assert re.fullmatch("[a-z]+-[a-z]+", one.credentials.username)
        assert re.fullmatch("[A-Za-z0-9]{20}", one.password)
        assert one.password not in repr(one)
        used = await users.authenticate("tenant", one.credentials.username, one.password)
        assert (used.id, used.state, used.revision) == (one.credentials.id, State.ACTIVE, 2)


async def test_given_credentials_can_be_used(users: BasicClients) -> None:
    created = await create(users)
    assert (created.credentials.username, created.password) == ("user", PASSWORD)
    assert (await users.authenticate("tenant", "user", PASSWORD)).id == created.credentials.id


async def test_a_username_is_taken_once_per_tenant(users: BasicClients) -> None:
    first = await create(users)
    with pytest.raises(Conflict, match="username"):
        await create(users, password="battery staple")
    other = await users.create("other", "user", "battery staple")
    assert (await users.authenticate("tenant", "user", PASSWORD)).id == first.credentials.id
    assert (await users.authenticate("other", "user", "battery staple")).id == other.credentials.id


async def test_one_of_many_simultaneous_creations_of_a_username_wins(users: BasicClients) -> None:
    results: list[Created | Conflict] = []

    async def attempt() -> None:
        try:
            results.append(await create(users))
        except Conflict as exc:
            results.append(exc)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(attempt())
    assert sum(isinstance(result, Created) for result in results) == 1
    assert len(results) == 10


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_generated_name_that_is_taken_is_followed_by_a_number(
    users: BasicClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basic, "generate_name", lambda _: "able-acorn")
    names = [(await users.create("tenant", None, PASSWORD)).credentials.username for _ in range(3)]
    assert names[0] == "able-acorn"
    assert all(re.fullmatch(r"able-acorn-\d{6}", name) for name in names[1:])


async def test_many_first_uses_at_once_are_one_activation(users: BasicClients) -> None:
    await create(users)
    async with asyncio.TaskGroup() as tasks:
        uses = [tasks.create_task(users.authenticate("tenant", "user", PASSWORD)) for _ in range(20)]
    assert {use.result().revision for use in uses} == {2}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_wrong_password_and_an_unknown_user_are_told_the_same_and_cost_the_same(
    users: BasicClients, hasher: CountingHasher
) -> None:
    await create(users)
    refusals = []
    for username in ("user", "nobody"):
        before = hasher.verified
        with pytest.raises(NotFound) as refusal:
            await users.authenticate("tenant", username, "battery staple")
        refusals.append((str(refusal.value), hasher.verified - before))
    assert refusals[0] == refusals[1] == ("unknown username or wrong password", 1)
    assert await outcome(users, "nobody", PASSWORD) is NotFound
    with pytest.raises(NotFound):
        await users.authenticate("other", "user", PASSWORD)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("tenant_id", "username", "password"),
    [("a b", "user", PASSWORD), ("tenant", "", PASSWORD), ("tenant", "a@b", PASSWORD), ("tenant", "user", "short")],
)
async def test_malformed_credentials_are_refused(
    users: BasicClients, hasher: CountingHasher, tenant_id: str, username: str, password: str
) -> None:
    with pytest.raises(BadRequest):
        await users.authenticate(tenant_id, username, password)
    assert hasher.verified == 0
    if tenant_id == "tenant":
        with pytest.raises(BadRequest):
            await users.create(tenant_id, username, password)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [State.SUSPENDED, State.REVOKED])
async def test_who_knows_the_password_learns_that_it_is_suspended_or_revoked(users: BasicClients, state: State) -> None:
    created = await create(users)
    await users.authenticate("tenant", "user", PASSWORD)
    await users.lifecycle.move("tenant", created.credentials.id, state, any_revision)
    with pytest.raises(Forbidden, match=state.lower()):
        await users.authenticate("tenant", "user", PASSWORD)
    assert await outcome(users, "user", "battery staple") is NotFound


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_password_found_right_is_not_computed_again_but_the_state_is_read(
    users: BasicClients, hasher: CountingHasher
) -> None:
    created = await create(users)
    for _ in range(5):
        await users.authenticate("tenant", "user", PASSWORD)
    assert hasher.verified == 1
    await users.lifecycle.delete("tenant", created.credentials.id, any_revision)
    assert await outcome(users, "user", PASSWORD) is NotFound
    await create(users, password="battery staple")
    assert await outcome(users, "user", PASSWORD) is NotFound
    assert await outcome(users, "user", "battery staple") is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_fleet_that_shares_a_username_waits_for_one_check(users: BasicClients, hasher: CountingHasher) -> None:
    await create(users)
    async with asyncio.TaskGroup() as tasks:
        uses = [tasks.create_task(outcome(users, "user", PASSWORD)) for _ in range(basic.USERNAME_BURST * 3)]
    assert {use.result() for use in uses} == {None}
    assert hasher.verified == 1
    assert not users._checks


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_guessing_at_a_username_comes_to_an_end_and_others_go_on(
    users: BasicClients, hasher: CountingHasher
) -> None:
    await create(users)
    await create(users, "other")
    await create(users, "known")
    await users.authenticate("tenant", "known", PASSWORD)
    for username in ("user", "nobody", "known"):
        guesses = [await outcome(users, username, f"guess number {n}") for n in range(basic.USERNAME_BURST + 3)]
        assert guesses == [NotFound] * basic.USERNAME_BURST + [TooManyRequests] * 3
    before = hasher.verified
    assert await outcome(users, "user", PASSWORD) is TooManyRequests
    assert hasher.verified == before
    assert await outcome(users, "known", PASSWORD) is None
    assert await outcome(users, "other", PASSWORD) is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_guesses_at_the_same_time_do_not_slip_through(users: BasicClients, hasher: CountingHasher) -> None:
    await create(users)
    async with asyncio.TaskGroup() as tasks:
        guesses = [tasks.create_task(outcome(users, "user", f"guess number {n}")) for n in range(40)]
    results = [guess.result() for guess in guesses]
    assert results.count(NotFound) == hasher.verified == basic.USERNAME_BURST
    assert results.count(TooManyRequests) == 40 - basic.USERNAME_BURST


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_searching_for_usernames_of_a_tenant_comes_to_an_end(
    monkeypatch: pytest.MonkeyPatch, opened: Opened, make_options: Callable[..., ClientsOptions]
) -> None:
    monkeypatch.setattr(basic, "TENANT_BURST", 5)
    async with opened(make_options()) as fresh:
        await create(fresh.basic)
        results = [await outcome(fresh.basic, f"user-{number}", PASSWORD) for number in range(7)]
        assert results == [NotFound] * 5 + [TooManyRequests] * 2
        await fresh.basic.create("other", "user", PASSWORD)
        await fresh.basic.authenticate("other", "user", PASSWORD)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_made_up_tenants_are_no_way_around_the_budgets(
    monkeypatch: pytest.MonkeyPatch,
    opened: Opened,
    make_options: Callable[..., ClientsOptions],
    hasher: CountingHasher,
) -> None:
    monkeypatch.setattr(basic, "TENANT_BURST", 5)
    async with opened(make_options()) as fresh:
        await create(fresh.basic)
        refused = 0
        for number in range(20):
            try:
                await fresh.basic.authenticate(f"made-up-{number}", "user", PASSWORD)
            except TooManyRequests:
                refused += 1
            except NotFound:
                pass
        assert (hasher.verified, refused) == (5, 15)
        assert await outcome(fresh.basic, "user", PASSWORD) is None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_is_right_costs_nothing_of_the_budget(users: BasicClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users._passwords, "is_remembered", lambda _: False)
    await create(users)
    results = [await outcome(users, "user", PASSWORD) for _ in range(basic.USERNAME_BURST + 5)]
    assert set(results) == {None}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_more_checks_than_fit_are_refused_and_cost_nothing_of_the_budget(
    opened: Opened, make_options: Callable[..., ClientsOptions]
) -> None:
    release = threading.Event()
    async with opened(make_options(concurrency=1, queue=0)) as busy, asyncio.TaskGroup() as tasks:
        await create(busy.basic)
        tasks.create_task(busy.basic._passwords._workers.run(release.wait, 10))
        await asyncio.sleep(0)
        results = [await outcome(busy.basic, "user", f"guess number {n}") for n in range(basic.USERNAME_BURST * 2)]
        release.set()
        assert set(results) == {Unavailable}
    async with opened(make_options()) as idle:
        assert await outcome(idle.basic, "user", PASSWORD) is None


async def test_a_suspension_wins_over_a_check_that_had_begun(
    opened: Opened, make_options: Callable[..., ClientsOptions]
) -> None:
    release = threading.Event()
    async with opened(make_options(concurrency=1)) as clients, asyncio.TaskGroup() as tasks:
        users = clients.basic
        created = await create(users)
        tasks.create_task(users._passwords._workers.run(release.wait, 10))
        checking = tasks.create_task(outcome(users, "user", PASSWORD))
        await until(lambda: len(users._of_tenant) == 1)
        await users.lifecycle.move("tenant", created.credentials.id, State.SUSPENDED, any_revision)
        release.set()
    assert checking.result() is Forbidden


async def test_the_password_is_kept_nowhere(users: BasicClients, store: DocumentStore) -> None:
    created = await create(users)
    document = (await store.get(BASIC_CREDENTIALS, [created.credentials.id]))[created.credentials.id]
    assert document["passwordHash"].startswith("$argon2id$")
    assert PASSWORD not in repr(document)
