"""When credentials were used last, without a write per use: uses are noted in memory and written out now and then.

They have documents of their own, so a use neither counts as a change of the credentials nor competes with one; what
another replica has deleted meanwhile gets none. A replica that is killed loses the uses of its last minute. Notes are
bounded by what can be used within that minute; `FLUSH_AT` of them are written out at once.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from creds.clients.documents import BASIC_CREDENTIALS, LAST_USES, X509_CREDENTIALS
from kaa_common.errors import Unavailable
from kaa_common.store import Document, DocumentStore, DuplicateKey

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 60.0
"""Seconds in which credentials are written about at most once."""
FLUSH_AT = 10_000
BATCH = 200
"""Written at the same time: the store gathers them into few round trips."""


class LastUses:
    """Made by `open_last_uses`."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._noted: dict[str, int] = {}
        self._flush_due = asyncio.Event()

    def note(self, credentials_id: str, used_ms: int) -> None:
        """The credentials were used at that time, in UNIX milliseconds."""
        self._noted[credentials_id] = max(used_ms, self._noted.get(credentials_id, 0))
        if len(self._noted) >= FLUSH_AT:
            self._flush_due.set()

    async def forget(self, credentials_id: str) -> None:
        """The credentials do not exist any more."""
        self._noted.pop(credentials_id, None)
        await self._store.delete(LAST_USES, credentials_id, None)

    async def of(self, credentials_ids: Sequence[str]) -> dict[str, int]:
        """When these were used last, as far as they were; by other replicas, a minute ago at the latest."""
        documents = await self._store.get(LAST_USES, credentials_ids)
        kept = {credentials_id: document["usedDate"] for credentials_id, document in documents.items()}
        noted = {one: self._noted[one] for one in credentials_ids if one in self._noted}
        return {one: max(kept.get(one, 0), noted.get(one, 0)) for one in {**kept, **noted}}

    async def flush(self) -> None:
        """Write out what is noted. Raises Unavailable, and keeps the notes then."""
        self._flush_due.clear()
        due = iter(dict(self._noted).items())
        while batch := dict(islice(due, BATCH)):
            kept = await self._store.get(LAST_USES, list(batch))
            for credentials_id in await self._gone([one for one in batch if one not in kept]):
                del batch[credentials_id]
                self._noted.pop(credentials_id, None)
            async with asyncio.TaskGroup() as tasks:
                for credentials_id, used_ms in batch.items():
                    tasks.create_task(self._write(credentials_id, used_ms, kept.get(credentials_id)), name="last use")

    async def keep_flushing(self) -> None:
        """Flush in intervals."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL):
                    await self._flush_due.wait()
            await self.try_to_flush()

    async def try_to_flush(self) -> None:
        """Flush; when the store is away, the notes wait for the next time."""
        try:
            await self.flush()
        except* Unavailable as group:
            logger.debug("last uses are written later: %s", group.exceptions[0])

    async def _gone(self, credentials_ids: Sequence[str]) -> list[str]:
        """Those that do not exist."""
        found: dict[str, Document] = {}
        for collection in (BASIC_CREDENTIALS, X509_CREDENTIALS):
            found |= await self._store.get(collection, credentials_ids)
        return [one for one in credentials_ids if one not in found or found[one].get("deleted")]

    async def _write(self, credentials_id: str, used_ms: int, kept: Document | None) -> None:
        document = {"_id": credentials_id, "revision": 1, "usedDate": used_ms}
        if kept is None:
            with contextlib.suppress(DuplicateKey):  # another replica was faster, by a moment
                await self._store.insert(LAST_USES, document)
        elif kept["usedDate"] < used_ms:
            await self._store.replace(LAST_USES, {**document, "revision": kept["revision"] + 1}, kept["revision"])
        if self._noted.get(credentials_id) == used_ms:
            del self._noted[credentials_id]


@asynccontextmanager
async def open_last_uses(store: DocumentStore) -> AsyncIterator[LastUses]:
    """Last uses that are written out in intervals, and when the context is left."""
    last_uses = LastUses(store)
    async with asyncio.TaskGroup() as tasks:
        flushing = tasks.create_task(last_uses.keep_flushing(), name="last uses")
        try:
            yield last_uses
        finally:
            flushing.cancel()
    await last_uses.try_to_flush()
