"""What can be done with endpoint tokens: the use cases behind the REST interface and the bus.

Every change is a compare-and-set on the token's revision, and starts over when somebody else was faster. So of a first
use and a suspension at the same time the suspension always takes effect, whichever comes first. The unique index over
application and hash lets one of several simultaneous provisions of a value win.
"""

import contextlib
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from creds.competing import Check, competing
from creds.documents import BY_ENDPOINT, BY_VALUE, TOKENS, from_document, to_document, tombstone
from creds.hashing import TokenKeys
from creds.model import REFUSED, Token, TokenStatus, check_value, generate_value, new_token
from kaa_common.clock import now_ms
from kaa_common.errors import Conflict, Forbidden, NotFound
from kaa_common.messages.ecap import TOKEN_REVOKED, EndpointTokenRevokedEvent
from kaa_common.outbox import Entry, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.store import MAX_PAGE, Document, DocumentStore, DuplicateKey, StoreError, compile_query

RENEW_HASHES_AFTER = 600.0
"""Seconds after the start: by then every replica of a rolling restart knows the current key."""
MAX_TOKENS = 500
"""Tokens of one endpoint, the revoked ones included: well within one page of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    token: Token
    value: str = field(repr=False)
    is_new: bool
    """False when the endpoint had the token already."""


class Tokens:
    """The endpoint tokens of the platform."""

    def __init__(
        self,
        store: DocumentStore,
        outbox: Outbox,
        keys: TokenKeys,
        *,
        instance: str,
        replica_id: str,
        generated_length: int,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._keys = keys
        self._instance = instance
        self._replica_id = replica_id
        self._generated_length = generated_length
        self._renews_hashes_from = time.monotonic() + RENEW_HASHES_AFTER

    async def provision(self, tenant_id: str, app_name: str, endpoint_id: str, value: str | None) -> Provisioned:
        """A token of the endpoint with this value, or a generated one.

        Raises BadRequest for a malformed value or name, Conflict when the value is another endpoint's.
        """
        if value is not None:
            check_value(value)
        async with competing("this token"):
            while True:
                candidate = value or generate_value(self._generated_length, secrets.choice)
                taken = await self._find(app_name, candidate)
                if taken is None:
                    token = new_token(str(uuid.uuid4()), tenant_id, app_name, endpoint_id, now_ms())
                    if await self._insert(token, candidate):
                        return Provisioned(token=token, value=candidate, is_new=True)
                elif value is not None:
                    if taken["endpointId"] != endpoint_id:
                        raise Conflict("the token belongs to another endpoint")
                    return Provisioned(token=from_document(taken), value=value, is_new=False)

    async def validate(self, app_name: str, value: str) -> Token:
        """The token with this value, Active from its first use on.

        Raises BadRequest for a malformed value, NotFound, Forbidden when it is suspended or revoked.
        """
        check_value(value)
        async with competing("this token"):
            while True:
                document = await self._found(app_name, value)
                token = from_document(document)
                if token.status in REFUSED:
                    raise Forbidden(f"the token is {token.status.lower()}")
                if token.status is TokenStatus.ACTIVE:
                    await self._renew_hash(document, value)
                    return token
                used = token.moved(TokenStatus.ACTIVE, now_ms())
                if await self._store.replace(TOKENS, {**document, **to_document(used)}, token.revision):
                    return used

    async def get(self, endpoint_id: str, token_id: str) -> Token:
        """Raises NotFound."""
        return from_document(await self._read(endpoint_id, token_id))

    async def move(self, app_name: str, value: str, target: TokenStatus) -> Token:
        """Change the status of the token with this value. Raises BadRequest, NotFound, Conflict."""
        check_value(value)
        return await self._move(lambda: self._found(app_name, value), target, lambda _: None)

    async def move_of(self, endpoint_id: str, token_id: str, target: TokenStatus, check: Check) -> Token:
        """Change the status of a token of the endpoint. Raises NotFound, Conflict."""
        return await self._move(lambda: self._read(endpoint_id, token_id), target, check)

    async def delete(self, endpoint_id: str, token_id: str, check: Check) -> None:
        """Raises NotFound."""

        def change(before: Document) -> tuple[Document, list[Entry]]:
            check(before["revision"])
            after = tombstone(before)
            return after, [self._revoked(from_document(before), after["revision"])]

        await self._change(lambda: self._read(endpoint_id, token_id), change)

    async def discard(self, endpoint_id: str, is_meant: Callable[[Token], bool]) -> None:
        """Delete the tokens of the endpoint that are meant."""
        for token in await self.of_endpoint(endpoint_id):
            if is_meant(token):
                with contextlib.suppress(NotFound):  # somebody else was faster
                    await self.delete(endpoint_id, token.id, lambda _: None)

    async def of_endpoint(
        self, endpoint_id: str, statuses: Collection[TokenStatus] = (), *, newest_first: bool = False
    ) -> list[Token]:
        """The tokens of the endpoint in the order of creation; with `statuses` those that have one of them."""
        documents = await self._store.page(
            TOKENS, BY_ENDPOINT, equals=(endpoint_id,), limit=MAX_PAGE, descending=newest_first
        )
        return [token for token in map(from_document, documents) if not statuses or token.status in statuses]

    async def usable(self, token_ids: Sequence[str]) -> list[str]:
        """Those of these tokens that exist and are neither suspended nor revoked."""
        documents = await self._store.get(TOKENS, token_ids)
        tokens = [from_document(document) for document in documents.values() if not document.get("deleted")]
        return [token.id for token in tokens if token.status not in REFUSED]

    async def count_older(self) -> dict[str, int]:
        """How many tokens are still hashed under each older key. All tokens are read for it."""
        queries = {key_id: compile_query({"hash": {"$regex": f"^{key_id}:"}}) for key_id in self._keys.older_ids}
        return {key_id: await self._store.count(TOKENS, query=query) for key_id, query in queries.items()}

    async def _renew_hash(self, document: Document, value: str) -> None:
        """Hash a token that is in use under the current key, so that an older one can be given up some day."""
        if self._keys.is_current(document["hash"]) or time.monotonic() < self._renews_hashes_from:
            return
        revision = document["revision"]
        current_hash = self._keys.hashes(document["appName"], value)[0]
        with contextlib.suppress(StoreError):  # the next use is another occasion
            await self._store.replace(TOKENS, {**document, "revision": revision + 1, "hash": current_hash}, revision)

    async def _insert(self, token: Token, value: str) -> bool:
        """Whether the value was still free. Raises Conflict when the endpoint has too many tokens."""
        if await self._store.count(TOKENS, index=BY_ENDPOINT, equals=(token.endpoint_id,)) >= MAX_TOKENS:
            raise Conflict(f"an endpoint has at most {MAX_TOKENS} tokens, the revoked ones included; delete some")
        current_hash, *older_hashes = self._keys.hashes(token.app_name, value)
        try:
            await self._store.insert(TOKENS, {**to_document(token), "hash": current_hash})
        except DuplicateKey:
            return False
        if await self._find_hashed(token.app_name, older_hashes) is None:
            return True
        # The index does not see that a replica whose current key is another one has inserted the same value meanwhile.
        await self._store.delete(TOKENS, token.id, token.revision)
        return False

    async def _find(self, app_name: str, value: str) -> Document | None:
        return await self._find_hashed(app_name, self._keys.hashes(app_name, value))

    async def _find_hashed(self, app_name: str, hashes: Sequence[str]) -> Document | None:
        for value_hash in hashes:
            for document in await self._store.page(TOKENS, BY_VALUE, equals=(app_name, value_hash), limit=1):
                return document
        return None

    async def _found(self, app_name: str, value: str) -> Document:
        document = await self._find(app_name, value)
        if document is None:
            raise NotFound("unknown token")
        return document

    async def _read(self, endpoint_id: str, token_id: str) -> Document:
        document = (await self._store.get(TOKENS, [token_id])).get(token_id)
        if document is None or document.get("endpointId") != endpoint_id:
            raise NotFound("the endpoint has no token with this id")
        return document

    async def _move(self, read: Callable[[], Awaitable[Document]], target: TokenStatus, check: Check) -> Token:
        def change(before: Document) -> tuple[Document, list[Entry]]:
            check(before["revision"])
            moved = from_document(before).moved(target, now_ms())
            events = [self._revoked(moved, moved.revision)] if target in REFUSED else []
            return {**before, **to_document(moved)}, events

        return from_document(await self._change(read, change))

    async def _change(
        self,
        read: Callable[[], Awaitable[Document]],
        change: Callable[[Document], tuple[Document, list[Entry]]],
    ) -> Document:
        async with competing("this token"):
            while True:
                before = await read()
                after, events = change(before)
                document = self._outbox.append(after, *events)
                if await self._store.replace(TOKENS, document, before["revision"]):
                    break
        await self._outbox.publish(document)
        return document

    def _revoked(self, token: Token, revision: int) -> Entry:
        event = EndpointTokenRevokedEvent(
            **event_header(),
            app_name=token.app_name,
            endpoint_id=token.endpoint_id,
            token_ids=(token.id,),
            originator_replica_id=self._replica_id,
        )
        return entry(TOKEN_REVOKED.subject(self._instance), event, f"{token.id}:{revision}:revoked")
