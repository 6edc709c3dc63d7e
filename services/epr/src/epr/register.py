"""The register: endpoints in the store, their changes and the events of these (9/ELCE, 15/EME, 18/EFE).

Every read is a read of the store, so it sees whatever any replica acknowledged. A change reads the endpoint, decides,
and writes it, with the filters that it matches now and all events (`events.py`), in one compare-and-set on the
revision; when another replica was faster it starts over. There is no other way to change an endpoint.
Whoever does something with an endpoint takes its `turn` first: what arrives at this replica for one endpoint is done in
the order of arrival, and costs one read and one write; only the write when this replica wrote the endpoint lately, for
the compare-and-set tells whether it is as it was then.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from epr.events import events_of
from epr.filters.filter_set import FilterSet
from epr.filters.filter_sets import FilterSets
from epr.metadata import Metadata
from epr.model import NO_CHANGES, Endpoint, MetadataChanges, State
from kaa_common import jsontext
from kaa_common.clock import now_ms
from kaa_common.errors import KaaError, NotFound
from kaa_common.outbox import PENDING, Entry, Outbox, entry
from kaa_common.recent import Recent
from kaa_common.serial import SerialByKey
from kaa_common.store import Collection, DocumentStore, Index

BY_APPLICATION = Index("by_application", ("state", "tenant", "application", "application_version", "created_at"))
BY_APP_VERSION = Index("by_app_version", ("state", "tenant", "application_version", "created_at"))
BY_FILTER = Index("by_filter", ("filters", "application_version", "created_at"))
BY_TERM = Index("by_term", ("state", "tenant", "terms", "application"))
BY_FILTERS_GENERATION = Index("by_filters_generation", ("state", "tenant", "application", "filters_generation"))
BY_HOLDER = Index("by_holder", ("held_by",))
ENDPOINTS = Collection(
    "endpoints",
    (BY_APPLICATION, BY_APP_VERSION, BY_FILTER, BY_TERM, BY_FILTERS_GENERATION, BY_HOLDER, PENDING),
    queried=("metadata", "application_version", "application", "tenant", "state"),
    keyed="metadata",
)

REVISION_HEADER = "Kaa-Endpoint-Revision"

MAX_REMEMBERED_BYTES: Final = 8 * 1024 * 1024
"""Of JSON text, for what this replica wrote lately: some 8,000 endpoints; a few times that as objects in memory."""
MAX_REMEMBERED_DOCUMENT: Final = 64 * 1024
"""A larger one is read again; a few of them would push out all others."""


class Register:
    """The endpoints of a tenant; events are published as those of the service instance."""

    def __init__(self, store: DocumentStore, outbox: Outbox, *, tenant: str, instance: str, replica_id: str) -> None:
        self._store = store
        self._outbox = outbox
        self._tenant = tenant
        self._instance = instance
        self._replica_id = replica_id
        self._turns = SerialByKey()
        self._remembered: Recent[str, Endpoint] = Recent(MAX_REMEMBERED_BYTES)
        self.filter_sets = FilterSets(store)

    def turn(self, endpoint_id: str) -> AbstractAsyncContextManager[object]:
        """Wait until what arrived before for this endpoint is done."""
        return self._turns.turn(endpoint_id)

    async def get(self, endpoint_id: str) -> Endpoint:
        """Raises NotFound."""
        found = await self.get_many([endpoint_id])
        if not found:
            raise NotFound("no endpoint with this id")
        return found[0]

    async def get_many(self, endpoint_ids: Sequence[str]) -> list[Endpoint]:
        """Those of these endpoints that are registered, in this order."""
        documents = await self._store.get(ENDPOINTS, endpoint_ids)
        found = [Endpoint.from_document(documents[wanted]) for wanted in endpoint_ids if wanted in documents]
        return [endpoint for endpoint in found if endpoint.state is State.REGISTERED]

    async def page(
        self, *, application: str | None, app_version: str | None, offset: int, limit: int
    ) -> tuple[int, list[Endpoint]]:
        """A page of the registered endpoints, and how many there are; a filter is None when it is not asked for."""
        index = BY_APPLICATION if app_version is None or application is not None else BY_APP_VERSION
        filters = [name for name in (application, app_version) if name is not None]
        equals = [State.REGISTERED.value, self._tenant, *filters]
        total = await self._store.count(ENDPOINTS, index=index, equals=equals)
        documents = await self._store.page(ENDPOINTS, index, equals=equals, offset=offset, limit=limit)
        return total, [Endpoint.from_document(document) for document in documents]

    async def held_by(self, replica_id: str, *, after: str = "", limit: int) -> list[Endpoint]:
        """Endpoints that the communication replica holds, in the order of their ids, those behind `after`."""
        documents = await self._store.page(
            ENDPOINTS, BY_HOLDER, equals=[replica_id], after={"_id": after} if after else None, limit=limit
        )
        return [Endpoint.from_document(document) for document in documents]

    async def change(self, endpoint_id: str, decide: Callable[[Endpoint], Endpoint]) -> Endpoint:
        """Make an endpoint what `decide` returns; it is asked again when another replica was faster.

        `decide` leaves the revision alone. What differs from before is one revision with all its events; when nothing
        does, nothing is written. What nobody sees (its connections) is written as part of the revision it has.
        Raises NotFound, and whatever `decide` raises; PayloadTooLarge when it is too much.
        """
        if (changed := await self._change_remembered(endpoint_id, decide)) is not None:
            return changed
        while True:
            before = await self.get(endpoint_id)
            after, changes = before.changed_into(decide(before))
            if after is before:
                return before
            if (changed := await self._write_change(before, after, changes)) is not None:
                return changed

    async def _change_remembered(self, endpoint_id: str, decide: Callable[[Endpoint], Endpoint]) -> Endpoint | None:
        """Change an endpoint as this replica wrote it last; None unless it still was so, and there was a change.

        It may be out of date. So that it is refused, or needs no change, does not count, only a compare-and-set does.
        """
        before = self._remembered.pop(endpoint_id)
        if before is None:
            return None
        try:
            after, changes = before.changed_into(decide(before))
        except KaaError:
            return None
        return None if after is before else await self._write_change(before, after, changes)

    async def _write_change(self, before: Endpoint, after: Endpoint, changes: MetadataChanges) -> Endpoint | None:
        """Write a change with the filters that the endpoint matches then; None when another replica was faster."""
        if after.revision == before.revision:
            return after if await self._replace(before, after) else None
        filter_set = self.filter_sets.kept_for_change(before) or await self.filter_sets.for_change(before)
        after = filter_set.applied(before, after, changes)
        return after if await self._write(before, after, changes, filter_set) else None

    async def change_metadata(self, endpoint_id: str, decide: Callable[[Endpoint], Metadata]) -> Endpoint:
        """Give an endpoint the metadata that `decide` returns; see `change`."""
        return await self.change(endpoint_id, lambda endpoint: endpoint.with_metadata(decide(endpoint), now_ms()))

    async def complete_registration(self, reservation: Endpoint, token_id: str) -> Endpoint | None:
        """Register a reserved endpoint; None when the reservation is not ours any more."""
        # Read behind the reservation: a pass that does not see that waits for no endpoint of an older generation.
        filter_set = await self.filter_sets.for_registration(reservation)
        endpoint = filter_set.applied_to_new(reservation.registered(token_id, now_ms()))
        return endpoint if await self._write(reservation, endpoint, NO_CHANGES, filter_set) else None

    async def unregister(self, endpoint_id: str, check: Callable[[Endpoint], None]) -> Endpoint:
        """Remove an endpoint unless `check` raises; what it was. Raises NotFound."""
        while True:
            endpoint = await self.get(endpoint_id)
            check(endpoint)
            filter_set = await self.filter_sets.for_unregistration(endpoint)
            if await self._write(endpoint, endpoint.unregistered(), NO_CHANGES, filter_set):
                return endpoint

    async def apply_filters(self, endpoint: Endpoint, filter_set: FilterSet) -> None:
        """Bring an endpoint to the generation of its application's filters, unless it was changed meanwhile."""
        async with self.turn(endpoint.id):
            await self._write(endpoint, filter_set.reapplied(endpoint), NO_CHANGES, filter_set)

    async def _write(self, before: Endpoint, after: Endpoint, changes: MetadataChanges, filter_set: FilterSet) -> bool:
        """Write an endpoint with the events of its change, if it still is what it was before, then publish."""
        entries = [
            self._entry(event.subject(self._instance, *names), record, after)
            for event, record, names in events_of(before, after, changes, filter_set, self._replica_id)
        ]
        return await self._replace(before, after, *entries)

    async def _replace(self, before: Endpoint, after: Endpoint, *entries: Entry) -> bool:
        document = self._outbox.append(after.to_document(), *entries)
        if not await self._store.replace(ENDPOINTS, document, before.document_revision):
            return False
        size = len(jsontext.dump(document))
        if after.state is State.REGISTERED and size <= MAX_REMEMBERED_DOCUMENT:
            waiting = {"outbox": tuple(document["outbox"]), "pending": document["pending"]} if entries else {}
            self._remembered.put(after.id, after._replace(**waiting), size)
        await self._outbox.publish(document)
        return True

    def _entry(self, subject: str, record: Any, endpoint: Endpoint) -> Entry:  # Any: an Avro record
        event = subject.split(".", 5)[5]  # kaa.v1.events.<instance>.endpoint.<event>, each in a change once
        message_id = f"{endpoint.id}:{endpoint.revision}:{event}"
        return entry(subject, record, message_id, **{REVISION_HEADER: str(endpoint.revision)})
