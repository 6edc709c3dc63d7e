"""The HTTP server of a process: one port, requests handed to whatever is mounted at the start of their path.

WebSockets are handed to what is mounted for them; any other path refuses them.

uvicorn is embedded: it neither handles signals nor ends the process, both are the life cycle's (`service`).
"""

import asyncio
import contextlib
import functools
import math
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.protocol import State

from kaa_common.errors import StartError
from kaa_common.held import Held
from kaa_common.http_errors import answer_http_error
from kaa_common.line import Line

BACKLOG = 2048
"""Connections the kernel keeps waiting to be accepted: a whole site's devices coming back at once."""
UNSENT_FOR = 120
"""Seconds that a client may leave what it is sent unacknowledged, or refuse to read it, before the kernel drops it:
neither HTTP nor WebSocket ends by itself a connection on which something remains to be written."""
REQUEST_WITHIN = 10.0
"""Seconds for a request to begin, and for its headers to end: a slow mobile network, not somebody who only holds a
place."""
MAX_HEADERS = 64 * 1024
"""Bytes of a request beside its body, so of its first line and its headers: a list of a thousand endpoints fits in."""
HEADERS_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MAX_HEADER_LINES = 256
"""Headers of a request: browsers and proxies have some forty."""
REQUEST_PIECE = 2048
"""Bytes of what a client sends that are taken in before it is looked whether others should have their turn."""
PARTS_AT_ONCE = 64
"""Pieces, headers and parts of a body of one client that are taken in before others get their turn: a fraction of a
millisecond, unless the last piece has hundreds."""
FRAMES_PIECE = 512
"""Bytes of what a client sends that are taken in at once, unless they are inside of a frame: a millisecond's frames."""
CLOSED_WITHIN = 2.0
"""Seconds for a client to answer that its WebSocket ends; whoever served it has done with it by then."""
SERVICE_RESTART = CloseCode.SERVICE_RESTART
"""Code of the `websocket.disconnect` that asks an application to end its WebSocket, which is open until it has."""
MAX_WEBSOCKET_MESSAGE = 2 * 1024 * 1024
"""Bytes: the largest MQTT packet, with all that a client may have put before it."""
MAX_FRAGMENTS = 10_000
"""Of a message: 200 bytes each in the longest one."""
MAX_WEBSOCKETS_HOLD = 128 * 1024 * 1024
"""Bytes of messages that are not there in full, or not taken, of all WebSockets together; beyond it those are ended
that have held something for longest."""
PING_INTERVAL = 30.0
"""Seconds between two pings: they keep a WebSocket open in proxies, which close idle ones after a minute, and find out
that its client vanished."""


class Gateway:
    """Hands each request to the application mounted at the first segment of its path."""

    def __init__(self, routes: list[Route]) -> None:
        self._own = Starlette(routes=routes, exception_handlers={HTTPException: answer_http_error})
        self._mounted: dict[str, ASGIApp] = {}
        self._websockets: dict[str, ASGIApp] = {}

    def mount(self, prefix: str, app: ASGIApp) -> None:
        """Serve `/<prefix>` and all below. The application sees the whole path."""
        self._mounted[prefix] = app

    def unmount(self, prefix: str) -> None:
        del self._mounted[prefix]

    def mount_websocket(self, path: str, app: ASGIApp) -> None:
        """Hand the WebSockets at exactly this path to the application."""
        self._websockets[path] = app

    def unmount_websocket(self, path: str) -> None:
        del self._websockets[path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websockets.get(scope["path"], self._own)(scope, receive, send)
            return
        prefix = scope["path"].removeprefix("/").partition("/")[0]
        await self._mounted.get(prefix, self._own)(scope, receive, send)


class _Flow(FlowControl):
    """Reads no more while something is held back, whoever has room for it."""

    is_held = False

    def hold(self) -> None:
        self.is_held = True
        self.pause_reading()

    def let_go(self) -> None:
        self.is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class _Http(HttpToolsProtocol):
    """uvicorn waits for ever for a connection's first request, and for the end of its headers, however long and many
    they are; it reads all requests that are there before it has answered the first of them; and it takes in all that
    is there at once, so that a thousand newcomers, or one with a hundred thousand headers, keep all others waiting."""

    flow: _Flow
    _late: asyncio.TimerHandle | None = None

    def __init__(self, line: Line, *arguments: Any, **named: Any) -> None:  # Any: only passed on
        super().__init__(*arguments, **named)
        self._line = line
        self._unread = bytearray()
        self._parts = self._bytes_beside_body = 0
        self._is_new = True
        self._has_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._is_new:  # as thousands may be at once
            self._is_new = False
            self._go_on()
        else:
            self.take_turn()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn has its connections closed at once
        # What is answered at once is answered before that.
        self.loop.call_soon(self.transport.close)
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._unread:
            self._line.wait(self)

    def take_turn(self) -> None:
        """Take in some of what is unread."""
        self._parts = 0
        while self._may_take_in() and self._parts < PARTS_AT_ONCE:
            piece = bytes(self._unread[:REQUEST_PIECE])
            del self._unread[:REQUEST_PIECE]
            self._parts += 1
            self._has_body = False
            super().data_received(piece)
            if self.transport.get_protocol() is not self:  # it is a WebSocket from now on
                self._unread.clear()
                self.flow.let_go()
                return
            if not self._has_body:
                self._count_headers(len(piece))
        self._go_on()

    def _may_take_in(self) -> bool:
        return bool(self._unread) and not self.pipeline and not self.transport.is_closing()

    def _go_on(self) -> None:
        """See to it that what is unread has its turn, and that there is not more of it meanwhile."""
        if self.transport.is_closing():
            self._unread.clear()
        elif self._unread:
            self.flow.hold()
            if self.pipeline:
                self._stop_waiting()  # whoever waits now is us
            else:
                self._line.wait(self)
        elif self.flow.is_held:
            self.flow.let_go()

    def _count_headers(self, size: int) -> None:
        self._bytes_beside_body += size
        if self._bytes_beside_body <= MAX_HEADERS and len(self.headers or ()) <= MAX_HEADER_LINES:
            return
        if self._late is not None and not self.transport.is_closing():
            self.transport.write(HEADERS_TOO_LONG)
        self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parts += 1
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._parts += 1
        self._has_body = True
        super().on_body(body)

    def on_message_begin(self) -> None:
        self._bytes_beside_body = 0
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(REQUEST_WITHIN, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn bounds the bytes of a message, but neither its fragments, which may be empty, nor what all clients leave
    unfinished, which it keeps for some time after they are gone; it takes in all the frames that are there at once; it
    logs as an error of its own what a client does wrong; it leaves handshakes open that are longer than a WebSocket's,
    or have a body; and a stop closes its WebSockets whatever is in progress."""

    def __init__(self, all_held: Held, line: Line, *arguments: Any, **named: Any) -> None:  # Any: only passed on
        super().__init__(*arguments, **named)
        self.close_timeout = CLOSED_WITHIN
        self._all_held = all_held
        self._line = line
        self._unread = bytearray()
        self._has_taken = False
        self._continued = self._waiting = 0

    def held(self) -> int:
        """Bytes of a frame that is not there in full, of the frames before it, of the message before that, and of what
        waits for its turn."""
        first = len(self.frames[0]) if self.frames else 0
        return len(self.conn.reader.buffer) + first + self._continued + self._waiting + len(self._unread)

    def let_go(self) -> None:
        if self.conn.state is State.OPEN:
            self._fail(CloseCode.TRY_AGAIN_LATER, "holds too much for too long")
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > FRAMES_PIECE:
            self._go_on()
        else:
            self.take_turn()

    def take_turn(self) -> None:
        """Take in frames until there was one."""
        self._has_taken = False
        while self._unread and not self._has_taken and not self.read_paused and not self.transport.is_closing():
            piece = bytes(self._unread[:FRAMES_PIECE])
            del self._unread[:FRAMES_PIECE]
            super().data_received(piece)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
        self._go_on()
        self._all_held.note(self)

    def handle_events(self) -> None:
        self._has_taken = bool(self.conn.events)
        super().handle_events()

    def _go_on(self) -> None:
        """See to it that what is unread has its turn, and that there is not more of it meanwhile."""
        if self.transport.is_closing():
            self._unread.clear()
        elif self._unread:
            self.transport.pause_reading()
            if not self.read_paused:
                self._line.wait(self)
        elif not self.read_paused:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unread.clear()
        # The protocol and its parser know each other, so they are not gone before the next collection of garbage.
        self.conn.reader.discard()
        self.frames.clear()
        self._all_held.forget(self)

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": SERVICE_RESTART})
        else:
            super().shutdown()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            self._continued += len(event.data)
            super().handle_cont(event)
        else:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf_8(b"".join(self.frames)):
            self._fail(CloseCode.INVALID_DATA, "a text that is not UTF-8")
        else:
            self._waiting = sum(map(len, self.frames))
            self._continued = 0
            super().send_receive_event_to_app()

    async def receive(self) -> Any:  # Any: a type of uvicorn's own
        self._waiting = 0  # who asks for the next message is done with the one before
        self._all_held.note(self)
        message = await super().receive()
        self._go_on()
        return message

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames.clear()
        self._continued = 0
        self.conn.fail(code, reason)
        self.conn.reader.discard()
        self.handle_parser_exception()


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening address. Raises StartError with a sentence for the operator."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Both are taken over by every connection.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_FOR * 1000)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port}: {exc.strerror}; choose another port with {setting}") from exc
    return listener


@asynccontextmanager
async def serve(app: ASGIApp, listener: socket.socket, grace: float, trusted_proxies: str = "") -> AsyncIterator[None]:
    """Serve an application until the context is left; requests in progress then get `grace` seconds to finish.

    What the trusted proxies, addresses or networks separated by commas, say of their clients is believed; without any,
    nobody may say that he is somebody else.
    """
    line = Line()
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=cast("type[asyncio.Protocol]", functools.partial(_Http, line)),
            ws=cast("type[asyncio.Protocol]", functools.partial(_WebSocket, Held(MAX_WEBSOCKETS_HOLD), line)),
            ws_max_size=MAX_WEBSOCKET_MESSAGE,
            ws_ping_interval=PING_INTERVAL,
            ws_ping_timeout=PING_INTERVAL,
            ws_per_message_deflate=False,  # it takes more memory than a device's messages
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=trusted_proxies,
            backlog=BACKLOG,
            timeout_graceful_shutdown=math.ceil(grace),
        )
    )
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve([listener]), name="http server")
        try:
            yield
        finally:
            server.should_exit = True
            # Also when the context is left by an error: the group would cancel it, and leave its connections open.
            await asyncio.wait([serving])
