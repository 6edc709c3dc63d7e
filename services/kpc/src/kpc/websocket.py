"""MQTT over WebSocket, at `/ws` of the HTTP port (MQTT 3.1.1 and 5, section 6): an ASGI application.

The HTTP server speaks WebSocket; here the bytes of binary messages become what a socket is to a connection. Messages
need not align with MQTT packets. Each connection has two tasks, one for each direction: a connection that does not
want to read takes no further message, so the client is pushed back, and one that does not read is noticed.
"""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from kaa_common.http_server import SERVICE_RESTART
from kpc.mqtt_connection import Connection
from kpc.mqtt_server import MqttServer

SUBPROTOCOLS = ("mqtt", "mqttv3.1")
NORMAL, GOING_AWAY, UNSUPPORTED_DATA = 1000, 1001, 1003
"""RFC 6455, section 7.4.1."""
REFUSED: Message = {"type": "websocket.close"}
"""Before the WebSocket is accepted: the HTTP server answers 403."""
HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the HTTP server to say that somebody wants a WebSocket, which it has read already."""


class MqttOverWebSocket:
    """Each WebSocket is a client of the server."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            await receive()
        # [MQTT-6.0.0-3] "The Client MUST include "mqtt" in the list of WebSocket Sub Protocols it offers."
        subprotocol = next((name for name in SUBPROTOCOLS if name in scope["subprotocols"]), None)
        if subprotocol is None:
            await send(REFUSED)
            return
        client = scope.get("client") or ("", 0)
        connection = self._server.new_connection("ws")
        if not self._server.admit(connection, client[0]):
            await send(REFUSED)
            return
        transport = WebSocketTransport(connection, (client[0], client[1]))
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            connection.connection_made(transport)
            await transport.carry(receive, send)
        finally:
            if connection.is_made:
                connection.connection_lost(None)
            else:
                self._server.forget(connection)


class WebSocketTransport(asyncio.Transport):
    """What a connection needs of a socket."""

    def __init__(self, connection: Connection, peer: tuple[str, int]) -> None:
        super().__init__({"peername": peer})
        self._connection = connection
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._has_work = asyncio.Event()
        self._unsent = bytearray()
        self._sending = 0
        self._high_water = 0
        self._is_paused = self._is_closing = False
        self._close_code = NORMAL
        self._tasks: list[asyncio.Task[None]] = []

    async def carry(self, receive: Receive, send: Send) -> None:
        """Carry the bytes until either side ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = [
                    tasks.create_task(self._read(receive), name="websocket in"),
                    tasks.create_task(self._write(send), name="websocket out"),
                ]
                if self._is_closing:  # while it was made
                    self._has_work.set()
        finally:
            self._is_closing = True

    async def _read(self, receive: Receive) -> None:
        while True:
            await self._may_read.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                if message["code"] != SERVICE_RESTART:
                    break
                self._close_code = GOING_AWAY
                self._connection.finish()
            elif (data := message.get("bytes")) is None:
                # [MQTT-6.0.0-1] "If any other type of data frame is received the recipient MUST close the Network
                # Connection."
                self._close_code = UNSUPPORTED_DATA
                self._connection.close("a text message over WebSocket")
            else:
                await self._feed(memoryview(data))
        self.abort()

    async def _feed(self, data: memoryview) -> None:
        while data:
            await self._may_read.wait()
            buffer = self._connection.get_buffer(len(data))
            length = min(len(buffer), len(data))
            buffer[:length] = data[:length]
            self._connection.buffer_updated(length)
            data = data[length:]

    async def _write(self, send: Send) -> None:
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                if self._unsent:
                    data = bytes(self._unsent)
                    self._unsent.clear()
                    self._sending = len(data)
                    await send({"type": "websocket.send", "bytes": data})
                    self._sending = 0
                    self._regulate()
                if self._unsent:
                    self._has_work.set()
                elif self._is_closing:
                    await send({"type": "websocket.close", "code": self._close_code})
                    return
        except OSError:  # of a client that is gone
            self.abort()

    def _regulate(self) -> None:
        size = self.get_write_buffer_size()
        if size > self._high_water and not self._is_paused:
            self._is_paused = True
            self._connection.pause_writing()
        elif self._is_paused and size <= self._high_water // 4:
            self._is_paused = False
            self._connection.resume_writing()

    # For the connection

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high_water = high or 0

    def get_write_buffer_size(self) -> int:
        return self._sending + len(self._unsent)

    def write(self, data: Any) -> None:  # Any: bytes of any kind, which typeshed names differently by version
        if not self._is_closing:
            self._unsent += data
            self._has_work.set()
            self._regulate()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Send what is unsent, then say goodbye."""
        self._is_closing = True
        self._has_work.set()
        self._may_read.set()

    def abort(self) -> None:
        """Stop at once."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
