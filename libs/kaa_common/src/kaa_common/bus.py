"""The bus: a narrow port, and its adapter to NATS.

The adapter replaces what the client library would do by default: a subscription handles several messages at once
(bounded), a failing handler is logged and never ends the subscription, queues have stated limits, a publish while the
connection is down fails at once instead of piling up, and closing waits for the handlers in progress.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError

from kaa_common.errors import Unavailable

logger = logging.getLogger(__name__)

RECONNECT_WAIT = 0.25
"""Seconds between two attempts to connect: short, as a restarted server is back within a second."""
PING_INTERVAL = 5
"""Seconds; two unanswered pings end a connection whose other side is gone without a word."""
PENDING_MESSAGES = 65_536
PENDING_BYTES = 64 * 1024 * 1024
"""What a subscription may have waiting before the client drops messages (counted and logged): seconds of full load."""
DRAIN_TIMEOUT = 5.0
"""Seconds that handlers in progress get when the bus is closed."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    subject: str
    data: bytes
    reply: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[BusMessage], Awaitable[None]]


class Bus(Protocol):
    """Subjects, payloads and headers; nothing of what they mean."""

    @property
    def connected(self) -> bool: ...

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand a message to the bus. Raises Unavailable when it is not connected."""
        ...

    async def flush(self, timeout: float) -> None:
        """Return when the server has what was published before. Raises Unavailable."""
        ...

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 1) -> None:
        """Handle the messages of a subject, in their order; with a `concurrency` above 1 up to so many at once.

        Of all subscribers with the same `queue` only one gets a message.
        """
        ...

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        """Call back whenever messages may have been missed."""
        ...


class NatsBus:
    """Made by `connect`."""

    def __init__(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self._subscriptions: list[Subscription] = []
        self._in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._connection_lost: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if not self._client.is_connected:
            raise Unavailable("the message bus is not reachable")
        try:
            await self._client.publish(subject, data, reply, dict(headers) if headers else None)
        except (NatsError, OSError) as exc:
            raise Unavailable("the message bus is not reachable") from exc

    async def flush(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._client.flush()
        except (NatsError, OSError, TimeoutError) as exc:
            raise Unavailable("the message bus is not reachable") from exc

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 1) -> None:
        slots = asyncio.Semaphore(concurrency)

        async def deliver(message: Msg) -> None:
            await slots.acquire()
            self._started()
            self._tasks.create_task(self._handle(handler, message, slots), name=subject)

        async def deliver_in_order(message: Msg) -> None:
            self._started()
            await self._handle(handler, message, None)

        subscription = await self._client.subscribe(
            subject,
            queue=queue,
            cb=deliver if concurrency > 1 else deliver_in_order,
            pending_msgs_limit=PENDING_MESSAGES,
            pending_bytes_limit=PENDING_BYTES,
        )
        self._subscriptions.append(subscription)

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        self._connection_lost.append(callback)

    def connection_lost(self) -> None:
        """Called by the client."""
        for callback in self._connection_lost:
            callback()

    async def drain(self) -> None:
        """Take no more messages, let the handlers in progress finish, send what they published."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):
                for subscription in self._subscriptions:
                    # While the connection is down a subscription can neither be drained nor needs to be.
                    with contextlib.suppress(NatsError):
                        await subscription.drain()  # type: ignore[no-untyped-call] # the client is partly typed
                await self._idle.wait()
        with contextlib.suppress(Unavailable):
            await self.flush(1.0)

    async def _handle(self, handler: Handler, message: Msg, slots: asyncio.Semaphore | None) -> None:
        try:
            await handler(BusMessage(message.subject, message.data, message.reply, message.headers or {}))
        except Unavailable as exc:
            logger.warning("a message on %s was not answered: %s", message.subject, exc)
        except Exception:
            logger.exception("the handler of %s failed", message.subject)
        finally:
            if slots is not None:
                slots.release()
            self._in_progress -= 1
            if self._in_progress == 0:
                self._idle.set()

    def _started(self) -> None:
        self._in_progress += 1
        self._idle.clear()


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[NatsBus]:
    """A connection to the NATS servers of `url` (comma-separated), waiting for one as long as it takes.

    It comes back by itself when it is lost. Leaving the context drains and closes it.
    """
    client = Client()
    servers = url.split(",")
    where = ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in servers)
    bus: NatsBus | None = None
    waiting = False

    async def disconnected() -> None:
        if bus is not None and not client.is_closed:
            bus.connection_lost()
            logger.warning("lost the connection to NATS at %s", where)

    async def reconnected() -> None:
        nonlocal waiting
        waiting = False
        if bus is not None:
            bus.connection_lost()
        logger.info("connected to NATS at %s again", where)

    async def failed(error: Exception) -> None:
        nonlocal waiting
        if isinstance(error, SlowConsumerError):
            logger.error("messages on %s were dropped: more arrive than can be handled", error.subject)
        elif not waiting:
            waiting = True
            logger.warning("waiting for NATS at %s: %s", where, error)

    await client.connect(
        servers=servers,
        name=name,
        error_cb=failed,
        disconnected_cb=disconnected,
        reconnected_cb=reconnected,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT,  # type: ignore[arg-type] # annotated as int, passed to asyncio.sleep
        ping_interval=PING_INTERVAL,
    )
    logger.info("connected to NATS at %s", where)
    try:
        async with asyncio.TaskGroup() as tasks:
            bus = NatsBus(client, tasks)
            try:
                yield bus
            finally:
                await bus.drain()
    finally:
        await client.close()
