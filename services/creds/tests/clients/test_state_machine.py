"""Credentials of both kinds against a model: random changes by several clients at once, over REST and the bus."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creds.clients.app import Clients
from creds.model import TokenStatus as State
from kaa_common.clock import Deadline
from kaa_common.messages.cap import (
    AUTHENTICATE_BASIC,
    AUTHENTICATE_CERTIFICATE,
    ClientBasicAuthenticationRequest,
    ClientCertificateAuthenticationRequest,
    ClientCredentialsRevokedEvent,
)
from kaa_common.messages.ecap import (
    VALIDATE_CERTIFICATE,
    VALIDATE_USERNAME_PASSWORD,
    ClientCertificateValidationRequest,
    ClientCredentialRevokedEvent,
    ClientUsernamePasswordValidationRequest,
)
from kaa_common.rpc import Rpc, request_header
from support.status_model import DELETE, DELETED, USE, Answered, Model, explained, withdrawals
from support.waiting import until

PASSWORD = "correct horse"
ACTIONS = st.sampled_from(["22/CAP", "22/CAP", "16/ECAP", DELETE, *State, State.SUSPENDED, State.ACTIVE])
ROUNDS = st.lists(st.lists(ACTIONS, min_size=1, max_size=4), min_size=1, max_size=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The credentials under test, and how they are used."""

    path: str
    cap: Callable[[], Awaitable[int]]
    ecap: Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    rpc: Rpc
    ccm: httpx.AsyncClient
    clients: Clients
    suffix: str

    async def basic(self) -> Subject:
        created = await self.clients.basic.create("tenant", None, PASSWORD)
        username = created.credentials.username

        async def cap() -> int:
            request = ClientBasicAuthenticationRequest(
                **request_header(Deadline.after(20)), tenant_id="tenant", username=username, password=PASSWORD
            )
            return (await self.rpc.call(AUTHENTICATE_BASIC, f"ccm-{self.suffix}", request)).message.status_code

        async def ecap() -> int:
            request = ClientUsernamePasswordValidationRequest(
                **request_header(Deadline.after(20)), username=f"{username}@tenant", password=PASSWORD
            )
            return (await self.rpc.call(VALIDATE_USERNAME_PASSWORD, f"cm-{self.suffix}", request)).message.status_code

        return Subject(path=f"/basic-credentials/{created.credentials.id}", cap=cap, ecap=ecap)

    async def x509(self) -> Subject:
        issued = (await self.clients.certificates.issue("tenant", "device", 3600)).credentials

        async def cap() -> int:
            request = ClientCertificateAuthenticationRequest(
                **request_header(Deadline.after(20)), issuer="CN=tenant", serial_number=issued.serial_number
            )
            return (await self.rpc.call(AUTHENTICATE_CERTIFICATE, f"ccm-{self.suffix}", request)).message.status_code

        async def ecap() -> int:
            request = ClientCertificateValidationRequest(
                **request_header(Deadline.after(20)), issuer="CN=tenant", serial_number=issued.serial_number
            )
            return (await self.rpc.call(VALIDATE_CERTIFICATE, f"cm-{self.suffix}", request)).message.status_code

        return Subject(path=f"/x509-credentials/{issued.id}", cap=cap, ecap=ecap)

    async def do(self, subject: Subject, action: str) -> Answered:
        if action == "22/CAP":
            return USE, await subject.cap()
        if action == "16/ECAP":
            return USE, await subject.ecap()
        if action == DELETE:
            return DELETE, (await self.ccm.delete(subject.path)).status_code
        changed = await self.ccm.put(f"{subject.path}/status", json={"status": action})
        assert changed.status_code != 200 or changed.json()["state"] == action
        return action, changed.status_code

    async def shown(self, subject: Subject) -> Model:
        answer = await self.ccm.get(subject.path)
        return State(answer.json()["state"]) if answer.status_code == 200 else DELETED


@pytest.fixture
def platform(rpc: Rpc, ccm: httpx.AsyncClient, clients: Clients, suffix: str, served_clients: None) -> Platform:
    return Platform(rpc=rpc, ccm=ccm, clients=clients, suffix=suffix)


@pytest.mark.parametrize("kind", ["basic", "x509"])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rounds=ROUNDS)
async def test_every_answer_is_explained_by_the_table(
    platform: Platform,
    cap_events: list[tuple[str, ClientCredentialsRevokedEvent]],
    ecap_events: list[ClientCredentialRevokedEvent],
    kind: str,
    rounds: list[list[str]],
) -> None:
    subject = await (platform.basic() if kind == "basic" else platform.x509())
    cap_before, ecap_before, withdrawn = len(cap_events), len(ecap_events), 0
    possible: set[Model] = {State.INACTIVE}
    for actions in rounds:
        async with asyncio.TaskGroup() as tasks:
            doing = [tasks.create_task(platform.do(subject, action)) for action in actions]
        answers = [task.result() for task in doing]
        withdrawn += withdrawals(answers)
        before, possible = possible, explained(possible, answers)
        assert possible, f"from {before} nothing explains {answers}"
        shown = await platform.shown(subject)
        assert shown in possible, f"after {answers} from {before}"
        possible = {shown}
    await until(lambda: len(cap_events) - cap_before >= withdrawn and len(ecap_events) - ecap_before >= withdrawn)
    assert (len(cap_events) - cap_before, len(ecap_events) - ecap_before) == (withdrawn, withdrawn)
