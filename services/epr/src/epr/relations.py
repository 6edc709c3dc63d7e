"""Relations between endpoints (24/EPRMP): one endpoint contains another one.

A relation is a document of its own, found by an index from either end, and carries the event of its last change like an
endpoint does. It belongs to the two registrations that it was made between: when an end is unregistered the relation is
gone at once, whoever reads it and whatever is registered with that id later; its document goes with the event of the
end, and brings an event of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from epr.model import Endpoint
from epr.register import Register
from kaa_common.clock import now_ms
from kaa_common.errors import BadRequest, Conflict, KaaError, NotFound, Unavailable
from kaa_common.messages.elce import UnregisteredEvent
from kaa_common.messages.eprmp import RELATIONS_UPDATED, EndpointRelationsUpdated
from kaa_common.outbox import PENDING, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.store import MAX_PAGE, Collection, Document, DocumentStore, DuplicateKey, Index

logger = logging.getLogger(__name__)

CONTAINS: Final = "contains"
"""The only type there is."""

LINKED: Final = "linked"
UNLINKED: Final = "unlinked"
"""Gone for everybody, kept until its event is published."""

OUTBOUND = Index("outbound", ("state", "tenant", "type", "from", "to"))
INBOUND = Index("inbound", ("state", "tenant", "type", "to", "from"))
RELATIONS = Collection("relations", (OUTBOUND, INBOUND, PENDING))

MAX_RELATIONS: Final = 5_000
"""Of one endpoint in one direction: 24/EPRMP tells all of them in one message, which may have 1 MB."""
MAX_CHANGES: Final = 1_000
"""Relations of one request."""
WRITES_AT_ONCE: Final = 32
SWEEP_INTERVAL: Final = 3600.0
"""Seconds between two looks at all relations, which only finds what a crash has left."""

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Relation:
    """`from_id` contains `to_id`."""

    from_id: str
    to_id: str
    type: str = CONTAINS

    @property
    def key(self) -> str:
        return f"{self.type}:{self.from_id}:{self.to_id}"


class Relations:
    """The relations of a tenant's endpoints."""

    def __init__(self, store: DocumentStore, outbox: Outbox, register: Register, *, tenant: str, instance: str) -> None:
        self._store = store
        self._outbox = outbox
        self._register = register
        self._tenant = tenant
        self._instance = instance

    async def check(self, relations: Sequence[Relation]) -> dict[str, Endpoint]:
        """The ends of relations that may be made.

        Raises BadRequest; NotFound when an end is not registered; Conflict when one had too many relations then.
        """
        if len(relations) > MAX_CHANGES:
            raise BadRequest(f"at most {MAX_CHANGES} relations can be changed at once")
        wanted = set(relations)
        if any(relation.from_id == relation.to_id for relation in wanted):
            raise BadRequest("an endpoint cannot contain itself")
        ends = await self.ends(end for relation in relations for end in (relation.from_id, relation.to_id))
        await self._check_room(wanted)
        return ends

    async def ends(self, endpoint_ids: Iterable[str]) -> dict[str, Endpoint]:
        """The endpoints that are to be related. Raises NotFound when one is not registered."""
        ids = list(dict.fromkeys(endpoint_ids))
        found = {endpoint.id: endpoint for endpoint in await self._register.get_many(ids)}
        if missing := [endpoint_id for endpoint_id in ids if endpoint_id not in found]:
            raise NotFound(f"no endpoint with the id {missing[0]}")
        return found

    async def link(self, relations: Sequence[Relation]) -> None:
        """Make these relations; those that are there stay as they are. Raises as `check` does."""
        ends = await self.check(relations)
        await _for_each(relations, lambda one: self._link(one, ends[one.from_id], ends[one.to_id]))

    async def unlink(self, relations: Sequence[Relation]) -> None:
        """Remove these relations, as far as they are there. Raises BadRequest."""
        if len(relations) > MAX_CHANGES:
            raise BadRequest(f"at most {MAX_CHANGES} relations can be changed at once")
        await _for_each(relations, lambda one: self._unlink(one.key))

    async def of(self, endpoint_id: str, relation: str) -> list[Relation]:
        """What the endpoint contains (`contains`), or what it is contained in (`!contains`). Raises NotFound."""
        index = _index_of(relation)
        await self._register.get(endpoint_id)
        found: list[Relation] = []
        async for page in self._pages(index, endpoint_id):
            alive = await self._alive(page)
            found += (Relation(document["from"], document["to"]) for document in page if document["_id"] in alive)
        return found

    async def drop(self, event: UnregisteredEvent) -> None:
        """Remove the relations of an endpoint that is unregistered; perhaps its id is registered anew already."""
        for index in (OUTBOUND, INBOUND):
            async for page in self._pages(index, event.endpoint_id):
                await self._unlink_dead(page)

    async def keep_sweeping(self) -> None:
        """Remove now and then what an event did not remove, since whoever got it could not."""
        while True:
            try:
                await self.sweep()
            except Unavailable as exc:
                logger.warning("relations of unregistered endpoints are not removed: %s", exc)
            await asyncio.sleep(SWEEP_INTERVAL)

    async def sweep(self) -> None:
        """Remove the relations of endpoints that are not registered any more. Raises Unavailable."""
        async for page in self._pages(OUTBOUND):
            await self._unlink_dead(page)

    async def _unlink_dead(self, relations: Sequence[Document]) -> None:
        alive = await self._alive(relations)
        await _for_each([document["_id"] for document in relations if document["_id"] not in alive], self._unlink)

    async def _alive(self, relations: Sequence[Document]) -> set[str]:
        """The keys of those that belong to the endpoints which are registered now."""
        ids = dict.fromkeys(document[end] for document in relations for end in ("from", "to"))
        since = {endpoint.id: endpoint.created_at for endpoint in await self._register.get_many(list(ids))}
        return {
            document["_id"]
            for document in relations
            if document["from_since"] == since.get(document["from"])
            and document["to_since"] == since.get(document["to"])
        }

    async def _pages(self, index: Index, *endpoint_id: str) -> AsyncIterator[list[Document]]:
        equals, last = (LINKED, self._tenant, CONTAINS, *endpoint_id), None
        while page := await self._store.page(RELATIONS, index, equals=equals, after=last, limit=MAX_PAGE):
            yield page
            last = page[-1]

    async def _check_room(self, wanted: set[Relation]) -> None:
        known = await self._store.get(RELATIONS, [relation.key for relation in wanted])
        new = [relation for relation in wanted if known.get(relation.key, {}).get("state") != LINKED]
        for index, ends in ((OUTBOUND, [r.from_id for r in new]), (INBOUND, [r.to_id for r in new])):
            for endpoint_id in dict.fromkeys(ends):
                equals = (LINKED, self._tenant, CONTAINS, endpoint_id)
                room = MAX_RELATIONS - ends.count(endpoint_id)
                if room < 0 or await self._store.count(RELATIONS, index=index, equals=equals, limit=room + 1) > room:
                    raise Conflict(f"{endpoint_id} would have more than {MAX_RELATIONS} relations of one direction")

    async def _link(self, relation: Relation, from_end: Endpoint, to_end: Endpoint) -> None:
        document = {
            "_id": relation.key,
            "revision": now_ms(),
            "tenant": self._tenant,
            "state": LINKED,
            "type": relation.type,
            "from": relation.from_id,
            "from_since": from_end.created_at,
            "to": relation.to_id,
            "to_since": to_end.created_at,
        }
        while True:
            stored = (await self._store.get(RELATIONS, [relation.key])).get(relation.key)
            if stored is not None and all(
                stored[name] == document[name] for name in ("state", "from_since", "to_since")
            ):
                return
            if await self._write(document, stored):
                return

    async def _unlink(self, key: str) -> None:
        while True:
            stored = (await self._store.get(RELATIONS, [key])).get(key)
            if stored is None or stored["state"] == UNLINKED:
                return
            gone = {name: value for name, value in stored.items() if name not in ("outbox", "pending")}
            # `deleted` is for the outbox, which removes the document.
            if await self._write(gone | {"state": UNLINKED, "deleted": True}, stored):
                return

    async def _write(self, document: Document, stored: Document | None) -> bool:
        """Write a relation with its event, if what is stored has not changed, then publish."""
        if stored is not None:
            revision = max(document["revision"], stored["revision"] + 1)
            document = document | {"revision": revision, "outbox": stored.get("outbox", [])}
        record = EndpointRelationsUpdated(**event_header(), endpoint_ids=(document["from"], document["to"]))
        message_id = f"{document['_id']}:{document['revision']}:relations.updated"
        document = self._outbox.append(document, entry(RELATIONS_UPDATED.subject(self._instance), record, message_id))
        if stored is not None:
            written = await self._store.replace(RELATIONS, document, stored["revision"])
        else:
            written = await self._insert(document)
        if written:
            await self._outbox.publish(document)
        return written

    async def _insert(self, document: Document) -> bool:
        try:
            await self._store.insert(RELATIONS, document)
        except DuplicateKey:
            return False
        return True


def _index_of(relation: str) -> Index:
    match relation:
        case "contains":
            return OUTBOUND
        case "!contains":
            return INBOUND
    raise BadRequest("relation is contains or !contains")


async def _for_each(subjects: Sequence[Subject], write: Callable[[Subject], Awaitable[None]]) -> None:
    """Write for each of these once, some at a time. Raises the first error."""
    places = asyncio.Semaphore(WRITES_AT_ONCE)

    async def write_in_place(subject: Subject) -> None:
        async with places:
            await write(subject)

    try:
        async with asyncio.TaskGroup() as tasks:
            for subject in dict.fromkeys(subjects):
                tasks.create_task(write_in_place(subject), name="relation")
    except* KaaError as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
