"""All MQTT clients of the process, whatever transport they come by: who is admitted, and the tasks of their calls.

`async with MqttServer(...)` starts and stops. Every call of the handler is a task of the server's; one that fails is
logged and costs its own connection, nothing else. Stop: accept no more -> read no more -> close each connection as soon
as its calls in flight are done, or the deadline has passed -> `disconnected` for each.
"""

import asyncio
import itertools
import logging
from collections import Counter as Tally
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from prometheus_client import Counter

from kaa_common.held import Held
from kaa_common.line import Line
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt_connection import READ_SIZE, Connection, ConnectionHandler, TransportName
from kpc.mqtt_listeners import Listener
from kpc.server_limits import ServerLimits

logger = logging.getLogger(__name__)

TURNED_AWAY = Counter(
    "kpc_mqtt_turned_away", "Clients that were not admitted, by the limit that was reached", ["limit"]
)

DEFAULT_LIMITS = ServerLimits()


class MqttServer:
    """Serves the clients of its listeners while it is entered. Raises StartError if a port is taken."""

    def __init__(
        self, handler: ConnectionHandler, listeners: Sequence[Listener], *, limits: ServerLimits = DEFAULT_LIMITS
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.held = Held(limits.max_held)
        self.line = Line()
        self.read_buffer = memoryview(bytearray(READ_SIZE))
        self.connections: set[Connection] = set()
        self.turned_away = 0
        self.stopping = False
        self._listeners = listeners
        self._calls = asyncio.TaskGroup()
        self._farewells = asyncio.TaskGroup()
        self._ids = itertools.count(1)
        self._sockets: dict[Connection, str] = {}
        self._of_address: Tally[str] = Tally()
        self._all_gone = asyncio.Event()
        self._full: set[str] = set()

    @property
    def port(self) -> int:
        """Of the first listener."""
        return self._listeners[0].port

    async def __aenter__(self) -> Self:
        await self._farewells.__aenter__()
        await self._calls.__aenter__()
        started: list[Listener] = []
        try:
            for listener in self._listeners:
                await listener.start(self)
                started.append(listener)
        except BaseException:
            await self._stop(started)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop(self._listeners)

    async def _stop(self, listeners: Sequence[Listener]) -> None:
        self.stopping = True
        self._read_no_more()
        for listener in listeners:
            await listener.stop()
        self._read_no_more()  # of those that were made meanwhile
        try:
            await self._finish(self._calls)
        finally:
            for connection in self._sockets.keys() | self.connections:  # some calls outlive their socket
                connection.close("the server stops", ReasonCode.SERVER_SHUTTING_DOWN)
            await self._finish(self._farewells)
            while self._sockets:  # each aborts itself once it has lingered
                self._all_gone.clear()
                await self._all_gone.wait()

    def _read_no_more(self) -> None:
        for connection in tuple(self._sockets):
            if connection.is_made:
                connection.finish()

    async def _finish(self, tasks: asyncio.TaskGroup) -> None:
        try:
            async with asyncio.timeout(self.limits.stop_timeout):
                await tasks.__aexit__(None, None, None)
        except TimeoutError:
            logger.warning("cancelled the calls that were not done after %s s", self.limits.stop_timeout)

    # For the listeners

    def new_connection(self, transport_name: TransportName) -> Connection:
        """A connection for a client that came by this transport; it is admitted when it is made, if not before."""
        return Connection(self, next(self._ids), transport_name)

    # For the connections

    def admit(self, connection: Connection, address: str) -> bool:
        """Take a new connection in, unless there are too many, at all or from its address; once in, it stays."""
        if connection in self._sockets:
            return True
        if self.stopping:
            return False
        if len(self._sockets) >= self.limits.max_connections:
            return self._turn_away("all", f"there are {len(self._sockets)} connections")
        if self._of_address[address] >= self.limits.max_connections_per_address:
            return self._turn_away(address, f"there are {self._of_address[address]} connections of {address}")
        self._sockets[connection] = address
        self._of_address[address] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """The socket of *connection* is closed."""
        self.held.forget(connection)
        address = self._sockets.pop(connection)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]
        self._full -= {"all", address}
        if not self._sockets:
            self._all_gone.set()

    def start_call(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a call of the handler as a task of the server."""
        self._calls.create_task(call, name="mqtt call")

    def start_farewell(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a last call of the handler; it may outlast the others at a stop."""
        self._farewells.create_task(call, name="mqtt farewell")

    def _turn_away(self, limit: str, reason: str) -> bool:
        # Once, not per client: a storm of clients must not become a storm of log records.
        if limit not in self._full:
            logger.warning("turning clients away: %s", reason)
        self._full.add(limit)
        self.turned_away += 1
        TURNED_AWAY.labels("connections" if limit == "all" else "connections of an address").inc()
        return False
