import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from kaa_common.app_versions import AppVersion
from kaa_common.budget import Budget
from kaa_common.clock import Deadline
from kaa_common.errors import TooManyRequests, Unauthorized, Unavailable
from kaa_common.rpc import Rpc
from kpc.tokens import BELIEVED_FOR, TRUSTED_FOR, Guesser, Identity, Tokens

from .conftest import APP, ENDPOINT, TOKEN, TOKEN_ID, Backend

VERSION = AppVersion(name="app-v1", app_name=APP, tenant_id="default", config={})


def some_guesses(count: int = 5) -> Guesser:
    return Guesser(Budget(burst=count, per_second=0, max_names=1), "device")


def deadline() -> Deadline:
    return Deadline.after(2)


async def test_a_token_is_asked_once_and_then_known(tokens: Tokens, backend: Backend) -> None:
    for _ in range(3):
        assert await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline()) == Identity(ENDPOINT, TOKEN_ID)
    assert backend.validations == 1


@pytest.mark.parametrize(
    ("status_code", "reason"),
    [(404, "unknown endpoint token"), (403, "the token is Suspended"), (400, "malformed endpoint token")],
)
async def test_a_token_that_is_not_good_is_unauthorized_and_asked_again(
    tokens: Tokens, backend: Backend, status_code: int, reason: str
) -> None:
    backend.token_status, backend.token_reason = status_code, reason
    for _ in range(2):
        with pytest.raises(Unauthorized, match=reason):
            await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 2


async def test_a_token_of_another_application_is_unknown(tokens: Tokens) -> None:
    with pytest.raises(Unauthorized):
        await tokens.resolve(replace(VERSION, app_name="another-app"), TOKEN, some_guesses(), deadline())


async def test_a_revoked_token_is_asked_again_at_once(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    tokens.revoke([TOKEN_ID])
    backend.token_status = 403
    with pytest.raises(Unauthorized):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())


async def test_a_token_that_is_good_again_is_kept_again(tokens: Tokens, backend: Backend) -> None:
    tokens.revoke([TOKEN_ID])
    for _ in range(3):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 1


async def test_the_revocation_of_another_token_does_not_matter(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    tokens.revoke(["another"])
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 1


@pytest.mark.parametrize("overtake", [lambda tokens: tokens.revoke([TOKEN_ID]), Tokens.forget])
async def test_an_answer_that_a_revocation_overtook_is_asked_for_again(
    tokens: Tokens, backend: Backend, overtake: Callable[[Tokens], None]
) -> None:
    """A session would be made of it, which nothing would end any more."""

    def revoke() -> None:
        backend.on_validation, backend.token_status = None, 403
        overtake(tokens)

    backend.on_validation = revoke
    with pytest.raises(Unauthorized):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 2


async def test_an_answer_that_the_revocation_of_another_token_overtook_is_kept(
    tokens: Tokens, backend: Backend
) -> None:
    backend.on_validation = lambda: tokens.revoke(["another"])
    for _ in range(2):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 1


async def test_nothing_is_believed_after_events_may_have_been_missed(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    tokens.forget()
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 2


async def test_what_is_kept_is_believed_only_as_long_as_the_bus_works(edge_rpc: Rpc, backend: Backend) -> None:
    now = 0.0
    tokens = Tokens(edge_rpc, backend.cm, clock=lambda: now)
    tokens.trust(since=now)
    for _ in range(2):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 1
    now = TRUSTED_FOR
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 2
    tokens.trust(since=now)
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    assert backend.validations == 2


async def test_without_a_credentials_service_a_token_cannot_be_resolved(edge_rpc: Rpc) -> None:
    with pytest.raises(Unavailable, match="nobody serves nowhere"):
        await Tokens(edge_rpc, "nowhere").resolve(VERSION, TOKEN, some_guesses(), deadline())


async def test_who_got_too_many_wrong_is_not_asked_about_any_more(tokens: Tokens, backend: Backend) -> None:
    guesses = some_guesses(3)
    for number in range(3):
        with pytest.raises(Unauthorized):
            await tokens.resolve(VERSION, f"wrong{number}", guesses, deadline())
    with pytest.raises(TooManyRequests):
        await tokens.resolve(VERSION, TOKEN, guesses, deadline())
    assert backend.validations == 3


async def test_a_token_that_is_known_goes_on_beside_one_who_guesses(tokens: Tokens) -> None:
    guesses = some_guesses(1)
    await tokens.resolve(VERSION, TOKEN, guesses, deadline())
    with pytest.raises(Unauthorized):
        await tokens.resolve(VERSION, "wrong", guesses, deadline())
    assert (await tokens.resolve(VERSION, TOKEN, guesses, deadline())).endpoint_id == ENDPOINT


async def test_guesses_at_the_same_time_gain_nothing(edge_rpc: Rpc, backend: Backend) -> None:
    now = 0.0
    tokens = Tokens(edge_rpc, backend.cm, clock=lambda: now)
    guesser = Guesser(Budget(burst=5, per_second=1, max_names=1), "device")

    async def guess(number: int) -> None:
        with contextlib.suppress(Unauthorized, TooManyRequests):
            await tokens.resolve(VERSION, f"wrong{number}", guesser, deadline())

    for _ in range(60):
        async with asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(guess(number))
        now += 1
    assert backend.validations <= 60 + 5 + 30


async def test_devices_at_work_do_not_wait_for_those_who_guess(
    edge_rpc: Rpc, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpc.tokens.TENANT_GUESSES", 1)
    monkeypatch.setattr("kpc.tokens.TENANT_GUESSES_PER_SECOND", 0)
    now = 0.0
    tokens = Tokens(edge_rpc, backend.cm, clock=lambda: now)
    tokens.trust(since=now)
    await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    with pytest.raises(Unauthorized):
        await tokens.resolve(VERSION, "wrong", some_guesses(), deadline())
    now = BELIEVED_FOR + TRUSTED_FOR
    tokens.forget()
    assert (await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())).endpoint_id == ENDPOINT
    assert backend.validations == 3


async def test_a_token_that_is_no_good_any_more_has_to_wait_as_others_have_to(tokens: Tokens, backend: Backend) -> None:
    guesses = some_guesses(1)
    await tokens.resolve(VERSION, TOKEN, guesses, deadline())
    tokens.revoke([TOKEN_ID])
    backend.token_status = 403
    with pytest.raises(Unauthorized):
        await tokens.resolve(VERSION, TOKEN, guesses, deadline())
    with pytest.raises(TooManyRequests):
        await tokens.resolve(VERSION, TOKEN, guesses, deadline())


async def test_all_guesses_of_a_tenant_count_together(
    edge_rpc: Rpc, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpc.tokens.TENANT_GUESSES", 2)
    monkeypatch.setattr("kpc.tokens.TENANT_GUESSES_PER_SECOND", 0)
    tokens = Tokens(edge_rpc, backend.cm)
    for number in range(2):
        with pytest.raises(Unauthorized):
            await tokens.resolve(VERSION, f"wrong{number}", some_guesses(), deadline())
    with pytest.raises(TooManyRequests):
        await tokens.resolve(VERSION, TOKEN, some_guesses(), deadline())
    other = replace(VERSION, tenant_id="other")
    assert (await tokens.resolve(other, TOKEN, some_guesses(), deadline())).endpoint_id == ENDPOINT
