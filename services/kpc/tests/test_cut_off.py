"""Cut-off on one replica: asked over a real bus, with a credentials service of the test."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from kaa_common.app_versions import AppVersion
from kaa_common.budget import Budget
from kaa_common.clock import Deadline
from kaa_common.errors import KaaError
from kaa_common.messages.cap import (
    BASIC_CREDENTIALS_REVOKED,
    CERTIFICATE_CREDENTIALS_REVOKED,
    ClientCredentialsRevokedEvent,
)
from kaa_common.messages.cop import (
    ASK_USABLE,
    ASK_USABLE_CREDENTIALS,
    CUT_OFF,
    REPLICA_ALIVE,
    REPLICA_LEFT,
    CutOffRequest,
    ReplicaEvent,
    UsableCredentialsRequest,
    UsableCredentialsResponse,
    UsableRequest,
    UsableResponse,
)
from kaa_common.messages.declared import Event
from kaa_common.messages.ecap import TOKEN_REVOKED, EndpointTokenRevokedEvent
from kaa_common.rpc import Reply, Rpc, answer_header, event_header, request_header
from kpc.cut_off import CutOff, Instances, working
from kpc.tokens import Guesser, Tokens

from .conftest import APP, ENDPOINT, TOKEN, TOKEN_ID, Backend

GUESSER = Guesser(Budget(burst=5, per_second=0, max_names=1), "device")
VERSION = AppVersion(name="app-v1", app_name=APP, tenant_id="default", config={})


class FakeSessions:
    """One session of each endpoint."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens

    def session_tokens(self) -> Collection[tuple[str, str]]:
        return self.tokens.items()

    async def end_sessions(self, endpoint_id: str, token_ids: Collection[str]) -> int:
        if self.tokens.get(endpoint_id) not in token_ids:
            return 0
        del self.tokens[endpoint_id]
        return 1


class FakeClients:
    """One connection of each credential."""

    def __init__(self, *credentials_ids: str) -> None:
        self.in_use = set(credentials_ids)

    def credentials_in_use(self) -> Collection[str]:
        return set(self.in_use)

    def end_clients(self, credentials_id: str) -> int:
        was_there = credentials_id in self.in_use
        self.in_use.discard(credentials_id)
        return int(was_there)


@pytest.fixture
def clients() -> FakeClients:
    return FakeClients()


def instances_of(backend: Backend) -> Instances:
    return Instances(kpc=f"kpc-{backend.suffix}", cm=backend.cm, ccm=backend.ccm)


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions({ENDPOINT: TOKEN_ID, "other": "other-token"})


@pytest.fixture
async def cut_off(
    edge_rpc: Rpc, tokens: Tokens, sessions: FakeSessions, clients: FakeClients, backend: Backend
) -> AsyncIterator[CutOff]:
    started = CutOff(edge_rpc, tokens, sessions, clients, instances_of(backend))
    async with working(started):
        await edge_rpc.bus.flush(5)
        yield started


async def until(condition: Collection[object], length: int) -> None:
    async with asyncio.timeout(5):
        while len(condition) != length:
            await asyncio.sleep(0.001)


async def ask(backend: Backend, replica_id: str, token_id: str = TOKEN_ID) -> int:
    request = CutOffRequest(**request_header(Deadline.after(2)), token_ids=(token_id,), endpoint_id=ENDPOINT)
    return (await backend.rpc.call(CUT_OFF, replica_id, request)).message.ended_sessions


async def test_a_question_ends_the_session_and_the_use_of_the_token(
    cut_off: CutOff, backend: Backend, edge_rpc: Rpc, tokens: Tokens, sessions: FakeSessions
) -> None:
    await tokens.resolve(VERSION, TOKEN, GUESSER, Deadline.after(2))
    assert await ask(backend, edge_rpc.replica_id) == 1
    assert sessions.tokens == {"other": "other-token"}
    assert await ask(backend, edge_rpc.replica_id) == 0
    await tokens.resolve(VERSION, TOKEN, GUESSER, Deadline.after(2))
    assert backend.validations == 2


async def test_the_event_does_the_same(cut_off: CutOff, backend: Backend, sessions: FakeSessions) -> None:
    event = EndpointTokenRevokedEvent(
        **event_header(), app_name=APP, endpoint_id=ENDPOINT, token_ids=(TOKEN_ID,), originator_replica_id="creds"
    )
    await backend.rpc.emit(TOKEN_REVOKED, backend.cm, event)
    await until(sessions.tokens, 1)
    assert sessions.tokens == {"other": "other-token"}


async def test_what_the_event_ended_already_is_part_of_the_answer(
    cut_off: CutOff, backend: Backend, edge_rpc: Rpc, sessions: FakeSessions
) -> None:
    event = EndpointTokenRevokedEvent(
        **event_header(), app_name=APP, endpoint_id=ENDPOINT, token_ids=(TOKEN_ID,), originator_replica_id="creds"
    )
    await backend.rpc.emit(TOKEN_REVOKED, backend.cm, event)
    await until(sessions.tokens, 1)
    assert await ask(backend, edge_rpc.replica_id) == 1
    assert await ask(backend, edge_rpc.replica_id) == 0


async def test_the_answer_about_a_token_does_not_count_the_sessions_of_another(
    cut_off: CutOff, backend: Backend, edge_rpc: Rpc, sessions: FakeSessions
) -> None:
    event = EndpointTokenRevokedEvent(
        **event_header(), app_name=APP, endpoint_id=ENDPOINT, token_ids=(TOKEN_ID,), originator_replica_id="creds"
    )
    await backend.rpc.emit(TOKEN_REVOKED, backend.cm, event)
    await until(sessions.tokens, 1)
    assert await ask(backend, edge_rpc.replica_id, "another-token") == 0
    assert await ask(backend, edge_rpc.replica_id) == 1


async def test_a_replica_gives_signs_of_life_and_says_goodbye(
    edge_rpc: Rpc, tokens: Tokens, sessions: FakeSessions, clients: FakeClients, backend: Backend
) -> None:
    heard: list[str] = []

    async def alive(event: ReplicaEvent) -> None:
        heard.append(f"{event.originator_replica_id} is there")

    async def left(event: ReplicaEvent) -> None:
        heard.append(f"{event.originator_replica_id} left")

    instance = f"kpc-{backend.suffix}"
    await backend.rpc.listen(REPLICA_ALIVE, instance, alive)
    await backend.rpc.listen(REPLICA_LEFT, instance, left)
    await backend.rpc.bus.flush(5)
    async with working(CutOff(edge_rpc, tokens, sessions, clients, instances_of(backend))):
        await until(heard, 1)
    await until(heard, 2)
    assert heard == [f"{edge_rpc.replica_id} is there", f"{edge_rpc.replica_id} left"]


async def test_a_replica_that_was_away_ends_the_sessions_whose_tokens_are_not_usable_any_more(
    edge_rpc: Rpc, tokens: Tokens, backend: Backend, sessions: FakeSessions, clients: FakeClients
) -> None:
    cut_off = CutOff(edge_rpc, tokens, sessions, clients, instances_of(backend))
    await cut_off.start()
    asked: list[set[str]] = []

    async def usable(request: UsableRequest) -> Reply[UsableResponse]:
        asked.append(set(request.token_ids))
        return Reply(UsableResponse(**answer_header(request), token_ids=("other-token",), status_code=200))

    await backend.rpc.serve(ASK_USABLE, backend.cm, usable)
    await backend.rpc.bus.flush(5)
    cut_off._may_have_missed_something()
    await cut_off.beat()
    assert asked == [{TOKEN_ID, "other-token"}]
    assert sessions.tokens == {"other": "other-token"}
    await cut_off.beat()
    assert len(asked) == 1


async def test_a_check_that_fails_or_is_overtaken_by_another_loss_is_made_again(
    edge_rpc: Rpc, tokens: Tokens, backend: Backend, sessions: FakeSessions, clients: FakeClients
) -> None:
    cut_off = CutOff(edge_rpc, tokens, sessions, clients, instances_of(backend))
    await cut_off.start()
    answers = ["fail", "lose the connection", "answer"]
    asked: list[str] = []

    async def usable(request: UsableRequest) -> Reply[UsableResponse]:
        asked.append(answers[len(asked)])
        if asked[-1] == "fail":
            raise RuntimeError("an unexpected error of the credentials service")
        if asked[-1] == "lose the connection":
            cut_off._may_have_missed_something()
        return Reply(UsableResponse(**answer_header(request), token_ids=request.token_ids, status_code=200))

    await backend.rpc.serve(ASK_USABLE, backend.cm, usable)
    await backend.rpc.bus.flush(5)
    cut_off._may_have_missed_something()
    with pytest.raises(KaaError):
        await cut_off.beat()
    for _ in range(3):
        await cut_off.beat()
    assert asked == answers


async def test_a_question_about_credentials_ends_their_connections(
    cut_off: CutOff, backend: Backend, edge_rpc: Rpc, clients: FakeClients
) -> None:
    clients.in_use |= {"basic-1", "x509-1"}
    for credentials_id, ended_sessions in (("basic-1", 1), ("basic-1", 0), ("other", 0)):
        request = CutOffRequest(**request_header(Deadline.after(2)), credentials_ids=(credentials_id,))
        response = (await backend.rpc.call(CUT_OFF, edge_rpc.replica_id, request)).message
        assert (response.status_code, response.ended_sessions) == (200, ended_sessions)
    assert clients.in_use == {"x509-1"}


@pytest.mark.parametrize("event", [BASIC_CREDENTIALS_REVOKED, CERTIFICATE_CREDENTIALS_REVOKED])
async def test_an_event_about_credentials_does_the_same_and_is_part_of_the_answer(
    cut_off: CutOff,
    backend: Backend,
    edge_rpc: Rpc,
    clients: FakeClients,
    event: Event[ClientCredentialsRevokedEvent],
) -> None:
    clients.in_use |= {"one", "two"}
    record = ClientCredentialsRevokedEvent(
        **event_header(), tenant_id="default", credentials_id="one", originator_replica_id="creds"
    )
    await backend.rpc.emit(event, backend.ccm, record)
    await until(clients.in_use, 1)
    request = CutOffRequest(**request_header(Deadline.after(2)), credentials_ids=("one", "two"))
    assert (await backend.rpc.call(CUT_OFF, edge_rpc.replica_id, request)).message.ended_sessions == 2


async def test_a_replica_that_was_away_ends_the_connections_whose_credentials_are_not_usable_any_more(
    edge_rpc: Rpc, tokens: Tokens, backend: Backend, clients: FakeClients
) -> None:
    cut_off = CutOff(edge_rpc, tokens, FakeSessions({}), clients, instances_of(backend))
    await cut_off.start()
    clients.in_use |= {"one", "two"}

    async def usable(request: UsableCredentialsRequest) -> Reply[UsableCredentialsResponse]:
        assert set(request.credentials_ids) == {"one", "two"}
        return Reply(UsableCredentialsResponse(**answer_header(request), credentials_ids=("two",), status_code=200))

    await backend.rpc.serve(ASK_USABLE_CREDENTIALS, backend.ccm, usable)
    await backend.rpc.bus.flush(5)
    cut_off._may_have_missed_something()
    await cut_off.beat()
    assert clients.in_use == {"two"}
