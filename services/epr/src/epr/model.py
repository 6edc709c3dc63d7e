"""The endpoint: what the register knows about a device [pure].

An endpoint is registered in two steps, since its token is kept by another service: first it is reserved, which no
interface shows, then registered. The document keeps metadata as Kaa's filters query it, an array of `{key, value}`.

The revision starts with the time of the registration in milliseconds and is raised by one with each change. So it never
comes again, not even when the same id is unregistered and registered anew: neither an old ETag nor the `Nats-Msg-Id` of
an old event can be taken for a new one, and a consumer that keeps the highest revision it saw misses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from epr.connections import Connection, Connections, holder
from epr.metadata import Metadata, check_limits
from epr.terms import terms_of
from kaa_common import jsontext
from kaa_common.errors import Unavailable
from kaa_common.messages.eme import MetadataKeyUpdatedDto

ENDPOINT_ID_PATTERN = "^[a-zA-Z0-9._~-]{1,128}$"
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Bytes of an endpoint's events that wait for the bus: half of what a document may hold, five of the largest events."""
WAITING_OVERHEAD = 512
"""Bytes that an event's subject and headers take; most of those of filters are shorter than these."""

Document = dict[str, Any]  # Any: the JSON that a store keeps


class State(StrEnum):
    RESERVED = "reserved"
    """Its token is being provisioned, or that failed and has to be rolled back."""
    REGISTERED = "registered"
    UNREGISTERED = "unregistered"
    """Gone for everybody, kept until its last events are published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChanges:
    """What differs between two metadata, as 15/EME wants it: JSON text, None for the JSON null."""

    removed: Mapping[str, None | str]
    added: Mapping[str, None | str]
    updated: Mapping[str, MetadataKeyUpdatedDto]

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.updated)


NO_CHANGES: Final = MetadataChanges(removed={}, added={}, updated={})


class Endpoint(NamedTuple):
    """A tuple, as each change makes new ones of it: a dataclass of as many fields takes four times as long for one."""

    id: str
    revision: int
    state: State
    tenant: str
    application: str
    app_version: str
    app_version_at: int
    """When it got this application version; UNIX milliseconds, as all times here."""
    created_at: int
    metadata: Metadata
    metadata_updated_at: int | None = None
    token_id: str | None = None
    """The token it was registered with: a registration that is repeated with it gets the same answer."""
    reserved_until: int | None = None
    """When a reservation may be rolled back by anyone."""
    filters: tuple[str, ...] = ()
    """Ids of the filters that it matches, as of its revision."""
    filters_generation: int = 0
    """The generation of the filters that it was matched against (epr.filters)."""
    restamped: int = 0
    """How often its document was written without a change that anybody sees: for the generation, or the connections."""
    connections: Connections = ()
    """What communication replicas said about its sessions (epr.connections)."""
    outbox: tuple[Mapping[str, Any], ...] = ()
    """Events that may not be published yet (kaa_common.outbox)."""
    pending: int | None = None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        return cls(
            id=document["_id"],
            revision=document["revision"] - document.get("restamped", 0),
            state=State(document["state"]),
            tenant=document["tenant"],
            application=document["application"],
            app_version=document["application_version"],
            app_version_at=document["application_version_at"],
            created_at=document["created_at"],
            metadata={entry["key"]: entry["value"] for entry in document["metadata"]},
            metadata_updated_at=document["metadata_updated_at"],
            token_id=document["token_id"],
            reserved_until=document["reserved_until"],
            filters=tuple(document.get("filters", ())),
            filters_generation=document.get("filters_generation", 0),
            restamped=document.get("restamped", 0),
            connections=tuple(
                Connection(replica_id=replica_id, opened_at=opened_at, closed_at=closed_at, since=since)
                for replica_id, opened_at, closed_at, since in document.get("connections", ())
            ),
            outbox=tuple(document.get("outbox", ())),
            pending=document.get("pending"),
        )

    def to_document(self) -> Document:
        document = {
            "_id": self.id,
            "revision": self.document_revision,
            "state": self.state.value,
            "tenant": self.tenant,
            "application": self.application,
            "application_version": self.app_version,
            "application_version_at": self.app_version_at,
            "created_at": self.created_at,
            "metadata": self._metadata_array(),
            "terms": terms_of(self.metadata),
            "metadata_updated_at": self.metadata_updated_at,
            "token_id": self.token_id,
            "reserved_until": self.reserved_until,
        }
        if self.filters:
            document["filters"] = list(self.filters)
        if self.filters_generation:
            document["filters_generation"] = self.filters_generation
        if self.restamped:
            document["restamped"] = self.restamped
        if self.connections:
            document["held_by"] = holder(self.connections)
            document["connections"] = [
                [known.replica_id, known.opened_at, known.closed_at, known.since] for known in self.connections
            ]
        if self.pending is not None:
            document["outbox"] = list(self.outbox)
            document["pending"] = self.pending
        if self.state is State.UNREGISTERED:
            document["deleted"] = True  # for the outbox, which removes it
        return document

    @property
    def document_revision(self) -> int:
        """What a compare-and-set expects. It grows with the revision and with nobody seeing it."""
        return self.revision + self.restamped

    def queried(self) -> Document:
        """What filter queries see of it."""
        return {"application_version": self.app_version, "metadata": self._metadata_array()}

    def _metadata_array(self) -> list[Document]:
        return [{"key": key, "value": value} for key, value in self.metadata.items()]

    def with_metadata(self, metadata: Metadata, now: int) -> Self:
        return self._replace(revision=self.revision + 1, metadata=metadata, metadata_updated_at=now)

    def with_app_version(self, name: str, now: int) -> Self:
        if name == self.app_version:
            return self
        return self._replace(revision=self.revision + 1, app_version=name, app_version_at=now)

    def changed_into(self, wanted: Self) -> tuple[Self, MetadataChanges]:
        """The endpoint that is as wanted, as the next revision, whatever was done to it; and how its metadata differ.

        When nothing differs, not one bit of a value, it is this endpoint: no revision, no event. A device may so repeat
        what it said before at no cost. When only its connections do, which nobody sees, it keeps its revision.
        Raises PayloadTooLarge; Unavailable when too many events wait for the bus.
        """
        if wanted is self:
            return self, NO_CHANGES
        changes = metadata_changes(self.metadata, wanted.metadata)
        if changes:
            check_limits(wanted.metadata)
        else:
            updated_at = self.metadata_updated_at
            wanted = wanted._replace(revision=self.revision, metadata=self.metadata, metadata_updated_at=updated_at)
            if wanted == self:
                return self, changes
            if wanted._replace(connections=self.connections) == self:
                return wanted._replace(restamped=self.restamped + 1), changes
        if sum(len(waiting["data"]) + WAITING_OVERHEAD for waiting in self.outbox) > MAX_WAITING_BYTES:
            raise Unavailable("too many events of this endpoint wait for the message bus")
        next_revision = self.revision + 1
        # Copying costs: the one change that most changes are has made the revision already.
        return wanted if wanted.revision == next_revision else wanted._replace(revision=next_revision), changes

    def registered(self, token_id: str, now: int) -> Self:
        """A reservation whose token was provisioned."""
        return self._replace(
            revision=self.revision + 1,
            state=State.REGISTERED,
            token_id=token_id,
            reserved_until=None,
            created_at=now,
            app_version_at=now,
            metadata_updated_at=now if self.metadata else None,
        )

    def reserved_again(self, until: int) -> Self:
        return self._replace(revision=self.revision + 1, reserved_until=until)

    def unregistered(self) -> Self:
        return self._replace(
            revision=self.revision + 1,
            state=State.UNREGISTERED,
            metadata={},
            token_id=None,
            reserved_until=None,
            filters=(),
            filters_generation=0,
            connections=(),
        )


def metadata_changes(before: Metadata, after: Metadata) -> MetadataChanges:
    """The differences by key. Values are the same when their JSON texts are: 1, 1.0 and true are three values."""
    if before is after:
        return NO_CHANGES
    removed = {key: _json_text(value) for key, value in before.items() if key not in after}
    added: dict[str, None | str] = {}
    updated: dict[str, MetadataKeyUpdatedDto] = {}
    for key, value in after.items():
        if key not in before:
            added[key] = _json_text(value)
        elif value is not before[key] and (new := _json_text(value)) != (old := _json_text(before[key])):
            updated[key] = MetadataKeyUpdatedDto(new_value=new, old_value=old)
    return MetadataChanges(removed=removed, added=added, updated=updated)


def _json_text(value: Any) -> str | None:
    return None if value is None else jsontext.dump(value).decode()
