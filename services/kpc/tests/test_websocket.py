"""MQTT over WebSocket through the HTTP server, with a client that sends what it likes, in pieces of any size."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from kaa_common.http_server import MAX_FRAGMENTS, MAX_WEBSOCKET_MESSAGE, Gateway, bind, serve
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt_server import MqttServer
from kpc.server_limits import ServerLimits
from kpc.websocket import MqttOverWebSocket
from support.waiting import until

from .echo import ACCEPTED, CONNECT, DISCONNECT, ECHO, PINGREQ, PINGRESP, PUBLISH, EchoHandler

PATIENCE = 10.0
MQTT = Subprotocol("mqtt")


@dataclass
class Site:
    url: str
    handler: EchoHandler
    server: MqttServer


@asynccontextmanager
async def site(limits: ServerLimits | None = None) -> AsyncIterator[Site]:
    handler, gateway = EchoHandler(), Gateway([])
    listener = bind("127.0.0.1", 0, "KAA_HTTP_PORT")
    async with MqttServer(handler, [], limits=limits or ServerLimits()) as server, serve(gateway, listener, 5):
        gateway.mount_websocket("/ws", MqttOverWebSocket(server))
        yield Site(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws", handler, server)


@asynccontextmanager
async def client_of(url: str, *subprotocols: str) -> AsyncIterator[ClientConnection]:
    offered = [Subprotocol(name) for name in subprotocols] or [MQTT]
    async with asyncio.timeout(PATIENCE), connect(url, subprotocols=offered, proxy=None, max_size=None) as client:
        yield client


async def read(client: ClientConnection, length: int) -> bytes:
    data = b""
    while len(data) < length:
        message = await client.recv()
        assert isinstance(message, bytes)
        data += message
    return data


async def closed(client: ClientConnection) -> int | None:
    """The code with which the server closed."""
    try:
        while True:
            await client.recv()
    except ConnectionClosed:
        return client.close_code


@pytest.mark.parametrize("subprotocol", ["mqtt", "mqttv3.1"])
async def test_a_client_is_served(subprotocol: str) -> None:
    async with site() as there, client_of(there.url, subprotocol) as client:
        assert client.subprotocol == subprotocol
        await client.send(CONNECT)
        assert await read(client, 4) == ACCEPTED
        await client.send(PUBLISH)
        assert await read(client, 13) == ECHO
        (connection,) = there.handler.connections
        assert (connection.transport_name, connection.certificate) == ("ws", None)
        assert connection.peer.startswith("127.0.0.1:")


async def test_messages_need_not_align_with_packets() -> None:
    stream = CONNECT + PUBLISH + PINGREQ
    async with site() as there:
        async with client_of(there.url) as client:
            for byte in stream:
                await client.send(bytes([byte]))
            assert sorted(await read(client, 4 + 13 + 2)) == sorted(ACCEPTED + ECHO + PINGRESP)
        async with client_of(there.url) as client:
            await client.send([stream[:7], b"", stream[7:20], stream[20:]])  # one message in fragments
            assert sorted(await read(client, 4 + 13 + 2)) == sorted(ACCEPTED + ECHO + PINGRESP)


async def test_a_text_message_closes_the_connection() -> None:
    async with site() as there, client_of(there.url) as client:
        await client.send(CONNECT)
        assert await read(client, 4) == ACCEPTED
        await client.send("text")
        assert await closed(client) == 1003
        await until(lambda: len(there.handler.ended) == 1)
        assert not there.server._sockets


async def test_a_goodbye_and_a_violation_close_the_connection() -> None:
    async with site() as there:
        for last in (DISCONNECT, CONNECT, b"\x00\x00"):
            async with client_of(there.url) as client:
                await client.send(CONNECT)
                assert await read(client, 4) == ACCEPTED
                await client.send(last)
                assert await closed(client) == 1000
        await until(lambda: len(there.handler.ended) == 3 and not there.server._sockets)


async def test_a_client_that_vanishes_is_noticed() -> None:
    async with site() as there:
        async with client_of(there.url) as client:
            await client.send(CONNECT)
            assert await read(client, 4) == ACCEPTED
            client.transport.abort()
        await until(lambda: len(there.handler.ended) == 1 and not there.server._sockets)


@pytest.mark.parametrize("offered", ["chat", "mqtt5"])
async def test_a_client_that_does_not_offer_mqtt_is_refused(offered: str) -> None:
    async with site() as there:
        with pytest.raises(InvalidStatus) as refused:
            async with client_of(there.url, offered):
                pass
        assert refused.value.response.status_code == 403
        assert not there.server._sockets


async def test_other_paths_and_plain_requests_are_no_websockets() -> None:
    async with site() as there:
        for path in ("x", "/"):
            with pytest.raises(InvalidStatus) as refused:
                async with client_of(f"{there.url}{path}"):
                    pass
            assert refused.value.response.status_code == 403
        async with httpx.AsyncClient(trust_env=False) as plain:
            assert (await plain.get(there.url.replace("ws:", "http:"))).status_code == 404


async def test_clients_over_the_limit_are_refused() -> None:
    async with site(ServerLimits(max_connections_per_address=1)) as there, client_of(there.url):
        with pytest.raises(InvalidStatus) as refused:
            async with client_of(there.url):
                pass
        assert refused.value.response.status_code == 403
        assert len(there.server._sockets) == 1


async def test_a_client_that_never_connects_is_closed() -> None:
    limits = ServerLimits(session=SessionLimits(connect_timeout=0.1))
    async with site(limits) as there, client_of(there.url) as client:
        assert await closed(client) == 1000
        await until(lambda: not there.server._sockets)


async def test_a_message_longer_than_any_packet_is_refused_unread() -> None:
    async with site() as there, client_of(there.url) as client:
        with suppress(ConnectionClosed):
            await client.send(bytes(MAX_WEBSOCKET_MESSAGE + 1))
        assert await closed(client) == 1009


async def test_a_message_in_more_fragments_than_make_sense_is_refused() -> None:
    async with site() as there, client_of(there.url) as client:
        with suppress(ConnectionClosed):
            await client.send(b"" for _ in range(MAX_FRAGMENTS + 10))
        assert await closed(client) == 1009
        await until(lambda: not there.server._sockets)


async def test_a_client_that_does_not_read_is_dropped_and_harms_nobody() -> None:
    limits = ServerLimits(write_high_water=64 * 1024, write_timeout=0.5)
    async with site(limits) as there, client_of(there.url) as slow, client_of(there.url) as other:
        for client in (slow, other):
            await client.send(CONNECT)
            assert await read(client, 4) == ACCEPTED
        slow.transport.pause_reading()
        there.handler.answer = bytes(200_000)
        for _ in range(60):  # answered with more than all buffers between hold
            await slow.send(PUBLISH)
        await until(lambda: len(there.handler.ended) == 1)
        there.handler.answer = None
        await other.send(PUBLISH)
        assert await read(other, 13) == ECHO
        slow.transport.abort()


async def test_a_stop_lets_calls_finish_and_closes_every_connection() -> None:
    async with AsyncExitStack() as running:
        there = await running.enter_async_context(site())
        there.handler.gate.clear()
        async with client_of(there.url) as client, client_of(there.url) as idle, asyncio.TaskGroup() as tasks:
            for each in (client, idle):
                await each.send(CONNECT)
                assert await read(each, 4) == ACCEPTED
            await client.send(PUBLISH)
            await until(lambda: there.handler.running == 1)
            stopping = tasks.create_task(running.aclose())
            assert await closed(idle) == 1001
            await client.send(PUBLISH)  # which is not taken any more
            assert not stopping.done()
            there.handler.gate.set()
            assert await read(client, 13) == ECHO
            assert await closed(client) == 1001
    assert [end.detail for end in there.handler.ended] == 2 * ["the server stops"]


async def test_a_stop_does_not_wait_longer_for_calls_than_it_may() -> None:
    async with AsyncExitStack() as running:
        there = await running.enter_async_context(site(ServerLimits(stop_timeout=0.05)))
        there.handler.gate.clear()
        async with client_of(there.url) as client, asyncio.TaskGroup() as tasks:
            await client.send(CONNECT + PUBLISH)
            assert await read(client, 4) == ACCEPTED
            await until(lambda: there.handler.running == 1)
            tasks.create_task(running.aclose())
            assert await closed(client) == 1001


async def test_a_client_that_says_that_it_restarts_is_gone() -> None:
    async with site() as there, client_of(there.url) as client:
        await client.send(CONNECT)
        assert await read(client, 4) == ACCEPTED
        await client.close(1012)
        await until(lambda: len(there.handler.ended) == 1 and not there.server._sockets)
