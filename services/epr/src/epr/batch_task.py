"""A batch registration as it is kept: what is still to be done, what became of the rest.

Endpoints get their ids and tokens before anything else is done with them, so doing one again, by this replica or by the
one that takes over, registers nothing twice. What the tokens are is kept until they are provisioned; then they are
sealed for whoever holds the id of the task, of which the store has only a part (ADR 0015).
"""

import binascii
import secrets
import string
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from epr.metadata import Metadata
from epr.sealing import CannotOpen, new_key, public_half, seal, unseal
from kaa_common import jsontext
from kaa_common.errors import NotFound
from kaa_common.store import Collection, Document, Index

BY_DUE = Index("by_due", ("tenant", "state", "due_at"))
BATCHES = Collection("batches", (BY_DUE,))

GENERATED_TOKEN_LENGTH: Final = 10
_ALPHABET: Final = string.ascii_letters + string.digits


class State(StrEnum):
    OPEN = "open"
    """Something is left to do; `due_at` is when a replica may take it over."""
    DONE = "done"
    """`due_at` is when it is forgotten."""


class Outcome(StrEnum):
    WAITING = "waiting"
    CREATED = "created"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An endpoint to register."""

    endpoint_id: str
    metadata: Metadata
    token: str | None = field(default=None, repr=False)
    """Until the endpoint is created or has failed; None as long as one is to be generated."""
    is_given: bool = False
    """Whether the token was given."""
    outcome: Outcome = Outcome.WAITING
    reason: str | None = None

    def with_token(self) -> Self:
        if self.token is not None:
            return self
        return replace(self, token="".join(secrets.choice(_ALPHABET) for _ in range(GENERATED_TOKEN_LENGTH)))

    def created(self) -> Self:
        """What it was registered with can be read from the endpoint."""
        return replace(self, outcome=Outcome.CREATED, metadata={}, token=None)

    def failed(self, reason: str) -> Self:
        return replace(self, outcome=Outcome.FAILED, reason=reason, token=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    id: str
    """As the store knows it: the first part of what the caller is given."""
    revision: int
    tenant: str
    application: str
    app_version: str
    state: State
    due_at: int
    created_at: int
    public_key: bytes
    items: tuple[Item, ...]
    sealed: tuple[str, ...] = ()
    """Tokens by the number of their item, some in each."""

    @classmethod
    def new(cls, tenant: str, application: str, app_version: str, items: Sequence[Item], now: int) -> tuple[Self, str]:
        """A task that is due at once, and the id for its caller."""
        key = new_key()
        task = cls(
            id=uuid.uuid4().hex,
            revision=1,
            tenant=tenant,
            application=application,
            app_version=app_version,
            state=State.OPEN,
            due_at=now,
            created_at=now,
            public_key=public_half(key),
            items=tuple(items),
        )
        return task, f"{task.id}.{urlsafe_b64encode(key).decode().rstrip('=')}"

    @classmethod
    def from_document(cls, document: Document) -> Self:
        return cls(
            id=document["_id"],
            revision=document["revision"],
            tenant=document["tenant"],
            application=document["application"],
            app_version=document["app_version"],
            state=State(document["state"]),
            due_at=document["due_at"],
            created_at=document["created_at"],
            public_key=urlsafe_b64decode(document["public_key"]),
            items=tuple(
                Item(
                    endpoint_id=item["endpoint_id"],
                    metadata=item["metadata"],
                    token=item["token"],
                    is_given=item["is_given"],
                    outcome=Outcome(item["outcome"]),
                    reason=item["reason"],
                )
                for item in document["items"]
            ),
            sealed=tuple(document["sealed"]),
        )

    def to_document(self) -> Document:
        return {
            "_id": self.id,
            "revision": self.revision,
            "tenant": self.tenant,
            "application": self.application,
            "app_version": self.app_version,
            "state": self.state.value,
            "due_at": self.due_at,
            "created_at": self.created_at,
            "public_key": urlsafe_b64encode(self.public_key).decode(),
            "items": [
                {
                    "endpoint_id": item.endpoint_id,
                    "metadata": dict(item.metadata),
                    "token": item.token,
                    "is_given": item.is_given,
                    "outcome": item.outcome.value,
                    "reason": item.reason,
                }
                for item in self.items
            ],
            "sealed": list(self.sealed),
        }

    @property
    def waiting(self) -> list[int]:
        """The numbers of the items that are left to do."""
        return [number for number, item in enumerate(self.items) if item.outcome is Outcome.WAITING]

    def held_until(self, due_at: int) -> Self:
        return replace(self, revision=self.revision + 1, due_at=due_at)

    def with_items(self, changed: Mapping[int, Item]) -> Self:
        """With these items changed; the tokens of those that are not waiting any more are sealed."""
        finished = {
            str(number): token
            for number, item in changed.items()
            if item.outcome is not Outcome.WAITING and (token := self._shown_token(number, item)) is not None
        }
        sealed = (*self.sealed, seal(self.public_key, jsontext.dump(finished))) if finished else self.sealed
        items = tuple(changed.get(number, item) for number, item in enumerate(self.items))
        return replace(self, revision=self.revision + 1, items=items, sealed=sealed)

    def done(self, forgotten_at: int) -> Self:
        return replace(self, revision=self.revision + 1, state=State.DONE, due_at=forgotten_at)

    def tokens(self, key: bytes) -> dict[int, str]:
        """The tokens of what is created, and those given for what failed. Raises NotFound for another task's key."""
        try:
            opened = [jsontext.parse(unseal(key, sealed)) for sealed in self.sealed]
        except CannotOpen:
            raise unknown_task() from None
        return {int(number): token for tokens in opened for number, token in tokens.items()}

    def _shown_token(self, number: int, item: Item) -> str | None:
        """A token that was generated for an endpoint which failed is nobody's."""
        return self.items[number].token if item.is_given or item.outcome is Outcome.CREATED else None


def parts_of(task_id: str) -> tuple[str, bytes]:
    """The id that the store knows, and the key. Raises NotFound when no task can have that id."""
    stored_id, _, encoded = task_id.partition(".")
    try:
        key = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        public_half(key)
    except (ValueError, binascii.Error):
        raise unknown_task() from None
    return stored_id, key


def unknown_task() -> NotFound:
    return NotFound("no batch registration with this id")


def status_of(task: Task, key: bytes) -> dict[str, Any]:
    """What the status request answers."""
    tokens = task.tokens(key)
    created: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for number, item in enumerate(task.items):
        token = {"endpointToken": tokens[number]} if number in tokens else {}
        if item.outcome is Outcome.CREATED:
            created.append({**token, "endpointId": item.endpoint_id})
        elif item.outcome is Outcome.FAILED:
            failed.append({**token, "metadata": item.metadata, "status": "FAILED", "statusReason": item.reason})
    return {"createdCount": len(created), "failedCount": len(failed), "created": created, "failed": failed}
