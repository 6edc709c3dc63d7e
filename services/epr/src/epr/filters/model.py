"""The filter: a query that its application's endpoints match or not [pure].

It is pending until every endpoint has been matched against it (`activation.py`), and again when its query changes. A
deleted one is kept, unseen, until its id is taken out of every endpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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


def unique_name(name: str) -> str:
    """What only one filter of an application may have; an id never looks like this."""
    return f"name {name}"
