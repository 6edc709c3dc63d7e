import asyncio
import logging

import pytest

from creds.model import TokenStatus
from creds.tokens import Tokens
from kaa_common.clock import Deadline, now_ms
from kaa_common.messages.ecap import (
    TRANSITION_TOKEN_STATUS,
    VALIDATE_TOKEN,
    EndpointTokenRevokedEvent,
    EndpointTokenStatusTransitionRequest,
    EndpointTokenStatusTransitionResponse,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.messages.elce import UNREGISTERED, UnregisteredEvent
from kaa_common.messages.etp import (
    DISCARD_TOKENS,
    PROVISION_TOKEN,
    EndpointTokenProvisionRequest,
    EndpointTokenProvisionResponse,
    EndpointTokensDiscardRequest,
)
from kaa_common.rpc import Rpc, request_header

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def validate(rpc: Rpc, served: str, token: str, app_name: str = "app") -> EndpointTokenValidationResponse:
    request = EndpointTokenValidationRequest(**request_header(Deadline.after(5)), app_name=app_name, token=token)
    return (await rpc.call(VALIDATE_TOKEN, served, request)).message


async def transition(rpc: Rpc, served: str, token: str, target: str) -> EndpointTokenStatusTransitionResponse:
    request = EndpointTokenStatusTransitionRequest(
        **request_header(Deadline.after(5)), app_name="app", token=token, target_status=target
    )
    return (await rpc.call(TRANSITION_TOKEN_STATUS, served, request)).message


async def provision(
    rpc: Rpc, served: str, token: str | None, endpoint_id: str = "endpoint"
) -> EndpointTokenProvisionResponse:
    request = EndpointTokenProvisionRequest(
        **request_header(Deadline.after(5)), tenant_id="tenant", app_name="app", endpoint_id=endpoint_id, token=token
    )
    return (await rpc.call(PROVISION_TOKEN, served, request)).message


async def test_a_token_is_provisioned_and_validated(rpc: Rpc, served: str) -> None:
    provisioned = await provision(rpc, served, None)
    assert (provisioned.status_code, provisioned.token_status) == (201, "Inactive")
    assert provisioned.token is not None
    validated = await validate(rpc, served, provisioned.token)
    assert (validated.status_code, validated.endpoint_id) == (200, "endpoint")
    assert validated.token_id == provisioned.token_id


async def test_provisioning_again_answers_the_same_token(rpc: Rpc, served: str) -> None:
    first = await provision(rpc, served, "t0ken")
    await validate(rpc, served, "t0ken")
    again = await provision(rpc, served, "t0ken")
    assert (again.status_code, again.token_id, again.token_status) == (201, first.token_id, "Active")


async def test_provisioning_is_refused_with_the_reason(rpc: Rpc, served: str) -> None:
    await provision(rpc, served, "t0ken")
    taken = await provision(rpc, served, "t0ken", "other")
    malformed = await provision(rpc, served, "a/b")
    assert (taken.status_code, taken.token_id, malformed.status_code) == (409, None, 400)
    assert taken.reason_phrase == "the token belongs to another endpoint"


async def test_validation_says_what_is_wrong(rpc: Rpc, served: str, tokens: Tokens) -> None:
    for token, status in (("one", TokenStatus.SUSPENDED), ("two", TokenStatus.REVOKED)):
        await tokens.provision("tenant", "app", "endpoint", token)
        await tokens.move("app", token, status)
    answers = [await validate(rpc, served, token) for token in ("one", "two", "three", "a#b", "")]
    assert [(answer.status_code, answer.reason_phrase) for answer in answers[:3]] == [
        (403, "the token is suspended"),
        (403, "the token is revoked"),
        (404, "unknown token"),
    ]
    assert [answer.status_code for answer in answers[3:]] == [400, 400]
    assert all(answer.token_id is None and answer.endpoint_id is None for answer in answers)


async def test_a_status_is_changed_on_request(rpc: Rpc, served: str) -> None:
    await provision(rpc, served, "t0ken")
    steps = [("Suspended", 200), ("Active", 200), ("Revoked", 200), ("Active", 409), ("Gone", 400)]
    for target, status_code in steps:
        assert (await transition(rpc, served, "t0ken", target)).status_code == status_code
    assert (await transition(rpc, served, "t0ken", "Active")).reason_phrase == (
        "a token cannot go from Revoked to Active"
    )
    assert (await transition(rpc, served, "other", "Active")).status_code == 404


async def test_discarding_twice_is_fine(rpc: Rpc, served: str) -> None:
    await provision(rpc, served, "t0ken")
    for _ in range(2):
        request = EndpointTokensDiscardRequest(
            **request_header(Deadline.after(5)), app_name="app", endpoint_id="endpoint"
        )
        assert (await rpc.call(DISCARD_TOKENS, served, request)).message.status_code == 200
    assert (await validate(rpc, served, "t0ken")).status_code == 404


async def test_the_tokens_of_an_unregistered_endpoint_are_deleted_and_that_is_announced(
    rpc: Rpc, served: str, tokens: Tokens, suffix: str, revoked: list[EndpointTokenRevokedEvent]
) -> None:
    ids = {(await provision(rpc, served, token)).token_id for token in ("one", "two")}
    await provision(rpc, served, "three", "other")
    event = UnregisteredEvent(
        correlation_id="c",
        timestamp=now_ms() + 1,
        app_version_name="app-v1",
        endpoint_id="endpoint",
        originator_replica_id="epr-1",
    )
    await rpc.emit(UNREGISTERED, f"epr-{suffix}", event)
    async with asyncio.timeout(5):
        while len(revoked) < 2:
            await asyncio.sleep(0.001)
    assert {token_id for event in revoked for token_id in event.token_ids} == ids
    assert await tokens.of_endpoint("endpoint") == []
    assert (await validate(rpc, served, "three")).status_code == 200


async def test_a_late_copy_of_the_event_spares_the_tokens_of_an_endpoint_registered_again(
    rpc: Rpc, served: str, tokens: Tokens, suffix: str, revoked: list[EndpointTokenRevokedEvent]
) -> None:
    await provision(rpc, served, "t0ken")
    await provision(rpc, served, "other", "other")
    for endpoint_id, timestamp in (("endpoint", now_ms() - 60_000), ("other", now_ms() + 1)):
        event = UnregisteredEvent(
            correlation_id="c",
            timestamp=timestamp,
            app_version_name="app-v1",
            endpoint_id=endpoint_id,
            originator_replica_id="epr-1",
        )
        await rpc.emit(UNREGISTERED, f"epr-{suffix}", event)
    async with asyncio.timeout(5):
        while not revoked:
            await asyncio.sleep(0.001)
    assert [event.endpoint_id for event in revoked] == ["other"]
    assert (await validate(rpc, served, "t0ken")).status_code == 200


async def test_no_token_is_logged(rpc: Rpc, served: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await provision(rpc, served, "s3cr3t")
    await provision(rpc, served, "s3cr3t", "other")
    await provision(rpc, served, "s3cr3t/malformed")
    generated = (await provision(rpc, served, None)).token
    for token in ("s3cr3t", "s3cr3t2", "s3cr3t.malformed"):
        await validate(rpc, served, token)
        await transition(rpc, served, token, "Suspended")
        await transition(rpc, served, token, "Suspended")
    assert generated is not None
    assert generated not in caplog.text
    assert "s3cr3t" not in caplog.text
