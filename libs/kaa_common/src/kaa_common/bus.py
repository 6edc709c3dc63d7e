"""The bus: a narrow port, and its adapter to NATS.

The adapter replaces what the client library would do by default: a message goes to its handler where it arrives, a
subscription handles several at once (bounded), a failing handler is logged and never ends the subscription, queues have
stated limits, a publish while the connection is down fails at once instead of piling up, and closing waits for the
handlers in progress.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from kaa_common import nats_client
from kaa_common.errors import PayloadTooLarge, Unavailable

logger = logging.getLogger(__name__)

PENDING_MESSAGES = 65_536
PENDING_BYTES = 64 * 1024 * 1024
"""What a subscription may have waiting before messages are dropped (and it is logged): seconds of full load."""
MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""What may wait to be sent before a publish is refused: a server that takes no more is as good as none."""
DRAIN_TIMEOUT = 5.0
"""Seconds that handlers in progress get when the bus is closed."""
FLUSH_TIMEOUT = 1.0
"""Seconds that the server then gets to take what they published."""

_NOT_REACHABLE = "the message bus is not reachable"


NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class BusMessage(NamedTuple):
    subject: str
    data: bytes
    reply: str = ""
    headers: Mapping[str, str] = NO_HEADERS


Handler = Callable[[BusMessage], Awaitable[None] | None]
"""Handles a message: a plain function where it arrives; what a handler returns is waited for."""


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

    def __init__(
        self, client: nats_client.Client, tasks: asyncio.TaskGroup, connection_lost: list[Callable[[], None]]
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._connection_lost = connection_lost
        self._subscribers: list[_Subscriber] = []

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if not self._client.is_connected:
            raise Unavailable(_NOT_REACHABLE)
        if self._client.unsent_size > MAX_UNSENT_BYTES:
            raise Unavailable("the message bus does not keep up")
        try:
            self._client.send(subject, data, reply, headers)
        except MaxPayloadError as exc:
            raise PayloadTooLarge(f"the message bus takes up to {self._client.max_payload} bytes") from exc
        except (NatsError, OSError) as exc:
            raise Unavailable(_NOT_REACHABLE) from exc

    async def flush(self, timeout: float) -> None:
        if not self._client.is_connected:
            raise Unavailable(_NOT_REACHABLE)
        try:
            async with asyncio.timeout(timeout):
                await self._client.flush()
        except (NatsError, OSError, TimeoutError) as exc:
            raise Unavailable(_NOT_REACHABLE) from exc

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 1) -> None:
        subscriber = _Subscriber(handler, concurrency, self._client, self._tasks)
        subscriber.subscription = await self._client.receive(subject, subscriber.take, queue=queue)
        self._subscribers.append(subscriber)

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        self._connection_lost.append(callback)

    async def leave_queues(self) -> None:
        """Leave what other replicas take part in to them, and let the handlers of it finish."""
        await self._drain([subscriber for subscriber in self._subscribers if subscriber.subscription.queue])

    async def drain(self) -> None:
        """Take no more messages, let the handlers in progress finish, send what they published."""
        await self._drain(list(self._subscribers))
        with contextlib.suppress(Unavailable):
            await self.flush(FLUSH_TIMEOUT)

    async def _drain(self, subscribers: list["_Subscriber"]) -> None:
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT):
                # The last first: what a handler relies on, as the answers to its own requests, was there before it.
                for subscriber in reversed(subscribers):
                    await subscriber.drain()
                    self._subscribers.remove(subscriber)
        except TimeoutError:
            logger.warning("messages are still being handled after %g s, giving up on them", DRAIN_TIMEOUT)
            for subscriber in subscribers:
                subscriber.give_up()


class _Subscriber:
    """Hands the messages of one subscription to their handler."""

    subscription: Subscription

    def __init__(
        self, handler: Handler, concurrency: int, client: nats_client.Client, tasks: asyncio.TaskGroup
    ) -> None:
        self._handler = handler
        self._concurrency = concurrency
        self._client = client
        self._tasks = tasks
        self._in_progress: set[asyncio.Task[None]] = set()
        self._waiting: deque[BusMessage] = deque()
        self._waiting_bytes = 0

    def take(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str]) -> bool:
        """Handle a message, when it is its turn; False when too many wait."""
        message = BusMessage(subject, data, reply, headers)
        if len(self._in_progress) < self._concurrency:
            self._begin(message)
            return True
        if len(self._waiting) >= PENDING_MESSAGES or self._waiting_bytes + len(data) > PENDING_BYTES:
            return False
        self._waiting.append(message)
        self._waiting_bytes += len(data)
        return True

    async def drain(self) -> None:
        """Return when nothing more will come and all that came is handled."""
        with contextlib.suppress(NatsError):  # the client is closed already
            await self.subscription.drain()  # type: ignore[no-untyped-call] # the client is partly typed
        while self._in_progress:
            await asyncio.wait(self._in_progress)

    def give_up(self) -> None:
        self._waiting.clear()
        for task in self._in_progress:
            task.cancel()

    def _begin(self, message: BusMessage) -> None:
        try:
            rest = self._handler(message)
        except Exception as exc:
            self._report(message, exc)
            return
        if rest is not None:
            task = self._tasks.create_task(self._handle(message, rest), name=message.subject)
            self._in_progress.add(task)
            task.add_done_callback(self._handled)

    async def _handle(self, message: BusMessage, rest: Awaitable[None]) -> None:
        try:
            await rest
        except Exception as exc:
            self._report(message, exc)

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        while self._waiting and len(self._in_progress) < self._concurrency:
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.data)
            self._begin(message)

    def _report(self, message: BusMessage, error: Exception) -> None:
        if isinstance(error, Unavailable):
            # Without a connection every message in progress ends so, and the client has said why.
            level = logging.WARNING if self._client.is_connected else logging.DEBUG
            logger.log(level, "a message on %s was not handled: %s", message.subject, error)
        else:
            logger.error("the handler of %s failed", message.subject, exc_info=error)


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[NatsBus]:
    """A bus of the NATS servers of `url` (comma-separated), waiting for one as long as it takes.

    The connection comes back by itself when it is lost. Leaving the context drains and closes it.
    Raises StartError when `url` does not name servers.
    """
    servers = nats_client.servers_of(url)
    connection_lost: list[Callable[[], None]] = []
    # The client is closed first: from then on nothing adds to the tasks.
    async with asyncio.TaskGroup() as tasks, nats_client.connect(servers, name, connection_lost) as client:
        bus = NatsBus(client, tasks, connection_lost)
        try:
            yield bus
        finally:
            await bus.drain()
