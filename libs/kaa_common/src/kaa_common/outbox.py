"""Events that are never lost: they are part of the document whose change they report, until they are published.

A change and its events are one atomic write (`append`, then insert or replace). After it `publish` hands the events to
the bus, or to a stream of it; when that has them they are taken out again, with the next change or, when none comes
soon, in the background, by a compare-and-set that keeps the revision: whoever changed the document in between has kept
them. What a crash or a lost connection left behind is found by a sweep, through the index on `pending`, the time of the
change.

So each event is published at least once, the first copies in the order of the document's revisions; a repeated one has
the same `Nats-Msg-Id`. A document with `deleted` true is a tombstone: it goes when its events are published.
"""

import asyncio
import contextlib
import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from kaa_common.avro import encode
from kaa_common.clock import now_ms
from kaa_common.errors import PayloadTooLarge, Unavailable
from kaa_common.recent import Recent
from kaa_common.store import Collection, Document, DocumentStore, Index

logger = logging.getLogger(__name__)

PENDING: Final = Index("pending", ("pending",))
"""To be an index of every collection with an outbox."""

MAX_UNSETTLED: Final = 512
"""Documents whose events are published and not taken out yet; they are kept in memory, so callers wait beyond that."""
CONFIRM_PAUSE: Final = 0.01
"""Seconds between two questions to the server whether it has what was published: one for many events."""
TAKE_OUT_AFTER: Final = 0.5
"""Seconds that confirmed events stay in their document: one that changes again within them needs no write for it."""
MAX_CONFIRMED: Final = 512
"""Documents that may wait for that; they are kept in memory, so of more the first ones wait no longer."""
MAX_SENT: Final = 20_000
"""Events remembered as sent, so that a document read before they were taken out does not send them again."""
FLUSH_TIMEOUT: Final = 5.0
SWEEP_INTERVAL: Final = 5.0
"""Seconds between two looks for what was left behind."""
SWEEP_AGE_MS: Final = 5_000
"""A change this young is still being published by the replica that made it."""
PENDING_STEP_MS: Final = 1_000
"""How exact the time of a change is kept: a document that changes all the time moves in the index once in this time."""
SWEEP_PAGE: Final = 100

Entry = dict[str, Any]  # Any: part of a document


class Publisher(Protocol):
    """What events are handed to: a `bus.Bus`, or an `event_stream.EventStream`."""

    async def publish(self, subject: str, data: bytes, *, headers: Mapping[str, str]) -> None:
        """Raises Unavailable, PayloadTooLarge."""
        ...

    async def flush(self, timeout: float) -> None:
        """Return when what was published before is safe. Raises Unavailable."""
        ...

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        """Call back whenever what was published may be lost."""
        ...


def entry(subject: str, record: Any, message_id: str, **headers: str) -> Entry:
    """An event as it waits in a document; `record` is an Avro record, `message_id` becomes the `Nats-Msg-Id`."""
    return {
        "subject": subject,
        "data": b64encode(encode(record)).decode(),
        "headers": {"Nats-Msg-Id": message_id, **headers},
    }


class Outbox:
    """The events in the documents of a collection. Made by `open_outbox`."""

    def __init__(self, store: DocumentStore, publisher: Publisher, collection: Collection) -> None:
        self._store = store
        self._publisher = publisher
        self._collection = collection
        self._unsettled: dict[str, Document] = {}
        self._confirmed: dict[str, tuple[float, Document]] = {}
        """With the time of it, in its order."""
        self._sent: Recent[int, bool] = Recent(MAX_SENT)
        """Whether the server has an event that was sent."""
        self._losses = 0
        self._unsettled_grown = asyncio.Event()
        self._unsettled_taken = asyncio.Event()
        self._closing = False
        self._sweep_due = asyncio.Event()

    def append(self, document: Document, *entries: Entry) -> Document:
        """The document to write: with these events behind those of its earlier changes that may not be out yet."""
        if not entries:
            return document
        waiting = [waiting for waiting in document.get("outbox", ()) if not self._sent.get(_key(waiting))]
        return {**document, "outbox": [*waiting, *entries], "pending": now_ms() // PENDING_STEP_MS * PENDING_STEP_MS}

    async def publish(self, document: Document) -> None:
        """Publish the events of a document just written; when the bus is down that is done as soon as it is back."""
        try:
            await self._publish(document)
        except Unavailable as exc:
            logger.debug("events of %s wait for the bus: %s", self._collection.name, exc)

    async def sweep(self, before_ms: int) -> None:
        """Publish what changes until then left behind. Raises Unavailable."""
        after: Document = {"_id": "", "pending": 0}
        while page := await self._store.page(self._collection, PENDING, after=after, limit=SWEEP_PAGE):
            for document in page:
                if document["pending"] > before_ms:
                    return
                await self._publish(document)
            after = page[-1]

    async def keep_sweeping(self) -> None:
        """At the start and after each loss of the connection sweep everything, in between what is old enough."""
        self._sweep_due.set()
        while True:
            age = 0 if self._sweep_due.is_set() else SWEEP_AGE_MS
            self._sweep_due.clear()
            try:
                await self.sweep(now_ms() - age)
            except Unavailable as exc:
                logger.debug("events of %s are left for the next sweep: %s", self._collection.name, exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_INTERVAL):
                    await self._sweep_due.wait()

    async def keep_settling(self) -> None:
        """Take events out of their documents some time after they are published, until `close`."""
        while self._unsettled or self._confirmed or not self._closing:
            first, _ = next(iter(self._confirmed.values()), (None, None))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if first is None else first + TAKE_OUT_AFTER):
                    await self._unsettled_grown.wait()
            await self._confirm()
            now = asyncio.get_running_loop().time()
            await self._take_out_confirmed(before=now if self._closing else now - TAKE_OUT_AFTER)
            if not self._closing:
                await asyncio.sleep(CONFIRM_PAUSE)

    def close(self) -> None:
        """Let `keep_settling` end when it is done with what was published."""
        self._closing = True
        self._unsettled_grown.set()

    async def settle(self) -> None:
        """Wait until the server has what was published, and take it out of the documents at once."""
        await self._confirm()
        await self._take_out_confirmed(before=asyncio.get_running_loop().time())

    async def _confirm(self) -> None:
        """Wait until the server has what was published."""
        unsettled, self._unsettled = self._unsettled, {}
        self._unsettled_grown.clear()
        if not unsettled:
            return
        self._unsettled_taken.set()
        losses = self._losses
        try:
            await self._publisher.flush(FLUSH_TIMEOUT)
        except Unavailable as exc:
            # Left to the next sweep in the row: one that came at once would hurry as long as the trouble lasts.
            logger.debug("events of %s are not confirmed: %s", self._collection.name, exc)
            self._distrust()
        if losses != self._losses:
            return
        now = asyncio.get_running_loop().time()
        for name, document in unsettled.items():
            for waiting in document["outbox"]:
                self._sent.put(_key(waiting), True)
            # What was changed again meanwhile will be confirmed with that change, which has left these events out.
            if name not in self._unsettled:
                self._confirmed[name] = (now, document)

    async def _take_out_confirmed(self, *, before: float) -> None:
        """Take out the events that were confirmed until then, and those of the first of too many documents."""
        too_many = len(self._confirmed) - MAX_CONFIRMED
        due = [
            document
            for number, (confirmed_at, document) in enumerate(self._confirmed.values())
            if confirmed_at <= before or number < too_many
        ]
        async with asyncio.TaskGroup() as tasks:
            for document in due:
                del self._confirmed[document["_id"]]
                tasks.create_task(self._take_out(document), name="outbox")

    def messages_lost(self) -> None:
        """What was published and not confirmed may be lost: sweep as soon as possible."""
        self._distrust()
        self._sweep_due.set()

    def _distrust(self) -> None:
        self._losses += 1
        self._sent.clear()
        self._unsettled.clear()
        self._unsettled_taken.set()

    async def _publish(self, document: Document) -> None:
        while len(self._unsettled) >= MAX_UNSETTLED:
            self._unsettled_taken.clear()
            await self._unsettled_taken.wait()
        losses = self._losses
        for waiting in document.get("outbox", ()):
            key = _key(waiting)
            if self._sent.get(key) is None:
                await self._send(key, waiting)
        if losses != self._losses:
            raise Unavailable("the connection was lost meanwhile")
        known = self._unsettled.get(document["_id"])
        if "pending" in document and (known is None or known["revision"] < document["revision"]):
            self._confirmed.pop(document["_id"], None)
            self._unsettled[document["_id"]] = document
            self._unsettled_grown.set()

    async def _send(self, key: int, waiting: Entry) -> None:
        self._sent.put(key, False)
        try:
            await self._publisher.publish(waiting["subject"], b64decode(waiting["data"]), headers=waiting["headers"])
        except PayloadTooLarge as exc:
            logger.error("gave up an event on %s, for the sake of those behind it: %s", waiting["subject"], exc)
        except BaseException:
            # Whoever found the event in `_sent` meanwhile has relied on it.
            self._distrust()
            raise

    async def _take_out(self, document: Document) -> None:
        try:
            if document.get("deleted"):
                await self._store.delete(self._collection, document["_id"], document["revision"])
            else:
                settled = {name: value for name, value in document.items() if name not in ("outbox", "pending")}
                await self._store.replace(self._collection, settled, document["revision"])
        except Unavailable as exc:
            logger.debug("events of %s are taken out later: %s", self._collection.name, exc)


def _key(waiting: Entry) -> int:
    # Not the id alone: a document that is created again starts over with the same revisions.
    return hash((waiting["headers"]["Nats-Msg-Id"], waiting["data"]))


@asynccontextmanager
async def open_outbox(store: DocumentStore, publisher: Publisher, collection: Collection) -> AsyncIterator[Outbox]:
    """The outbox of a collection (with the index PENDING), working until the context is left."""
    outbox = Outbox(store, publisher, collection)
    publisher.on_connection_lost(outbox.messages_lost)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.keep_settling(), name="outbox")
        sweeping = tasks.create_task(outbox.keep_sweeping(), name="outbox sweep")
        try:
            yield outbox
        finally:
            sweeping.cancel()
            outbox.close()
