"""The register: endpoints in the store, their changes and the events of these (9/ELCE, 15/EME).

Every read is a read of the store, so it sees whatever any replica acknowledged. A change reads the endpoint, decides,
and writes it with its event in one compare-and-set on the revision; when another replica was faster it starts over.
Whoever does something with an endpoint takes its `turn` first: what arrives at this replica for one endpoint is done in
the order of arrival, and costs one read and one write.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from epr.metadata import Metadata
from epr.model import Endpoint, State
from kaa_common.clock import now_ms
from kaa_common.errors import NotFound
from kaa_common.messages.declared import Event, EventRecord
from kaa_common.messages.elce import REGISTERED, UNREGISTERED, RegisteredEvent, UnregisteredEvent
from kaa_common.messages.eme import METADATA_UPDATED, MetadataUpdatedEvent
from kaa_common.outbox import PENDING, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.serial import SerialByKey
from kaa_common.store import Collection, DocumentStore, Index

BY_APPLICATION = Index("by_application", ("state", "tenant", "application", "application_version", "created_at"))
BY_APP_VERSION = Index("by_app_version", ("state", "tenant", "application_version", "created_at"))
ENDPOINTS = Collection("endpoints", (BY_APPLICATION, BY_APP_VERSION, PENDING))

REVISION_HEADER = "Kaa-Endpoint-Revision"


class Register:
    """The endpoints of a tenant; events are published as those of the service instance."""

    def __init__(self, store: DocumentStore, outbox: Outbox, *, tenant: str, instance: str, replica_id: str) -> None:
        self._store = store
        self._outbox = outbox
        self._tenant = tenant
        self._instance = instance
        self._replica_id = replica_id
        self._turns = SerialByKey()

    def turn(self, endpoint_id: str) -> AbstractAsyncContextManager[None]:
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

    async def change_metadata(self, endpoint_id: str, decide: Callable[[Endpoint], Metadata]) -> Endpoint:
        """Give an endpoint the metadata that `decide` returns; it is asked again when another replica was faster.

        Raises NotFound, and whatever `decide` raises; PayloadTooLarge when it is too much.
        """
        while True:
            endpoint = await self.get(endpoint_id)
            changed, changes = endpoint.change_metadata(decide(endpoint), now_ms())
            if changed is endpoint:
                return endpoint
            event = MetadataUpdatedEvent(
                **event_header(),
                app_version_name=changed.app_version,
                endpoint_id=changed.id,
                removed=changes.removed,
                added=changes.added,
                updated=changes.updated,
                originator_replica_id=self._replica_id,
            )
            if await self._write(changed, endpoint.revision, METADATA_UPDATED, event):
                return changed

    async def complete_registration(self, reservation: Endpoint, token_id: str) -> Endpoint | None:
        """Register a reserved endpoint; None when the reservation is not ours any more."""
        endpoint = reservation.registered(token_id, now_ms())
        event = RegisteredEvent(
            **event_header(),
            app_version_name=endpoint.app_version,
            endpoint_id=endpoint.id,
            originator_replica_id=self._replica_id,
        )
        return endpoint if await self._write(endpoint, reservation.revision, REGISTERED, event) else None

    async def unregister(self, endpoint_id: str, check: Callable[[Endpoint], None]) -> Endpoint:
        """Remove an endpoint unless `check` raises; what it was. Raises NotFound."""
        while True:
            endpoint = await self.get(endpoint_id)
            check(endpoint)
            event = UnregisteredEvent(
                **event_header(),
                app_version_name=endpoint.app_version,
                endpoint_id=endpoint.id,
                originator_replica_id=self._replica_id,
            )
            if await self._write(endpoint.unregistered(), endpoint.revision, UNREGISTERED, event):
                return endpoint

    async def _write(
        self, endpoint: Endpoint, expected_revision: int, event: Event[EventRecord], record: EventRecord
    ) -> bool:
        """Write an endpoint with its event, if it still has that revision, then publish."""
        waiting = entry(
            event.subject(self._instance),
            record,
            f"{endpoint.id}:{endpoint.revision}:{'.'.join(event.path[1:])}",
            **{REVISION_HEADER: str(endpoint.revision)},
        )
        document = self._outbox.append(endpoint.to_document(), waiting)
        if not await self._store.replace(ENDPOINTS, document, expected_revision):
            return False
        await self._outbox.publish(document)
        return True
