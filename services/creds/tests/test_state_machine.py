"""A token against a model: random changes by several clients at once, over REST and over 16/ECAP."""

import asyncio
from dataclasses import dataclass

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creds.model import TokenStatus
from creds.tokens import Tokens
from kaa_common.clock import Deadline
from kaa_common.messages.ecap import (
    TRANSITION_TOKEN_STATUS,
    VALIDATE_TOKEN,
    EndpointTokenRevokedEvent,
    EndpointTokenStatusTransitionRequest,
    EndpointTokenValidationRequest,
)
from kaa_common.rpc import Rpc, request_header
from support.status_model import DELETE, DELETED, USE, Answered, Model, explained, withdrawals
from support.waiting import until

REST, BUS = "over REST", "over the bus"
STATUSES = st.sampled_from([*TokenStatus, TokenStatus.SUSPENDED, TokenStatus.ACTIVE])
CHANGES = st.tuples(STATUSES, st.sampled_from([REST, BUS]))
ACTIONS = st.one_of(CHANGES, CHANGES, st.sampled_from([(USE, BUS), (DELETE, REST)]))
ROUNDS = st.lists(st.lists(ACTIONS, min_size=1, max_size=4), min_size=1, max_size=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The token under test."""

    rpc: Rpc
    instance: str
    client: httpx.AsyncClient
    path: str
    value: str

    async def do(self, step: str, way: str) -> Answered:
        if step == USE:
            return step, await self._use()
        if step == DELETE:
            return step, (await self.client.delete(self.path)).status_code
        if way == BUS:
            return step, await self._change_over_the_bus(step)
        return step, (await self.client.put(f"{self.path}/status", json={"status": step})).status_code

    async def shown(self) -> Model:
        answer = await self.client.get(self.path)
        return TokenStatus(answer.json()["status"]) if answer.status_code == 200 else DELETED

    async def _use(self) -> int:
        request = EndpointTokenValidationRequest(**request_header(Deadline.after(20)), app_name="app", token=self.value)
        return (await self.rpc.call(VALIDATE_TOKEN, self.instance, request)).message.status_code

    async def _change_over_the_bus(self, target: str) -> int:
        request = EndpointTokenStatusTransitionRequest(
            **request_header(Deadline.after(20)), app_name="app", token=self.value, target_status=target
        )
        return (await self.rpc.call(TRANSITION_TOKEN_STATUS, self.instance, request)).message.status_code


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rounds=ROUNDS)
async def test_every_answer_is_explained_by_the_table(
    rpc: Rpc,
    served: str,
    tokens: Tokens,
    client: httpx.AsyncClient,
    revoked: list[EndpointTokenRevokedEvent],
    rounds: list[list[tuple[str, str]]],
) -> None:
    made = await tokens.provision("tenant", "app", "endpoint", None)
    path = f"/endpoints/endpoint/tokens/{made.token.id}"
    subject = Subject(rpc=rpc, instance=served, client=client, path=path, value=made.value)
    heard_before, withdrawn = len(revoked), 0
    possible: set[Model] = {TokenStatus.INACTIVE}
    for actions in rounds:
        async with asyncio.TaskGroup() as tasks:
            doing = [tasks.create_task(subject.do(*action)) for action in actions]
        answers = [task.result() for task in doing]
        withdrawn += withdrawals(answers)
        before, possible = possible, explained(possible, answers)
        assert possible, f"from {before} nothing explains {answers}"
        shown = await subject.shown()
        assert shown in possible, f"after {answers} from {before}"
        possible = {shown}
    await until(lambda: len(revoked) - heard_before >= withdrawn)
    assert [event.token_ids for event in revoked[heard_before:]] == [(made.token.id,)] * withdrawn
    await tokens.discard("endpoint", lambda _: True)
