import asyncio

import pytest

from kaa_common.clock import Deadline
from kaa_common.errors import Unauthorized, Unavailable
from kaa_common.rpc import Rpc
from kpc.tokens import TRUSTED_FOR, Identity, Tokens

from .conftest import APP, ENDPOINT, TOKEN, TOKEN_ID, Backend


def deadline() -> Deadline:
    return Deadline.after(2)


async def test_a_token_is_asked_once_and_then_known(tokens: Tokens, backend: Backend) -> None:
    for _ in range(3):
        assert await tokens.resolve(APP, TOKEN, deadline()) == Identity(ENDPOINT, TOKEN_ID)
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
            await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 2


async def test_a_token_of_another_application_is_unknown(tokens: Tokens) -> None:
    with pytest.raises(Unauthorized):
        await tokens.resolve("another-app", TOKEN, deadline())


async def test_a_revoked_token_is_asked_again_at_once(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(APP, TOKEN, deadline())
    tokens.revoke([TOKEN_ID])
    backend.token_status = 403
    with pytest.raises(Unauthorized):
        await tokens.resolve(APP, TOKEN, deadline())


async def test_a_token_that_is_good_again_is_kept_again(tokens: Tokens, backend: Backend) -> None:
    tokens.revoke([TOKEN_ID])
    for _ in range(3):
        await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 1


async def test_the_revocation_of_another_token_does_not_matter(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(APP, TOKEN, deadline())
    tokens.revoke(["another"])
    await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 1


async def test_an_answer_that_a_revocation_overtook_is_not_kept(tokens: Tokens, backend: Backend) -> None:
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(tokens.resolve(APP, TOKEN, deadline()))
        await asyncio.sleep(0)
        tokens.revoke([TOKEN_ID])
    assert asking.result().endpoint_id == ENDPOINT
    await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 2


async def test_nothing_is_believed_after_events_may_have_been_missed(tokens: Tokens, backend: Backend) -> None:
    await tokens.resolve(APP, TOKEN, deadline())
    tokens.forget()
    await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 2


async def test_what_is_kept_is_believed_only_as_long_as_the_bus_works(edge_rpc: Rpc, backend: Backend) -> None:
    now = 0.0
    tokens = Tokens(edge_rpc, backend.cm, clock=lambda: now)
    tokens.trust()
    for _ in range(2):
        await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 1
    now = TRUSTED_FOR
    await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 2
    tokens.trust()
    await tokens.resolve(APP, TOKEN, deadline())
    assert backend.validations == 2


async def test_without_a_credentials_service_a_token_cannot_be_resolved(edge_rpc: Rpc) -> None:
    with pytest.raises(Unavailable, match="nobody serves nowhere"):
        await Tokens(edge_rpc, "nowhere").resolve(APP, TOKEN, deadline())
