"""Who is named by a SUBSCRIBE is asked for once more, when creds or tekton could not be asked at the time.

A PUBLISH whose sender cannot be identified is answered, and may be sent again; a SUBSCRIBE has been confirmed by then,
and a device that only listens would be waiting for ever.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import Counter

from kaa_common.errors import KaaError, status_of
from kpc.edge import Edge, Speaker
from kpc.kp1 import Name
from kpc.mqtt_connection import Connection
from kpc.tokens import Guesser

logger = logging.getLogger(__name__)

ASK_AGAIN_INTERVAL = 1.0
"""Seconds."""
ASKED_AT_ONCE = 64
MAX_WAITING = 100_000
"""Subscribers to be asked for again: all of a well-filled replica, when creds was away as they came back."""

SUBSCRIBERS = Counter("kpc_mqtt_subscribers", "Those named by subscriptions, by status code", ["status"])

OnIdentified = Callable[[Connection, Speaker, int], Awaitable[None]]


class Subscribers:
    """Finds out who subscribes; `on_identified` gets the connection, who it is, and the QoS."""

    def __init__(self, edge: Edge, on_identified: OnIdentified) -> None:
        self._edge = edge
        self._on_identified = on_identified
        self._waiting: dict[tuple[Connection, Name], tuple[Guesser, int]] = {}

    async def identify(self, connection: Connection, name: Name, guesser: Guesser, qos: int) -> None:
        """Whoever may not speak is passed over: the subscription says nothing then."""
        try:
            speaker = await self._edge.identify(name, guesser)
            if connection.is_open:
                await self._on_identified(connection, speaker, qos)
            status_code = 200
        except KaaError as exc:
            status_code, reason_phrase = status_of(exc)
            logger.debug("%s subscribes, but: %s", connection, reason_phrase)
        SUBSCRIBERS.labels(str(status_code)).inc()
        if status_code >= 500 and len(self._waiting) < MAX_WAITING:
            self._waiting[connection, name] = (guesser, qos)

    async def ask_again(self) -> None:
        """Ask for all that wait, until some have to wait again."""
        waiting = [(who, how) for who, how in self._waiting.items() if who[0].is_open]
        self._waiting = {}
        while waiting and not self._waiting:
            some, waiting = waiting[:ASKED_AT_ONCE], waiting[ASKED_AT_ONCE:]
            async with asyncio.TaskGroup() as tasks:
                for (connection, name), (guesser, qos) in some:
                    tasks.create_task(self.identify(connection, name, guesser, qos), name="subscriber")
        self._waiting |= dict(waiting)

    async def keep_asking(self) -> None:
        while True:
            await asyncio.sleep(ASK_AGAIN_INTERVAL)
            await self.ask_again()


@asynccontextmanager
async def asking(subscribers: Subscribers) -> AsyncIterator[None]:
    """Who could not be identified is asked for again until the context is left."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(subscribers.keep_asking(), name="subscribers")
        try:
            yield
        finally:
            task.cancel()
