"""Where MQTT clients come in: a listener for each transport, which makes a connection of everyone who is admitted.

TLS clients are admitted before their handshake, so that the limits count them, and shake hands in tasks of their own,
so that one who hangs keeps nobody waiting. A listener is for one start.
"""

import asyncio
import errno
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter

from kaa_common.http_server import bind
from kaa_common.line import Line
from kpc.mqtt_connection import Connection

if TYPE_CHECKING:
    from kpc.mqtt_server import MqttServer

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds, as for CONNECT: a slow mobile network, not somebody who only holds a place."""
SHUTDOWN_TIMEOUT = 2.0
"""Seconds for a client to answer that TLS ends, as long as a connection lingers."""
ACCEPT_PAUSE = 1.0
"""Seconds until a client is accepted again when the process has no more file descriptors."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

FAILED_HANDSHAKES = Counter("kpc_tls_failed_handshakes", "Clients that did not complete the TLS handshake")


class Listener(Protocol):
    """A transport that clients come by."""

    port: int

    async def start(self, server: "MqttServer") -> None:
        """Accept clients for the server. Raises StartError when the port is taken."""

    async def stop(self) -> None:
        """Accept no more."""


class TcpListener:
    """Plain MQTT over TCP. The port 0 stands for a free one; `setting` is the variable with the port."""

    def __init__(self, host: str, port: int, setting: str = "KPC_MQTT_PORT") -> None:
        self.port = port
        self._host = host
        self._setting = setting
        self._listening: socket.socket
        self._accepting: asyncio.Task[None]
        self._tasks = asyncio.TaskGroup()

    async def start(self, server: "MqttServer") -> None:
        self._listening = bind(self._host, self.port, self._setting)
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        await self._tasks.__aenter__()
        self._accepting = self._tasks.create_task(self._accept(server), name="mqtt clients")

    async def stop(self) -> None:
        self._accepting.cancel()
        await self._tasks.__aexit__(None, None, None)
        self._listening.close()

    async def _accept(self, server: "MqttServer") -> None:
        loop = asyncio.get_running_loop()
        while True:
            # One in each turn of the event loop: an asyncio.Server takes in all that are there, and then what each of
            # them has sent, while a client that was there before waits.
            await asyncio.sleep(0)
            try:
                client, address = await loop.sock_accept(self._listening)
                await self._meet(server, client, address[0])
            except OSError as exc:
                if exc.errno in EXHAUSTED:
                    logger.warning("cannot accept clients for now: %s", exc.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE)

    async def _meet(self, server: "MqttServer", client: socket.socket, address: str) -> None:
        """Make a connection of a client."""
        await asyncio.get_running_loop().connect_accepted_socket(lambda: server.new_connection("tcp"), client)


class TlsContexts(Protocol):
    """`certificates.Certificates`."""

    @property
    def context(self) -> ssl.SSLContext:
        """What the next client is met with."""


class TlsListener(TcpListener):
    """MQTT over TLS."""

    def __init__(
        self,
        host: str,
        port: int,
        contexts: TlsContexts,
        setting: str = "KPC_TLS_PORT",
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        super().__init__(host, port, setting)
        self._contexts = contexts
        self._handshake_timeout = handshake_timeout
        self._handshakes: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        for handshake in self._handshakes:
            handshake.cancel()
        await super().stop()

    async def _meet(self, server: "MqttServer", client: socket.socket, address: str) -> None:
        connection = server.new_connection("tls")
        if not server.admit(connection, address):
            client.close()
            return
        handshake = self._tasks.create_task(self._shake_hands(server, client, connection), name="tls handshake")
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, server: "MqttServer", client: socket.socket, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self._handshake_timeout):
                await _readable(client)
                await _turn(server.line)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                client,
                ssl=self._contexts.context,
                ssl_handshake_timeout=self._handshake_timeout,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except OSError as exc:  # as errors of TLS, of connections and of timeouts are
            FAILED_HANDSHAKES.inc()
            logger.debug("a TLS handshake failed: %s", exc)
        finally:
            if not connection.is_made:
                server.forget(connection)
                client.close()


async def _readable(client: socket.socket) -> None:
    """Wait until the client has said something."""
    loop = asyncio.get_running_loop()
    has_spoken = asyncio.Event()
    loop.add_reader(client, has_spoken.set)
    try:
        await has_spoken.wait()
    finally:
        loop.remove_reader(client)


async def _turn(line: Line) -> None:
    """Wait in the line: hundreds of handshakes at once, a third of a millisecond each, take as many turns."""
    newcomer = _Newcomer()
    line.wait(newcomer)
    await newcomer.has_turn.wait()


class _Newcomer:
    def __init__(self) -> None:
        self.has_turn = asyncio.Event()

    def take_turn(self) -> None:
        self.has_turn.set()
