"""Receipts: communication replicas of the test over a real bus, some of which do not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from creds import cut_off as module
from creds.cut_off import CutOff
from kaa_common.bus import connect
from kaa_common.messages.cop import (
    CUT_OFF,
    REPLICA_ALIVE,
    REPLICA_LEFT,
    CutOffRequest,
    CutOffResponse,
    ReplicaEvent,
)
from kaa_common.rpc import Reply, Rpc, answer_header, event_header
from support.nats_server import NatsServer
from support.waiting import until


class Replica:
    """A communication replica with two sessions of every endpoint; a silent one never answers."""

    def __init__(self, rpc: Rpc, instance: str, *, silent: bool = False) -> None:
        self.rpc = rpc
        self._instance = instance
        self._silent = silent
        self.asked: list[CutOffRequest] = []

    async def start(self) -> None:
        if self._silent:
            await self.rpc.bus.subscribe(CUT_OFF.subject(self.rpc.replica_id), lambda _: None)
        else:
            await self.rpc.serve(CUT_OFF, self.rpc.replica_id, self._confirm)
        await self.give_sign()

    async def give_sign(self) -> None:
        await self.rpc.emit(REPLICA_ALIVE, self._instance, self._sign())
        await self.rpc.bus.flush(5)

    async def leave(self) -> None:
        await self.rpc.emit(REPLICA_LEFT, self._instance, self._sign())
        await self.rpc.bus.flush(5)

    def _sign(self) -> ReplicaEvent:
        return ReplicaEvent(**event_header(), originator_replica_id=self.rpc.replica_id)

    async def _confirm(self, request: CutOffRequest) -> Reply[CutOffResponse]:
        self.asked.append(request)
        return Reply(CutOffResponse(**answer_header(request), ended_sessions=2, status_code=200))


@asynccontextmanager
async def replica(nats_server: NatsServer, instance: str, name: str, *, silent: bool = False) -> AsyncIterator[Replica]:
    async with connect(nats_server.url, name) as bus:
        rpc = Rpc(bus, f"{instance}-{name}")
        await rpc.start()
        started = Replica(rpc, instance, silent=silent)
        await started.start()
        yield started


@pytest.fixture
def instance(suffix: str) -> str:
    return f"kpc-{suffix}"


@pytest.fixture
async def cut_off(rpc: Rpc, instance: str, monkeypatch: pytest.MonkeyPatch) -> CutOff:
    monkeypatch.setattr(module, "SIGNS_WITHIN", 0.0)
    monkeypatch.setattr(module, "CONFIRMED_WITHIN", 0.3)
    started = CutOff(rpc, instance)
    await started.start()
    await rpc.bus.flush(5)
    return started


async def until_known(cut_off: CutOff, count: int) -> None:
    await until(lambda: len(cut_off._replicas) == count)


async def test_every_replica_confirms_and_tells_how_many_sessions_it_ended(
    cut_off: CutOff, nats_server: NatsServer, instance: str
) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica(nats_server, instance, name)) for name in "abc"]
        await until_known(cut_off, 3)
        receipt = await cut_off.of_tokens("endpoint", ["token-id"])
    assert [confirmation.replica_id for confirmation in receipt.confirmed] == [f"{instance}-{name}" for name in "abc"]
    assert [confirmation.ended_sessions for confirmation in receipt.confirmed] == [2, 2, 2]
    assert receipt.pending == ()
    assert [(one.asked[0].endpoint_id, one.asked[0].token_ids) for one in replicas] == [("endpoint", ("token-id",))] * 3


async def test_a_replica_that_does_not_answer_is_pending(
    cut_off: CutOff, nats_server: NatsServer, instance: str
) -> None:
    async with (
        replica(nats_server, instance, "well"),
        replica(nats_server, instance, "frozen", silent=True),
    ):
        await until_known(cut_off, 2)
        receipt = await cut_off.of_credentials("credentials-id")
    assert [confirmation.replica_id for confirmation in receipt.confirmed] == [f"{instance}-well"]
    assert receipt.pending == (f"{instance}-frozen",)
    assert 300 <= receipt.milliseconds < 2000


async def test_a_replica_that_is_gone_without_a_word_is_pending_at_once(
    cut_off: CutOff, nats_server: NatsServer, instance: str
) -> None:
    async with replica(nats_server, instance, "gone"):
        await until_known(cut_off, 1)
    receipt = await cut_off.of_tokens("endpoint", ["token-id"])
    assert (receipt.confirmed, receipt.pending) == ((), (f"{instance}-gone",))
    assert receipt.milliseconds < 300


async def test_a_replica_that_is_gone_for_long_is_forgotten(
    cut_off: CutOff, nats_server: NatsServer, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_AFTER", 0.0)
    async with replica(nats_server, instance, "gone"):
        await until_known(cut_off, 1)
    receipt = await cut_off.of_tokens("endpoint", ["token-id"])
    assert (receipt.confirmed, receipt.pending) == ((), ())


async def test_a_replica_that_is_frozen_for_long_is_still_pending(
    cut_off: CutOff, nats_server: NatsServer, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_AFTER", 0.0)
    async with replica(nats_server, instance, "frozen", silent=True):
        await until_known(cut_off, 1)
        for _ in range(2):
            assert (await cut_off.of_tokens("endpoint", ["token-id"])).pending == (f"{instance}-frozen",)
        monkeypatch.setattr(module, "SILENT_FOR", 0.0)
        assert (await cut_off.of_tokens("endpoint", ["token-id"])).pending == ()


async def test_without_the_bus_every_replica_is_pending_however_long(
    tmp_path: Path, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIGNS_WITHIN", 0.0)
    monkeypatch.setattr(module, "GONE_AFTER", 0.0)
    monkeypatch.setattr(module, "SILENT_FOR", 0.0)
    server = NatsServer(tmp_path)
    server.start()
    try:
        async with connect(server.url, "creds") as bus, replica(server, instance, "well") as well:
            rpc = Rpc(bus, "creds")
            await rpc.start()
            cut_off = CutOff(rpc, instance)
            await cut_off.start()
            await bus.flush(5)
            await well.give_sign()
            await until_known(cut_off, 1)
            server.stop()
            await until(lambda: not bus.connected)
            for _ in range(2):
                assert (await cut_off.of_tokens("endpoint", ["token-id"])).pending == (f"{instance}-well",)
    finally:
        server.stop()


async def test_after_a_loss_of_the_bus_the_replicas_are_waited_for_again(
    cut_off: CutOff, nats_server: NatsServer, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIGNS_WITHIN", 0.5)
    cut_off._may_have_missed_signs()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(cut_off.of_tokens("endpoint", ["token-id"]))
        async with replica(nats_server, instance, "back"):
            receipt = await asking
    assert [confirmation.replica_id for confirmation in receipt.confirmed] == [f"{instance}-back"]


async def test_a_replica_that_left_is_not_waited_for(cut_off: CutOff, nats_server: NatsServer, instance: str) -> None:
    async with replica(nats_server, instance, "leaving") as leaving:
        await until_known(cut_off, 1)
        await leaving.leave()
        await until_known(cut_off, 0)
    receipt = await cut_off.of_tokens("endpoint", ["token-id"])
    assert (receipt.confirmed, receipt.pending) == ((), ())


async def test_right_after_the_start_the_replicas_are_waited_for(
    rpc: Rpc, nats_server: NatsServer, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIGNS_WITHIN", 0.5)
    fresh = CutOff(rpc, instance)
    await fresh.start()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(fresh.of_tokens("endpoint", ["token-id"]))
        async with replica(nats_server, instance, "late"):
            receipt = await asking
    assert [confirmation.replica_id for confirmation in receipt.confirmed] == [f"{instance}-late"]
