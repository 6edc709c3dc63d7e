"""Whoever listens to the platform's events: keeps each as it came, in the order of their arrival."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from kaa_common.avro import decode
from kaa_common.messages.elce import DISCONNECTED, REGISTERED
from kaa_common.messages.eme import METADATA_UPDATED
from kaa_common.subjects import EventSubject, parse
from support.waiting import until

RECORDS = {event.path: event.record for event in (REGISTERED, METADATA_UPDATED, DISCONNECTED)}
RECONNECT_WAIT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    path: tuple[str, ...]
    record: Any  # Any: one of RECORDS
    data: bytes
    headers: Mapping[str, str]

    @property
    def revision(self) -> int:
        return int(self.headers["Kaa-Endpoint-Revision"])


class Listener:
    """Made by `listening`."""

    def __init__(self, client: Client) -> None:
        self.events: list[Heard] = []
        self._client = client

    async def hear(self, message: Msg) -> None:
        subject = parse(message.subject)
        assert isinstance(subject, EventSubject)
        if record := RECORDS.get(subject.path):
            decoded: Any = decode(record, message.data)
            self.events.append(
                Heard(path=subject.path, record=decoded, data=message.data, headers=message.headers or {})
            )

    async def until_connected(self) -> None:
        """Return when nothing that is published from now on is missed."""
        await until(lambda: self._client.is_connected)
        await self.flush()

    async def flush(self) -> None:
        """Return when everything that the server has got is heard."""
        await self._client.flush()

    def changes_of(self, endpoint_id: str) -> list[Heard]:
        """The first copy of each event of the endpoint's registration and metadata, as they arrived."""
        first: dict[str, Heard] = {}
        for heard in self.events:
            if heard.path != DISCONNECTED.path and heard.record.endpoint_id == endpoint_id:
                known = first.setdefault(heard.headers["Nats-Msg-Id"], heard)
                assert known.data == heard.data, "two events with the same Nats-Msg-Id"
        return list(first.values())

    def disconnected(self) -> set[str]:
        """The endpoints whose disconnection was announced."""
        return {
            endpoint_id
            for heard in self.events
            if heard.path == DISCONNECTED.path
            for endpoint_id in heard.record.endpoints
        }


@asynccontextmanager
async def listening(nats_url: str) -> AsyncIterator[Listener]:
    """A listener that comes back sooner than any service does when the server is restarted."""

    async def ignore(_: Exception) -> None:
        """The library would log each attempt to come back."""

    client = await nats.connect(
        nats_url,
        reconnect_time_wait=RECONNECT_WAIT,
        max_reconnect_attempts=-1,
        error_cb=ignore,
    )
    listener = Listener(client)
    try:
        await client.subscribe("kaa.v1.events.>", cb=listener.hear)
        await client.flush()
        yield listener
    finally:
        async with asyncio.timeout(5):
            await client.close()
