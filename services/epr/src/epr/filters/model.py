"""The filter: a query that its application's endpoints match or not [pure].

It is pending until every endpoint has been matched against it (`activation.py`), and again when its query changes. A
deleted one is kept, unseen, until its id is taken out of every endpoint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from kaa_common import jsontext
from kaa_common.store import Document


class Status(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    id: str
    revision: int
    tenant: str
    application: str
    name: str | None
    """Unique in the application unless it is None."""
    description: str | None
    mongo_query: Document
    """As it was given."""
    status: Status
    created_at: int
    """UNIX milliseconds, as all times here."""
    updated_at: int
    outbox: tuple[Mapping[str, Any], ...] = ()
    """Events that may not be published yet (kaa_common.outbox)."""
    pending_events: int | None = None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        return cls(
            id=document["_id"],
            revision=document["revision"],
            tenant=document["tenant"],
            application=document["application"],
            name=document["name"],
            description=document["description"],
            mongo_query=document["mongo_query"],
            status=Status(document["status"]),
            created_at=document["created_at"],
            updated_at=document["updated_at"],
            outbox=tuple(document.get("outbox", ())),
            pending_events=document.get("pending"),
        )

    def to_document(self) -> Document:
        is_listed = self.status is not Status.DELETED
        document = {
            "_id": self.id,
            "revision": self.revision,
            "tenant": self.tenant,
            "application": self.application,
            "is_listed": is_listed,
            "name": self.name,
            "unique_name": unique_name(self.name) if self.name is not None and is_listed else self.id,
            "description": self.description,
            "mongo_query": self.mongo_query,
            "status": self.status.value,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        if self.status is not Status.ACTIVE:
            document["awaits_pass"] = True
        if self.pending_events is not None:
            document |= {"outbox": list(self.outbox), "pending": self.pending_events}
        return document

    def changed(self, now: int, *, name: str | None, description: str | None, mongo_query: Document) -> Self:
        """This filter when nothing differs; a pending one when the query does."""
        has_same_query = jsontext.dump(mongo_query) == jsontext.dump(self.mongo_query)
        if has_same_query and (name, description) == (self.name, self.description):
            return self
        return replace(
            self,
            revision=self.revision + 1,
            name=name,
            description=description,
            mongo_query=mongo_query,
            status=self.status if has_same_query else Status.PENDING,
            updated_at=now,
        )

    def activated(self) -> Self:
        return replace(self, revision=self.revision + 1, status=Status.ACTIVE)

    def deleted(self) -> Self:
        return replace(self, revision=self.revision + 1, status=Status.DELETED)

    def removed_document(self, now: int) -> Document:
        """A deleted filter that is in no endpoint any more: the outbox removes it, with its last event if need be."""
        removed = replace(self, revision=self.revision + 1, pending_events=now).to_document()
        del removed["awaits_pass"]
        return removed | {"deleted": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The generation of an application's filters, and the pass that brings endpoints to it."""

    id: str
    revision: int = 0
    """0 as long as it is not stored: the application has no filters yet."""
    generation: int = 0
    holder: str | None = None
    """The replica that is at it."""
    held_until: int = 0
    """When another one may take over."""
    started_at: int = 0
    evaluated: int = 0
    total: int = 0
    """How many endpoints there were at the start."""

    @classmethod
    def from_document(cls, document: Document) -> Self:
        return cls(id=document["_id"], **{name: document[name] for name in document if name != "_id"})

    def to_document(self) -> Document:
        members = asdict(self)
        return {"_id": members.pop("id"), **members}

    def is_held_by_other(self, replica_id: str, now: int) -> bool:
        return self.holder not in (None, replica_id) and self.held_until > now

    def begun(self, replica_id: str, now: int, held_until: int, total: int) -> Self:
        """With the next generation."""
        return replace(
            self,
            revision=self.revision + 1,
            generation=self.generation + 1,
            holder=replica_id,
            held_until=held_until,
            started_at=now,
            evaluated=0,
            total=total,
        )

    def renewed(self, held_until: int, evaluated: int) -> Self:
        return replace(self, revision=self.revision + 1, held_until=held_until, evaluated=evaluated)

    def ended(self) -> Self:
        return replace(self, revision=self.revision + 1, holder=None)

    def covers(self, filter_: Filter) -> bool:
        """Whether this is the pass a filter waits for, as far as clocks can tell; only shown, never relied on."""
        is_running = self.holder is not None
        return is_running and filter_.status is Status.PENDING and filter_.updated_at <= self.started_at


def unique_name(name: str) -> str:
    """What only one filter of an application may have; an id never looks like this."""
    return f"name {name}"
