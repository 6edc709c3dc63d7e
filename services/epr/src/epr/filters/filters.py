"""What can be done with filters: the use cases behind the REST interface and the bus.

A filter that is made, changed or deleted is written with its event; what follows from it for the endpoints is done by
the pass that it waits for (`activation.py`).
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from epr.filters.documents import BY_APPLICATION, BY_NAME, FILTER_SETS, FILTERS, filter_entry, set_id
from epr.filters.model import Filter, Progress, Status, unique_name
from epr.filters.queries import compile_filter_query
from epr.register import BY_FILTER, ENDPOINTS
from kaa_common.clock import now_ms
from kaa_common.errors import Conflict, NotFound, PayloadTooLarge
from kaa_common.messages.efe import FILTER_DELETED, FILTER_PENDING
from kaa_common.outbox import Entry, Outbox
from kaa_common.store import Document, DocumentStore, DuplicateKey

MAX_FILTERS: Final = 2000
"""Filters of an application; an endpoint may match all of them, and gets an event of each in one change."""
MAX_LISTED: Final = 25_000
"""Endpoints listed in one message: so many of the usual length of id fit into NATS' megabyte."""
LIST_PAGE: Final = 100

_NO_FILTER: Final = "no filter with this id"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTexts:
    """What the caller says of a filter."""

    name: str | None
    description: str | None
    mongo_query: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterState:
    """A filter and what is known of it at the moment."""

    filter: Filter
    matched: int
    """Endpoints that match it; not all yet while it is pending."""
    progress: Progress | None
    """The pass that it waits for, when it has begun."""


class Filters:
    """The filters of a tenant."""

    def __init__(
        self,
        store: DocumentStore,
        outbox: Outbox,
        on_change: Callable[[], None],
        *,
        tenant: str,
        instance: str,
        replica_id: str,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._on_change = on_change
        self._tenant = tenant
        self._instance = instance
        self._replica_id = replica_id

    async def create(self, application: str, texts: FilterTexts) -> Filter:
        """A new pending filter. Raises BadRequest for its query, Conflict when the name is taken or too many exist."""
        compile_filter_query(texts.mongo_query)
        if await self._count(application) >= MAX_FILTERS:
            raise Conflict(f"an application may have at most {MAX_FILTERS} filters")
        now = now_ms()
        created = Filter(
            id=secrets.token_hex(10),
            revision=1,
            tenant=self._tenant,
            application=application,
            name=texts.name,
            description=texts.description,
            mongo_query=texts.mongo_query,
            status=Status.PENDING,
            created_at=now,
            updated_at=now,
        )
        document = self._outbox.append(created.to_document(), self._pending_event(created))
        try:
            await self._store.insert(FILTERS, document)
        except DuplicateKey as exc:
            raise _name_taken() from exc
        await self._written(document)
        return created

    async def get(self, filter_id: str, application: str | None = None) -> Filter:
        """Raises NotFound, also when it is a filter of another application."""
        found = (await self._get([filter_id])).get(filter_id)
        if found is None or application not in (None, found.application):
            raise NotFound(_NO_FILTER)
        return found

    async def get_active(self, filter_id: str) -> Filter:
        """Raises NotFound; Conflict while it is pending, as not all endpoints are matched against it yet."""
        found = await self.get(filter_id)
        if found.status is not Status.ACTIVE:
            raise Conflict("the filter is pending")
        return found

    async def existing(self, filter_ids: Iterable[str]) -> set[str]:
        """Those of these that are not deleted: what may be shown of the filters in an endpoint's document."""
        return set(await self._get(list(dict.fromkeys(filter_ids))))

    async def page(self, application: str, *, name: str | None, offset: int, limit: int) -> tuple[int, list[Filter]]:
        """A page of an application's filters, the oldest first, and how many there are."""
        if name is not None:
            named = [self._tenant, application, unique_name(name)]
            found = await self._store.page(FILTERS, BY_NAME, equals=named, limit=1)
            return len(found), [Filter.from_document(document) for document in found[offset:]]
        total = await self._count(application)
        page = await self._store.page(
            FILTERS, BY_APPLICATION, equals=[self._tenant, application, True], offset=offset, limit=limit
        )
        return total, [Filter.from_document(document) for document in page]

    async def states(self, application: str, filters: Sequence[Filter]) -> list[FilterState]:
        name = set_id(self._tenant, application)
        document = (await self._store.get(FILTER_SETS, [name])).get(name)
        progress = None if document is None else Progress.from_document(document)
        async with asyncio.TaskGroup() as tasks:
            counts = [tasks.create_task(self._matched(filter_), name="matched endpoints") for filter_ in filters]
        return [
            FilterState(
                filter=filter_,
                matched=count.result(),
                progress=progress if progress is not None and progress.covers(filter_) else None,
            )
            for filter_, count in zip(filters, counts, strict=True)
        ]

    async def change(self, filter_id: str, application: str, decide: Callable[[Filter], FilterTexts]) -> Filter:
        """Give a filter the texts that `decide` returns; pending again when its query is another one.

        Raises NotFound, BadRequest for its query, Conflict when the name is taken, and what `decide` raises.
        """
        while True:
            before = await self.get(filter_id, application)
            texts = decide(before)
            compile_filter_query(texts.mongo_query)
            changed = before.changed(
                now_ms(), name=texts.name, description=texts.description, mongo_query=texts.mongo_query
            )
            if changed is before:
                return before
            is_pending_again = changed.status is Status.PENDING and before.status is Status.ACTIVE
            events = [self._pending_event(changed)] if is_pending_again else []
            document = self._outbox.append(changed.to_document(), *events)
            try:
                is_written = await self._store.replace(FILTERS, document, before.revision)
            except DuplicateKey as exc:
                raise _name_taken() from exc
            if is_written:
                await self._written(document)
                return changed

    async def delete(self, filter_id: str, application: str, check: Callable[[Filter], None]) -> None:
        """Delete a filter unless `check` raises. Raises NotFound."""
        while True:
            before = await self.get(filter_id, application)
            check(before)
            deleted = before.deleted()
            event = filter_entry(FILTER_DELETED, deleted, self._instance, self._replica_id)
            document = self._outbox.append(deleted.to_document(), event)
            if await self._store.replace(FILTERS, document, before.revision):
                await self._written(document)
                return

    async def endpoints_by_version(self, filter_id: str) -> dict[str, tuple[str, ...]]:
        """The ids of all endpoints that match, by application version.

        Raises NotFound, Conflict while the filter is pending, PayloadTooLarge beyond MAX_LISTED.
        """
        await self.get_active(filter_id)
        if await self._store.count(ENDPOINTS, index=BY_FILTER, equals=[filter_id]) > MAX_LISTED:
            raise PayloadTooLarge(f"more than {MAX_LISTED} endpoints match")
        found: dict[str, list[str]] = {}
        last: Document | None = None
        while page := await self._store.page(ENDPOINTS, BY_FILTER, equals=[filter_id], after=last, limit=LIST_PAGE):
            for document in page:
                found.setdefault(document["application_version"], []).append(document["_id"])
            last = page[-1]
        return {app_version: tuple(ids) for app_version, ids in found.items()}

    async def _get(self, filter_ids: Sequence[str]) -> dict[str, Filter]:
        documents = await self._store.get(FILTERS, filter_ids)
        found = [Filter.from_document(document) for document in documents.values()]
        return {
            filter_.id: filter_
            for filter_ in found
            if filter_.status is not Status.DELETED and filter_.tenant == self._tenant
        }

    async def _count(self, application: str) -> int:
        return await self._store.count(FILTERS, index=BY_APPLICATION, equals=[self._tenant, application, True])

    async def _matched(self, filter_: Filter) -> int:
        return await self._store.count(ENDPOINTS, index=BY_FILTER, equals=[filter_.id])

    async def _written(self, document: Document) -> None:
        await self._outbox.publish(document)
        self._on_change()

    def _pending_event(self, pending: Filter) -> Entry:
        return filter_entry(FILTER_PENDING, pending, self._instance, self._replica_id)


def _name_taken() -> Conflict:
    return Conflict("a filter with this name exists in the application")
