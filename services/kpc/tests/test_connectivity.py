"""What is said of endpoints that come and go: by two replicas, and over a bus that goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kaa_common.bus import NatsBus, connect
from kaa_common.errors import Unavailable
from kaa_common.messages.elce import CONNECTED, DISCONNECTED, ConnectedEvent, DisconnectedEvent
from kaa_common.rpc import Rpc
from kpc import connectivity as module
from kpc.connectivity import Connectivity, announcing
from support.nats_server import NatsServer
from support.waiting import until

from .test_presence import session

INSTANCE = "kpc"


@dataclass
class Listener:
    """Knows what it was told of each endpoint last."""

    bus: NatsBus
    states: dict[str, bool] = field(default_factory=dict)
    said: list[tuple[str, str, list[str]]] = field(default_factory=list)

    async def came(self, event: ConnectedEvent) -> None:
        self.states |= dict.fromkeys(event.endpoints, True)
        self.said.append(("connected", event.originator_replica_id, sorted(event.endpoints)))

    async def went(self, event: DisconnectedEvent) -> None:
        self.states |= dict.fromkeys(event.endpoints, False)
        self.said.append(("disconnected", event.originator_replica_id, sorted(event.endpoints)))


@asynccontextmanager
async def rpc_of(url: str, name: str) -> AsyncIterator[Rpc]:
    async with connect(url, name) as bus:
        rpc = Rpc(bus, name)
        await rpc.start()
        yield rpc


@asynccontextmanager
async def replica(url: str, name: str) -> AsyncIterator[Connectivity]:
    async with rpc_of(url, name) as rpc:
        connectivity = Connectivity(rpc, INSTANCE)
        async with announcing(connectivity):
            await rpc.bus.flush(5)
            yield connectivity


@pytest.fixture
async def listener(own_nats_server: NatsServer) -> AsyncIterator[Listener]:
    async with connect(own_nats_server.url, "listener") as bus:
        rpc, listener = Rpc(bus, "listener"), Listener(bus)
        await rpc.listen(CONNECTED, INSTANCE, listener.came)
        await rpc.listen(DISCONNECTED, INSTANCE, listener.went)
        await rpc.bus.flush(5)
        yield listener


async def test_an_endpoint_that_moves_to_another_replica_stays_connected(
    own_nats_server: NatsServer, listener: Listener
) -> None:
    url = own_nats_server.url
    async with replica(url, "a") as a, replica(url, "b") as b:
        await a.identified("ep", session(1))
        await until(lambda: listener.states.get("ep", False))
        await asyncio.sleep(0.002)  # the clock has to have gone on
        await b.identified("ep", session(1))
        await until(lambda: a.presence.routes("ep") == ())
        assert b.presence.routes("ep")
        await a.connection_ended(1)
        await b.connection_ended(1)
        await until(lambda: len(listener.said) == 3)
    assert listener.said == [("connected", "a", ["ep"]), ("connected", "b", ["ep"]), ("disconnected", "b", ["ep"])]


async def test_an_endpoint_that_is_left_on_the_first_replica_is_connected_again(
    own_nats_server: NatsServer, listener: Listener
) -> None:
    url = own_nats_server.url
    async with replica(url, "a") as a, replica(url, "b") as b:
        await a.identified("ep", session(1))
        await until(lambda: listener.states.get("ep", False))
        await asyncio.sleep(0.002)
        await b.identified("ep", session(1))
        await until(lambda: a.presence.routes("ep") == ())
        await b.connection_ended(1)
        await until(lambda: len(listener.said) == 4)
        assert listener.said[3] == ("connected", "a", ["ep"])
        assert a.presence.routes("ep")


async def test_what_came_and_went_while_the_bus_was_away_is_announced_when_it_is_back(
    own_nats_server: NatsServer, listener: Listener
) -> None:
    async with rpc_of(own_nats_server.url, "a") as rpc:
        a = Connectivity(rpc, INSTANCE)
        for number, name in enumerate(("stays", "goes")):
            await a.identified(name, session(number))
        await until(lambda: len(listener.said) == 2)
        await a.settle()
        own_nats_server.kill()
        await until(lambda: not rpc.bus.connected)
        await a.connection_ended(1)
        await a.identified("comes", session(7))
        await a.identified("comes and goes", session(8))
        await a.connection_ended(8)
        with pytest.raises(Unavailable):
            await a.settle()
        own_nats_server.start()
        await until(lambda: rpc.bus.connected and listener.bus.connected)
        await listener.bus.flush(5)
        await a.settle()
        expected = {"stays": True, "goes": False, "comes": True, "comes and goes": False}
        await until(lambda: listener.states == expected)
        assert listener.said[2] == ("connected", "a", ["comes", "stays"])
        assert not a._open


async def test_a_loss_right_after_an_announcement_has_it_said_again(
    own_nats_server: NatsServer, listener: Listener
) -> None:
    async with replica(own_nats_server.url, "a") as a:
        await a.identified("ep", session(1))
        await a.connection_ended(1)
        a._may_have_lost_something()
        await a.settle()
        await until(lambda: len(listener.said) == 3)
    assert listener.said[2] == ("disconnected", "a", ["ep"])
    assert not a._open


async def test_nothing_is_open_once_the_bus_has_confirmed_it(own_nats_server: NatsServer, listener: Listener) -> None:
    async with replica(own_nats_server.url, "a") as a:
        await a.identified("ep", session(1))
        assert a._open
        await until(lambda: not a._open)
        assert listener.said == [("connected", "a", ["ep"])]


async def test_only_so_much_is_kept_open_and_what_is_given_up_is_logged(
    own_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    async with replica(own_nats_server.url, "a") as a:

        async def refuse(*_: object) -> None:
            raise Unavailable

        monkeypatch.setattr(a._rpc, "emit", refuse)
        for number in range(3):
            await a.identified(f"ep-{number}", session(number))
        assert list(a._open) == ["ep-1", "ep-2"]
        monkeypatch.undo()
    (record,) = (record for record in caplog.records if record.name == "kpc.connectivity")
    assert record.message == "the bus is away for too long: 1 changes of connectivity are never announced"


async def test_many_endpoints_are_announced_in_parts(
    own_nats_server: NatsServer, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IN_EVENT", 2)
    async with replica(own_nats_server.url, "a") as a:
        for name in "vwxyz":
            await a.identified(name, session(1))
        await a.connection_ended(1)
        await until(lambda: len(listener.said) == 8)
    assert [len(names) for what, _, names in listener.said if what == "disconnected"] == [2, 2, 1]


async def test_the_last_goodbye_is_out_when_a_replica_stops(own_nats_server: NatsServer, listener: Listener) -> None:
    async with replica(own_nats_server.url, "a") as a:
        await a.identified("ep", session(1))
        await a.connection_ended(1)
    await until(lambda: listener.states == {"ep": False})
