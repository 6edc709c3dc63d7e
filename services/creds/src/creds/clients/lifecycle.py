"""What credentials of both kinds go through: insertion, first use, changes of their state, deletion.

Every change is a compare-and-set on the revision and starts over when somebody else was faster, so a first use never
wins over a suspension. The events of 22/CAP and 16/ECAP are part of the document until they are published.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from creds.clients.documents import OF_TENANT, C, Kind
from creds.clients.last_uses import LastUses
from creds.clients.model import State
from creds.competing import Check, competing
from creds.model import REFUSED
from kaa_common.clock import now_ms
from kaa_common.errors import NotFound
from kaa_common.messages.cap import ClientCredentialsRevokedEvent
from kaa_common.messages.ecap import CLIENT_CREDENTIAL_REVOKED, ClientCredentialRevokedEvent
from kaa_common.outbox import Entry, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.store import Document, DocumentStore, DuplicateKey, Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Whose events they are."""

    ccm_instance: str
    cm_instance: str
    replica_id: str


class Lifecycle(Generic[C]):
    """The credentials of one kind."""

    def __init__(
        self, kind: Kind[C], store: DocumentStore, outbox: Outbox, last_uses: LastUses, sender: Sender
    ) -> None:
        self._kind = kind
        self._store = store
        self._outbox = outbox
        self._last_uses = last_uses
        self._sender = sender

    async def insert(self, credentials: C, **secrets: str) -> bool:
        """Whether no others have the name that must be unique."""
        try:
            await self._store.insert(self._kind.collection, {**self._kind.to_document(credentials), **secrets})
        except DuplicateKey:
            return False
        return True

    async def find(self, index: Index, *values: str) -> Document | None:
        """The document with these values in a unique index."""
        for document in await self._store.page(self._kind.collection, index, equals=values, limit=1):
            return document
        return None

    async def get(self, tenant_id: str, credentials_id: str) -> C:
        """Raises NotFound."""
        return self._kind.from_document(await self._read(tenant_id, credentials_id))

    async def page(self, tenant_id: str, offset: int, limit: int) -> list[C]:
        """Credentials of the tenant in the order of creation."""
        documents = await self._store.page(
            self._kind.collection, OF_TENANT, equals=(tenant_id,), offset=offset, limit=limit
        )
        return [self._kind.from_document(document) for document in documents]

    async def last_uses(self, credentials: Sequence[C]) -> dict[str, int]:
        """When each was used last, in UNIX milliseconds; without those that never were."""
        return await self._last_uses.of([one.id for one in credentials])

    async def use(self, tenant_id: str, credentials_id: str) -> C:
        """The credentials, Active from their first use on. Raises NotFound, Forbidden."""
        async with competing("these credentials"):
            while True:
                document = await self._read(tenant_id, credentials_id)
                credentials = self._kind.from_document(document)
                credentials.check_usable()
                if credentials.state is not State.ACTIVE:
                    credentials = credentials.moved(State.ACTIVE, now_ms())
                    changed = {**document, **self._kind.to_document(credentials)}
                    if not await self._store.replace(self._kind.collection, changed, document["revision"]):
                        continue
                self._last_uses.note(credentials_id, now_ms())
                return credentials

    async def usable(self, credentials_ids: Sequence[str]) -> list[str]:
        """Those of these credentials that exist and are neither suspended nor revoked."""
        documents = await self._store.get(self._kind.collection, credentials_ids)
        found = [self._kind.from_document(document) for document in documents.values() if not document.get("deleted")]
        return [credentials.id for credentials in found if credentials.state not in REFUSED]

    async def move(self, tenant_id: str, credentials_id: str, target: State, check: Check) -> C:
        """Change the state. Raises NotFound, Conflict."""

        def change(before: Document) -> tuple[Document, bool]:
            moved = self._kind.from_document(before).moved(target, now_ms())
            return {**before, **self._kind.to_document(moved)}, target in REFUSED

        return self._kind.from_document(await self._change(tenant_id, credentials_id, check, change))

    async def delete(self, tenant_id: str, credentials_id: str, check: Check) -> None:
        """Raises NotFound."""
        await self._change(tenant_id, credentials_id, check, lambda before: (self._kind.tombstone(before), True))
        await self._last_uses.forget(credentials_id)

    async def _read(self, tenant_id: str, credentials_id: str) -> Document:
        document = (await self._store.get(self._kind.collection, [credentials_id])).get(credentials_id)
        if document is None or document.get("tenantId") != tenant_id:
            raise NotFound("no credentials with this id")
        return document

    async def _change(
        self,
        tenant_id: str,
        credentials_id: str,
        check: Check,
        change: Callable[[Document], tuple[Document, bool]],
    ) -> Document:
        """The document after the change, which says besides whether the credentials were withdrawn by it."""
        async with competing("these credentials"):
            while True:
                before = await self._read(tenant_id, credentials_id)
                check(before["revision"])
                after, is_withdrawn = change(before)
                if is_withdrawn:
                    after = self._outbox.append(after, *self._revoked(before, after["revision"]))
                if await self._store.replace(self._kind.collection, after, before["revision"]):
                    break
        await self._outbox.publish(after)
        return after

    def _revoked(self, document: Document, revision: int) -> tuple[Entry, Entry]:
        credentials_id, sender = document["_id"], self._sender
        cap_event = ClientCredentialsRevokedEvent(
            **event_header(),
            tenant_id=document["tenantId"],
            credentials_id=credentials_id,
            originator_replica_id=sender.replica_id,
        )
        ecap_event = ClientCredentialRevokedEvent(
            **event_header(), credential_id=credentials_id, originator_replica_id=sender.replica_id
        )
        message_id = f"{credentials_id}:{revision}:revoked"
        return (
            entry(self._kind.revoked.subject(sender.ccm_instance), cap_event, message_id),
            entry(CLIENT_CREDENTIAL_REVOKED.subject(sender.cm_instance), ecap_event, f"{message_id}:ecap"),
        )
