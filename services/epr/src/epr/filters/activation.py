"""The pass that makes pending filters active and deleted ones gone: every endpoint of the application is brought to the
next generation of its filters.

    read who waits  ->  next generation  ->  match every endpoint that is older  ->  none is older: activate, remove

Any replica may do it at any time, several at once, and begin anew where another one stopped: a pass only ever does
compare-and-sets, and its end is a fact in the store. That one replica alone does it, while its lease lasts, saves work
and nothing else. Why no endpoint is missed: ADR 0014.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Final

from epr.filters.documents import AWAITING_PASS, FILTER_SETS, FILTERS, filter_entry, set_id
from epr.filters.filter_set import FilterSet
from epr.filters.filter_sets import Key
from epr.filters.model import Filter, Progress, Status
from epr.model import Endpoint, State
from epr.register import BY_APPLICATION, BY_FILTERS_GENERATION, ENDPOINTS, Register
from kaa_common.clock import now_ms
from kaa_common.errors import KaaError, Unavailable
from kaa_common.messages.efe import FILTER_ACTIVATED
from kaa_common.outbox import Outbox
from kaa_common.store import Document, DocumentStore, DuplicateKey

logger = logging.getLogger(__name__)

MAX_PASSES: Final = 4
"""Applications that a replica works on at once: one with very many endpoints does not hold up the others."""
PAGE: Final = 100
"""Endpoints matched at once: enough to fill the store's batches, 25 MB when all are as large as can be."""
POLL_INTERVAL: Final = 5.0
"""Seconds between two looks for filters that nobody works on."""
HELD_FOR_MS: Final = 10_000
"""How long a replica may be silent before another one takes over."""
RENEW_INTERVAL: Final = 0.5
"""Seconds between two signs of progress."""
RESERVATION_PAUSE: Final = 0.1
"""Seconds between two looks whether registrations are completed that had begun before the pass."""


class Activation:
    def __init__(
        self, store: DocumentStore, outbox: Outbox, register: Register, *, instance: str, replica_id: str
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._register = register
        self._instance = instance
        self._replica_id = replica_id
        self._running: set[Key] = set()
        self._due = asyncio.Event()

    def wake(self) -> None:
        """There is something to do, here and now."""
        self._due.set()

    async def keep_activating(self) -> None:
        """Do the passes that are due."""
        async with asyncio.TaskGroup() as passes:
            while True:
                self._due.clear()
                try:
                    for key in await self._due_applications():
                        self._running.add(key)
                        passes.create_task(self._run(key), name="filters")
                except KaaError as exc:
                    logger.warning("cannot look for pending filters: %s", exc)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_INTERVAL):
                        await self._due.wait()

    async def _run(self, key: Key) -> None:
        try:
            if await self.activate(*key):
                self._due.set()
        except* KaaError as group:
            logger.warning("a pass over the endpoints of %s is left for later: %s", key[1], group.exceptions[0])
        finally:
            self._running.discard(key)

    async def _due_applications(self) -> list[Key]:
        found: list[Key] = []
        after: Document | None = None
        while len(self._running) + len(found) < MAX_PASSES:
            page = await self._store.page(FILTERS, AWAITING_PASS, equals=[True], after=after, limit=1)
            if not page:
                break
            key = (page[0]["tenant"], page[0]["application"])
            if key not in self._running:
                found.append(key)
            after = {**page[0], "_id": "~"}  # behind every other filter of the application
        return found

    async def activate(self, tenant: str, application: str) -> bool:
        """Do a pass. False when there is nothing to do, or another replica is doing it. Raises Unavailable."""
        key = (tenant, application)
        awaiting = await self._awaiting(key)
        if not awaiting:
            return False
        total = await self._store.count(
            ENDPOINTS, index=BY_APPLICATION, equals=[State.REGISTERED.value, tenant, application]
        )
        progress = await self._begin(key, total)
        if progress is None:
            return False
        # From here on the order decides: what is read now is of this generation or later.
        filter_set = await self._register.filter_sets.load(tenant, application)
        reservations = await self._reservations(key)
        while True:
            reservations = await self._unfinished(reservations)
            progress = await self._match_older(key, filter_set, progress)
            if not reservations:
                break
            await asyncio.sleep(RESERVATION_PAUSE)
            progress = await self._renew(progress, progress.evaluated)
        await self._settle(awaiting)
        logger.info("%d filters of %s are active or removed", len(awaiting), application)
        await self._store.replace(FILTER_SETS, progress.ended().to_document(), progress.revision)
        return True

    async def _awaiting(self, key: Key) -> dict[str, int]:
        """The revisions of the filters that are pending or deleted, by their ids."""
        found: dict[str, int] = {}
        last: Document | None = None
        while page := await self._store.page(FILTERS, AWAITING_PASS, equals=[True, *key], after=last, limit=PAGE):
            found |= {document["_id"]: document["revision"] for document in page}
            last = page[-1]
        return found

    async def _begin(self, key: Key, total: int) -> Progress | None:
        """The next generation; None while another replica is at it."""
        name, now = set_id(*key), now_ms()
        document = (await self._store.get(FILTER_SETS, [name])).get(name)
        known = Progress(id=name) if document is None else Progress.from_document(document)
        if known.is_held_by_other(self._replica_id, now):
            return None
        begun = known.begun(self._replica_id, now, now + HELD_FOR_MS, total)
        if document is not None:
            return begun if await self._store.replace(FILTER_SETS, begun.to_document(), known.revision) else None
        try:
            await self._store.insert(FILTER_SETS, begun.to_document())
        except DuplicateKey:
            return None
        return begun

    async def _renew(self, progress: Progress, evaluated: int) -> Progress:
        """Raises Unavailable when another replica has taken over."""
        renewed = progress.renewed(now_ms() + HELD_FOR_MS, evaluated)
        if not await self._store.replace(FILTER_SETS, renewed.to_document(), progress.revision):
            raise Unavailable("another replica has taken over")
        return renewed

    async def _reservations(self, key: Key) -> dict[str, int]:
        """Registrations that may have looked at the filters before this generation."""
        found: dict[str, int] = {}
        last: Document | None = None
        while page := await self._store.page(
            ENDPOINTS, BY_APPLICATION, equals=[State.RESERVED.value, *key], after=last, limit=PAGE
        ):
            found |= {document["_id"]: document["revision"] for document in page}
            last = page[-1]
        return found

    async def _unfinished(self, reservations: Mapping[str, int]) -> dict[str, int]:
        """Those that are neither completed nor taken over."""
        found = await self._store.get(ENDPOINTS, list(reservations))
        return {
            endpoint_id: revision
            for endpoint_id, revision in reservations.items()
            if endpoint_id in found and found[endpoint_id]["revision"] == revision
        }

    async def _match_older(self, key: Key, filter_set: FilterSet, progress: Progress) -> Progress:
        """Match endpoints until none is of an older generation."""
        evaluated, renewed_at = progress.evaluated, monotonic()
        while older := await self._older(key, progress.generation):
            async with asyncio.TaskGroup() as tasks:
                for endpoint in older:
                    tasks.create_task(self._register.apply_filters(endpoint, filter_set), name="filters")
            evaluated += len(older)
            if monotonic() >= renewed_at + RENEW_INTERVAL:
                progress, renewed_at = await self._renew(progress, evaluated), monotonic()
        return progress

    async def _older(self, key: Key, generation: int) -> list[Endpoint]:
        page = await self._store.page(
            ENDPOINTS, BY_FILTERS_GENERATION, equals=[State.REGISTERED.value, *key], limit=PAGE
        )
        endpoints = map(Endpoint.from_document, page)
        return [endpoint for endpoint in endpoints if endpoint.filters_generation < generation]

    async def _settle(self, awaiting: Mapping[str, int]) -> None:
        ids = list(awaiting)
        for start in range(0, len(ids), PAGE):
            documents = await self._store.get(FILTERS, ids[start : start + PAGE])
            async with asyncio.TaskGroup() as tasks:
                for document in documents.values():
                    # One that was changed during the pass waits for the next.
                    if document["revision"] == awaiting[document["_id"]]:
                        tasks.create_task(self._settle_one(Filter.from_document(document)), name="filters")

    async def _settle_one(self, filter_: Filter) -> None:
        if filter_.status is Status.DELETED:
            document = filter_.removed_document(now_ms())
        else:
            activated = filter_.activated()
            event = filter_entry(FILTER_ACTIVATED, activated, self._instance, self._replica_id)
            document = self._outbox.append(activated.to_document(), event)
        if await self._store.replace(FILTERS, document, filter_.revision):
            await self._outbox.publish(document)
