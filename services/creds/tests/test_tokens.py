import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from creds import tokens as module
from creds.documents import TOKENS
from creds.hashing import TokenKeys
from creds.model import Token, TokenStatus
from creds.tokens import MAX_TOKENS, Provisioned, Tokens
from kaa_common.errors import BadRequest, Conflict, Forbidden, KaaError, NotFound, PreconditionFailed
from kaa_common.messages.ecap import EndpointTokenRevokedEvent
from kaa_common.store import DocumentStore, StoreUnavailable

ACTIVE, SUSPENDED, REVOKED = TokenStatus.ACTIVE, TokenStatus.SUSPENDED, TokenStatus.REVOKED


def any_revision(_: int) -> None:
    pass


def no_revision(_: int) -> None:
    raise PreconditionFailed


async def provision(tokens: Tokens, value: str | None = "t0ken", endpoint_id: str = "endpoint") -> Provisioned:
    return await tokens.provision("tenant", "app", endpoint_id, value)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_generated_token_is_new_and_can_be_used(tokens: Tokens) -> None:
    provisioned = [await provision(tokens, None) for _ in range(3)]
    assert len({p.value for p in provisioned}) == 3
    for one in provisioned:
        assert (len(one.value), one.value.isalnum(), one.value.isascii()) == (10, True, True)
        assert one.token.status is TokenStatus.INACTIVE
        assert (await tokens.validate("app", one.value)).id == one.token.id


async def test_the_value_is_kept_nowhere(tokens: Tokens, store: DocumentStore) -> None:
    provisioned = await provision(tokens)
    document = (await store.get(TOKENS, [provisioned.token.id]))[provisioned.token.id]
    assert "t0ken" not in repr(document)
    assert document["hash"].startswith("new:")
    assert "t0ken" not in repr(provisioned)


async def test_provisioning_the_same_again_changes_nothing(tokens: Tokens) -> None:
    first = await provision(tokens)
    await tokens.validate("app", "t0ken")
    again = await provision(tokens)
    assert (again.token.id, again.token.status, again.is_new) == (first.token.id, ACTIVE, False)


async def test_a_token_of_another_endpoint_is_taken(tokens: Tokens) -> None:
    await provision(tokens)
    with pytest.raises(Conflict):
        await provision(tokens, endpoint_id="other")
    assert (await tokens.validate("app", "t0ken")).endpoint_id == "endpoint"


async def test_the_same_value_in_another_application_is_another_token(tokens: Tokens) -> None:
    first = await provision(tokens)
    second = await tokens.provision("tenant", "other", "elsewhere", "t0ken")
    assert (await tokens.validate("app", "t0ken")).id == first.token.id
    assert (await tokens.validate("other", "t0ken")).id == second.token.id


async def test_one_of_many_simultaneous_provisions_of_a_value_wins(tokens: Tokens) -> None:
    winners: list[Provisioned] = []
    losers: list[Conflict] = []

    async def try_to_provision(endpoint_id: str) -> None:
        try:
            winners.append(await provision(tokens, endpoint_id=endpoint_id))
        except Conflict as exc:
            losers.append(exc)

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(try_to_provision(f"endpoint-{number}"))
    assert (len(winners), len(losers)) == (1, 19)
    assert (await tokens.validate("app", "t0ken")).endpoint_id == winners[0].token.endpoint_id


@pytest.mark.parametrize("attempt", range(5))
async def test_one_wins_also_while_the_current_key_changes(
    make_tokens: Callable[[TokenKeys], Tokens], attempt: int
) -> None:
    """Replicas of a rolling restart hash the same value differently."""
    one, other = "one:0123456789abcdef", "other:fedcba9876543210"
    replicas = [make_tokens(TokenKeys.parse(f"{one},{other}")), make_tokens(TokenKeys.parse(f"{other},{one}"))]
    winners: list[Provisioned] = []

    async def try_to_provision(tokens: Tokens, endpoint_id: str) -> None:
        with contextlib.suppress(Conflict):
            winners.append(await provision(tokens, endpoint_id=endpoint_id))

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(try_to_provision(replicas[number % 2], f"endpoint-{number}"))
    assert len(winners) == 1
    for tokens in replicas:
        assert (await tokens.validate("app", "t0ken")).id == winners[0].token.id


async def test_simultaneous_provisions_for_one_endpoint_get_one_token(tokens: Tokens) -> None:
    async with asyncio.TaskGroup() as tasks:
        attempts = [tasks.create_task(provision(tokens)) for _ in range(10)]
    assert len({attempt.result().token.id for attempt in attempts}) == 1
    assert sum(attempt.result().is_new for attempt in attempts) == 1


async def test_the_tokens_of_an_endpoint_are_bounded(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creds.tokens.MAX_TOKENS", 2)
    assert MAX_TOKENS > 2
    await provision(tokens, None)
    await provision(tokens, None)
    with pytest.raises(Conflict):
        await provision(tokens, None)
    await provision(tokens, None, "other")


async def test_the_first_use_activates(tokens: Tokens) -> None:
    provisioned = await provision(tokens)
    used = await tokens.validate("app", "t0ken")
    assert (used.id, used.endpoint_id, used.status) == (provisioned.token.id, "endpoint", ACTIVE)
    assert await tokens.validate("app", "t0ken") == used


async def test_many_first_uses_at_once_are_one_activation(tokens: Tokens) -> None:
    await provision(tokens)
    async with asyncio.TaskGroup() as tasks:
        uses = [tasks.create_task(tokens.validate("app", "t0ken")) for _ in range(20)]
    assert {use.result().revision for use in uses} == {2}


@pytest.mark.parametrize("value", ["", "a/b", "x" * 129])
async def test_a_malformed_token_is_refused(tokens: Tokens, value: str) -> None:
    with pytest.raises(BadRequest):
        await tokens.validate("app", value)
    with pytest.raises(BadRequest):
        await tokens.move("app", value, ACTIVE)
    with pytest.raises(BadRequest):
        await provision(tokens, value)


async def test_an_unknown_token_is_not_found(tokens: Tokens) -> None:
    await provision(tokens)
    for app_name, value in (("app", "other"), ("other", "t0ken"), ("app", "T0KEN")):
        with pytest.raises(NotFound):
            await tokens.validate(app_name, value)


@pytest.mark.parametrize("status", [SUSPENDED, REVOKED])
async def test_a_suspended_or_revoked_token_is_refused_saying_which(tokens: Tokens, status: TokenStatus) -> None:
    await provision(tokens)
    await tokens.move("app", "t0ken", status)
    with pytest.raises(Forbidden, match=status.lower()):
        await tokens.validate("app", "t0ken")


async def test_a_suspended_token_can_be_activated_again(tokens: Tokens) -> None:
    await provision(tokens)
    await tokens.move("app", "t0ken", SUSPENDED)
    await tokens.move("app", "t0ken", ACTIVE)
    assert (await tokens.validate("app", "t0ken")).status is ACTIVE


async def test_an_illegal_transition_is_a_conflict(tokens: Tokens) -> None:
    await provision(tokens)
    await tokens.move("app", "t0ken", REVOKED)
    with pytest.raises(Conflict, match="Revoked to Active"):
        await tokens.move("app", "t0ken", ACTIVE)


async def test_a_token_is_found_by_its_endpoint_and_id(tokens: Tokens) -> None:
    token = (await provision(tokens)).token
    with pytest.raises(NotFound):
        await tokens.move_of("other", token.id, SUSPENDED, any_revision)
    with pytest.raises(NotFound):
        await tokens.delete("other", token.id, any_revision)
    assert (await tokens.move_of("endpoint", token.id, SUSPENDED, any_revision)).status is SUSPENDED


async def test_a_change_of_another_revision_changes_nothing(tokens: Tokens) -> None:
    token = (await provision(tokens)).token
    with pytest.raises(PreconditionFailed):
        await tokens.move_of("endpoint", token.id, SUSPENDED, no_revision)
    with pytest.raises(PreconditionFailed):
        await tokens.delete("endpoint", token.id, no_revision)
    assert await tokens.of_endpoint("endpoint") == [token]


async def test_suspending_revoking_and_deleting_are_announced(
    tokens: Tokens, revoked: list[EndpointTokenRevokedEvent]
) -> None:
    token = (await provision(tokens)).token
    await tokens.validate("app", "t0ken")
    await tokens.move("app", "t0ken", SUSPENDED)
    await tokens.move("app", "t0ken", ACTIVE)
    await tokens.move("app", "t0ken", REVOKED)
    await tokens.delete("endpoint", token.id, any_revision)
    await eventually(lambda: len(revoked) == 3)
    for event in revoked:
        assert (event.app_name, event.endpoint_id, event.token_ids) == ("app", "endpoint", (token.id,))
        assert event.originator_replica_id == "replica"


async def test_a_deleted_token_is_gone_and_its_value_free(tokens: Tokens, store: DocumentStore) -> None:
    token = (await provision(tokens)).token
    await tokens.delete("endpoint", token.id, any_revision)
    with pytest.raises(NotFound):
        await tokens.validate("app", "t0ken")
    with pytest.raises(NotFound):
        await tokens.delete("endpoint", token.id, any_revision)
    assert await tokens.of_endpoint("endpoint") == []
    assert (await provision(tokens, endpoint_id="other")).is_new
    async with asyncio.timeout(5):
        while await store.get(TOKENS, [token.id]):
            await asyncio.sleep(0.001)


async def test_discarding_twice_at_once_leaves_nothing_of_the_endpoint(tokens: Tokens) -> None:
    for _ in range(3):
        await provision(tokens, None)
    await tokens.provision("tenant", "app", "other", "t0ken")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tokens.discard("endpoint", lambda _: True))
        tasks.create_task(tokens.discard("endpoint", lambda _: True))
    assert await tokens.of_endpoint("endpoint") == []
    assert (await tokens.validate("app", "t0ken")).endpoint_id == "other"


async def test_discarding_takes_only_what_is_meant(tokens: Tokens) -> None:
    kept = (await provision(tokens, "one")).token
    await provision(tokens, "two")
    await tokens.discard("endpoint", lambda token: token.id != kept.id)
    assert await tokens.of_endpoint("endpoint") == [kept]


async def test_tokens_are_listed_in_the_order_of_creation(tokens: Tokens) -> None:
    for _ in range(3):
        await provision(tokens, None)
    oldest_first = await tokens.of_endpoint("endpoint")
    assert [token.created_ms for token in oldest_first] == sorted(token.created_ms for token in oldest_first)
    assert await tokens.of_endpoint("endpoint", newest_first=True) == oldest_first[::-1]


async def test_tokens_are_listed_by_status(tokens: Tokens) -> None:
    await provision(tokens, "one")
    await provision(tokens, "two")
    used = await tokens.validate("app", "two")
    assert await tokens.of_endpoint("endpoint", [ACTIVE, REVOKED]) == [used]


async def test_tokens_of_an_older_key_are_found_and_still_taken(
    make_tokens: Callable[[TokenKeys], Tokens],
) -> None:
    before = make_tokens(TokenKeys.parse("old:fedcba9876543210"))
    token = (await provision(before)).token
    after = make_tokens(TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210"))
    assert (await after.validate("app", "t0ken")).id == token.id
    with pytest.raises(Conflict):
        await provision(after, endpoint_id="other")
    forgetful = make_tokens(TokenKeys.parse("new:0123456789abcdef"))
    with pytest.raises(NotFound):
        await forgetful.validate("app", "t0ken")


async def test_a_token_in_use_moves_to_the_current_key_so_that_the_older_one_can_go(
    make_tokens: Callable[[TokenKeys], Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_HASHES_AFTER", 0.0)
    before = make_tokens(TokenKeys.parse("old:fedcba9876543210"))
    used = (await provision(before, "used")).token
    await provision(before, "unused")
    await before.validate("app", "used")
    after = make_tokens(TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210"))
    assert await after.count_older() == {"old": 2}
    for _ in range(3):
        assert (await after.validate("app", "used")).status is ACTIVE
    assert await after.count_older() == {"old": 1}
    only_new = make_tokens(TokenKeys.parse("new:0123456789abcdef"))
    assert (await only_new.validate("app", "used")).id == used.id
    with pytest.raises(NotFound):
        await only_new.validate("app", "unused")
    moved = await only_new.get("endpoint", used.id)
    assert moved == replace(await before.get("endpoint", used.id), revision=moved.revision)


async def test_a_token_stays_under_the_older_key_while_replicas_may_not_know_the_current_one(
    make_tokens: Callable[[TokenKeys], Tokens],
) -> None:
    before = make_tokens(TokenKeys.parse("old:fedcba9876543210"))
    await provision(before)
    await before.validate("app", "t0ken")
    restarted = make_tokens(TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210"))
    await restarted.validate("app", "t0ken")
    assert (await before.validate("app", "t0ken")).status is ACTIVE


async def test_a_store_that_takes_no_writes_does_not_keep_a_token_of_an_older_key_out(
    make_tokens: Callable[[TokenKeys], Tokens], store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_HASHES_AFTER", 0.0)
    before = make_tokens(TokenKeys.parse("old:fedcba9876543210"))
    await provision(before)
    await before.validate("app", "t0ken")

    async def fail(*_: object) -> bool:
        raise StoreUnavailable("no primary")

    monkeypatch.setattr(store, "replace", fail)
    after = make_tokens(TokenKeys.parse("new:0123456789abcdef,old:fedcba9876543210"))
    assert (await after.validate("app", "t0ken")).status is ACTIVE


@pytest.mark.parametrize("seed", range(3))
async def test_a_first_use_never_wins_over_a_suspension(tokens: Tokens, seed: int) -> None:
    picking = random.Random(seed)
    for number in range(5):
        value = f"token-{seed}-{number}"
        await provision(tokens, value, f"endpoint-{number}")
        uses = [tokens.validate("app", value) for _ in range(5)]
        uses.insert(picking.randrange(6), tokens.move("app", value, SUSPENDED))
        async with asyncio.TaskGroup() as tasks:
            for use in uses:
                tasks.create_task(outcome(use))
        with pytest.raises(Forbidden):
            await tokens.validate("app", value)


@pytest.mark.parametrize("seed", range(3))
async def test_changes_at_the_same_time_are_as_if_one_came_after_the_other(
    tokens: Tokens, revoked: list[EndpointTokenRevokedEvent], seed: int
) -> None:
    picking = random.Random(seed)
    token = (await provision(tokens)).token
    moves = picking.choices([ACTIVE, SUSPENDED, SUSPENDED, ACTIVE, REVOKED], weights=[4, 4, 4, 4, 1], k=24)
    async with asyncio.TaskGroup() as tasks:
        attempts = [tasks.create_task(outcome(tokens.move("app", "t0ken", target))) for target in moves]
    results = [result for attempt in attempts if isinstance(result := attempt.result(), Token)]
    assert sorted(result.revision for result in results) == list(range(2, len(results) + 2))
    [last] = await tokens.of_endpoint("endpoint")
    assert last.status is max(results, key=lambda result: result.revision).status
    assert last.endpoint_id == token.endpoint_id
    if any(result.status is REVOKED for result in results):
        assert last.status is REVOKED
    refused = [result for result in results if result.status in (SUSPENDED, REVOKED)]
    await eventually(lambda: len(revoked) >= len(refused))
    assert len(revoked) == len(refused)


async def outcome(attempt: Awaitable[Token]) -> Token | KaaError:
    try:
        return await attempt
    except (Conflict, Forbidden) as exc:
        return exc
