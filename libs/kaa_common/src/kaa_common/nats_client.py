"""The NATS client as the bus needs it: it never gives up, it flushes in order, and it reports trouble once.

By itself the library's client reports each of its attempts, four a second; it closes for good after most errors that a
server sends, as when the password is changed; and its `flush` may return before the server has everything. On the way
of a message it wakes a task to read, one to handle and one to write: here nobody is woken (docs/adr/0029).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from urllib.parse import urlsplit

from cachetools import TTLCache
from nats.aio.client import PING_PROTO, Srv, _validate_subject
from nats.aio.client import Client as LibraryClient
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, MaxPayloadError, ProtocolError, SlowConsumerError, UnexpectedEOF
from nats.errors import Error as NatsError
from nats.protocol.parser import PERMISSIONS_ERR

from kaa_common.errors import StartError

logger = logging.getLogger(__name__)

RECONNECT_WAIT = 0.25
"""Seconds between two attempts to connect: short, as a restarted server is back within a second."""
PING_INTERVAL = 5
"""Seconds; two unanswered pings end a connection whose other side is gone without a word."""
SAY_AGAIN_AFTER = 60.0
"""Seconds before the same trouble is logged again."""
MAX_SAID = 100
"""Different troubles remembered as logged; more than there are kinds of."""
DEFAULT_PORT = 4222

MAX_ADDRESSES = 1000
"""Subjects of messages remembered as they are sent: a service speaks to few others."""

Receiver = Callable[[str, bytes, str, Mapping[str, str]], bool]
"""Takes the subject, data, reply subject and headers of a message; False when it is too much."""


def servers_of(url: str) -> list[str]:
    """The servers that a comma-separated list names. Raises StartError when it does not."""
    servers = [server.strip() for server in url.split(",")]
    for server in servers:
        _address(server)
    return servers


@asynccontextmanager
async def connect(servers: list[str], name: str, connection_lost: list[Callable[[], None]]) -> AsyncIterator["Client"]:
    """A connected client; `connection_lost` are called whenever it may have missed messages."""
    reports = _Reports(f"{', '.join(map(_address, servers))} ({name})", connection_lost)
    client = reports.client
    try:
        await client.connect(
            servers=servers,
            name=name,
            error_cb=reports.failed,
            disconnected_cb=reports.disconnected,
            reconnected_cb=reports.connected,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type] # annotated as int, passed to asyncio.sleep
            ping_interval=PING_INTERVAL,
            pending_size=0,  # keeps nothing to be sent later while there is no connection, and never waits to send
        )
        await reports.connected()
        yield client
    finally:
        await client.close()


class Client(LibraryClient):
    """Made by `connect`."""

    def __init__(self) -> None:
        super().__init__()
        self._receivers: dict[int, Receiver] = {}
        self._end_of_turn: asyncio.Handle | None = None

    async def receive(self, subject: str, receiver: Receiver, *, queue: str = "") -> Subscription:
        """Subscribe; each message is handed over where it arrives."""
        subscription = await self.subscribe(subject, queue=queue)
        self._receivers[subscription._id] = receiver
        return subscription

    def send(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None) -> None:
        """Publish. Raises MaxPayloadError, BadSubjectError, and ConnectionClosedError when there is no connection."""
        if self._open_writer is None:
            raise ConnectionClosedError
        address, head = _address_of(subject, reply), _head_of(headers) if headers else b""
        size = len(head) + len(data)
        if size > self._max_payload:
            raise MaxPayloadError
        if head:
            command = b"HPUB %b %d %d\r\n%b%b\r\n" % (address, len(head), size, head, data)
        else:
            command = b"PUB %b %d\r\n%b\r\n" % (address, size, data)
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._flush()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receiver = self._receivers.get(sid)
        if receiver is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        parsed = await self._process_headers(headers) if headers else None
        if not receiver(subject.decode(), data, reply.decode(), parsed or {}):
            await self._error_cb(SlowConsumerError(subject.decode(), reply.decode(), sid, self._subs[sid]))

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._receivers.pop(sid, None)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is not None:
            # The library leaves it open when the server refuses an attempt to come back.
            self._transport.close()  # type: ignore[no-untyped-call] # the client is partly typed
        await super()._connect_to_server(s)

    async def close(self) -> None:
        # The bus has flushed: what is left cannot be sent. The library would try, fail, and stay half open.
        self._pending, self._pending_data_size = [], 0
        await super().close()

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        # The library lets a PING overtake what still waits to be sent, so that its PONG says nothing about that.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def flush(self, timeout: int = 10) -> None:
        if not self.is_connected:
            return await super().flush(timeout)
        # The library's own loses a cancellation that comes together with the PONG (asyncio.wait_for before 3.12).
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            await self._send_ping(future)
            await future
        return None

    @property
    def unsent_size(self) -> int:
        """Bytes that wait to be sent."""
        writer = self._writer
        return self._pending_data_size + (0 if writer is None else writer.transport.get_write_buffer_size())

    @property
    def _writer(self) -> asyncio.StreamWriter | None:
        return self._transport._io_writer if isinstance(self._transport, TcpTransport) else None

    @property
    def _open_writer(self) -> asyncio.StreamWriter | None:
        """Of the connection, while there is one."""
        writer = self._writer
        return writer if self.is_connected and writer is not None and not writer.is_closing() else None

    async def _read_loop(self) -> None:
        # Messages are parsed where they arrive; the library's loop would be woken for them. It hears of the end only.
        assert isinstance(self._transport, TcpTransport)
        reader = self._transport._io_reader
        assert reader is not None
        reader.feed_data = partial(self._parse, reader)  # type: ignore[method-assign] # of this stream alone
        await super()._read_loop()

    def _parse(self, reader: asyncio.StreamReader, data: bytes) -> None:
        try:
            self._ps.parse(data).send(None)
        except StopIteration:
            return
        except Exception as exc:
            reader.set_exception(exc)
        else:
            reader.set_exception(ProtocolError("what a message brings about must not wait"))

    async def _flush_pending(self, force_flush: bool = False) -> None:
        self._flush()

    def _flush(self) -> None:
        """Write the first of what is said in a turn of the event loop at once, and the rest in one piece at its end."""
        if self._end_of_turn is None:
            self._write_pending()

    def _write_pending(self) -> None:
        self._end_of_turn = None
        writer = self._open_writer
        if self._pending and writer is not None:
            writer.write(b"".join(self._pending))
            self._pending, self._pending_data_size = [], 0
            self._end_of_turn = asyncio.get_running_loop().call_soon(self._write_pending)

    async def _process_pong(self) -> None:
        # Whoever waited for it may have given up; the library would fail at that, and never read again.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        error = NatsError(f"nats: {err_msg}")
        await self._error_cb(error)
        if PERMISSIONS_ERR not in err_msg:
            await self._process_op_err(error)


@lru_cache(MAX_ADDRESSES)
def _address_of(subject: str, reply: str) -> bytes:
    """The subjects of a message as they are sent. Raises BadSubjectError when one would be another command."""
    for one in (subject, reply) if reply else (subject,):
        _validate_subject(one)
    return f"{subject} {reply}".encode()


def _head_of(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent. Raises ValueError when one would be two."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers):
        raise ValueError("a header with a line break")
    return f"NATS/1.0\r\n{lines}\r\n".encode()


class _Reports:
    """What the client calls back."""

    def __init__(self, where: str, connection_lost: list[Callable[[], None]]) -> None:
        self.client = Client()
        self._where = where
        self._connection_lost = connection_lost
        self._said: TTLCache[str, bool] = TTLCache(MAX_SAID, SAY_AGAIN_AFTER)
        self._dropped = 0

    async def connected(self) -> None:
        self._messages_missed()
        self._said.clear()
        logger.info("connected to NATS at %s", self._where)

    async def disconnected(self) -> None:
        if not self.client.is_closed:
            self._messages_missed()
            logger.warning("lost the connection to NATS at %s", self._where)

    async def failed(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            self._dropped += 1
            self._messages_missed()
            if self._is_news(error.subject):
                logger.error("more on %s than can be handled: %d messages dropped so far", error.subject, self._dropped)
        elif not isinstance(error, UnexpectedEOF):  # which `disconnected` reports
            reason = str(error) or type(error).__name__
            if self._is_news(reason):
                state = "" if self.client.is_connected else "waiting for "
                logger.warning("%sNATS at %s: %s", state, self._where, reason)

    def _messages_missed(self) -> None:
        for callback in self._connection_lost:
            callback()

    def _is_news(self, text: str) -> bool:
        is_news = text not in self._said
        self._said.setdefault(text, True)
        return is_news


def _address(server: str) -> str:
    """Host and port of a server's URL, for people: without the password that the URL may hold."""
    try:
        parts = urlsplit(server)
        if parts.scheme in ("nats", "tls") and parts.hostname:
            return f"{parts.hostname}:{parts.port or DEFAULT_PORT}"
    except ValueError:  # of the port; its text would show what may be a password
        pass
    raise StartError("NATS_URL must name servers as nats://[user:password@]host[:port], separated by commas")
