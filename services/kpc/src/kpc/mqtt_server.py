"""MQTT over TCP: the listener, and the tasks of all connections.

`async with MqttServer(...)` starts and stops. Every call of the handler is a task of the server's; one that fails is
logged and costs its own connection, nothing else. Stop: accept no more -> read no more -> let the calls in flight
finish, up to a deadline -> close the connections -> `disconnected` for each.
"""

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt_connection import READ_SIZE, Connection, ConnectionHandler, ServerLimits

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections the kernel holds until they are accepted: after a restart all clients come at once."""

DEFAULT_LIMITS = ServerLimits()


class MqttServer:
    """Listens on *host* and *port* (0: a free one) while it is entered; OSError if the port is taken."""

    def __init__(
        self, handler: ConnectionHandler, host: str, port: int, *, limits: ServerLimits = DEFAULT_LIMITS
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.connections: set[Connection] = set()
        self.turned_away = 0
        self.stopping = False
        self.port = port
        self._host = host
        self._listener: asyncio.Server
        self._calls = asyncio.TaskGroup()
        self._farewells = asyncio.TaskGroup()
        self._ids = itertools.count(1)
        self._sockets: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._full = False

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self, next(self._ids)), self._host, self.port, backlog=BACKLOG, start_serving=False
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        await self._farewells.__aenter__()
        await self._calls.__aenter__()
        await self._listener.start_serving()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        self.stopping = True
        for connection in tuple(self._sockets):
            connection.pump()
        try:
            await self._finish(self._calls)
        finally:
            for connection in self._sockets | self.connections:  # some calls outlive their socket
                connection.close("the server stops", ReasonCode.SERVER_SHUTTING_DOWN)
            await self._finish(self._farewells)
            while self._sockets:  # each aborts itself once it has lingered
                self._all_gone.clear()
                await self._all_gone.wait()
            await self._listener.wait_closed()

    async def _finish(self, tasks: asyncio.TaskGroup) -> None:
        try:
            async with asyncio.timeout(self.limits.stop_timeout):
                await tasks.__aexit__(None, None, None)
        except TimeoutError:
            logger.warning("cancelled the calls that were not done after %s s", self.limits.stop_timeout)

    # For the connections

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, unless there are too many."""
        if self.stopping or len(self._sockets) >= self.limits.max_connections:
            # Once, not per client: a storm of clients must not become a storm of log records.
            if not self._full:
                logger.warning("turning clients away: %d connections", len(self._sockets))
            self._full = True
            self.turned_away += 1
            return False
        self._sockets.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """The socket of *connection* is closed."""
        self._sockets.discard(connection)
        self._full = False
        if not self._sockets:
            self._all_gone.set()

    def start_call(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a call of the handler as a task of the server."""
        self._calls.create_task(call, name="mqtt call")

    def start_farewell(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a last call of the handler; it may outlast the others at a stop."""
        self._farewells.create_task(call, name="mqtt farewell")
