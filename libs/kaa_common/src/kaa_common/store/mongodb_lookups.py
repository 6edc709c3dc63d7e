"""Concurrent lookups by id in few round trips.

The first to ask leads: it waits for one of a few places, and everybody who asks for documents of the same collection
meanwhile joins its find. With free places nobody waits, so a lone lookup costs what it cost before. No tasks are
needed: a leader works in its caller's task, and when that one gives up, those who had joined ask again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kaa_common.store.port import StoreError

# Raw documents by id; each caller decodes its own copy.
Found = dict[str, Any]

FINDS_AT_ONCE: Final = 4  # more would only make the batches smaller
IDS_PER_FIND: Final = 256


class _LeaderGaveUp(Exception):
    """Whoever was to run the find was cancelled."""


@dataclass(slots=True)
class _Lookup:
    ids: set[str]
    found: asyncio.Future[Found] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GatheredLookups:
    """Runs `find(collection, ids)` for many callers at once."""

    def __init__(self, find: Callable[[str, list[str]], Awaitable[Found]]) -> None:
        self._find = find
        self._places = asyncio.Semaphore(FINDS_AT_ONCE)
        self._gathering: dict[str, _Lookup] = {}

    async def get(self, collection: str, ids: Sequence[str]) -> Found:
        """Return at least the documents with these ids, as far as they exist."""
        while True:
            lookup = self._gathering.get(collection)
            if lookup is None or len(lookup.ids) >= IDS_PER_FIND:
                return await self._lead(collection, _Lookup(set(ids)))
            lookup.ids.update(ids)
            try:
                return await asyncio.shield(lookup.found)
            except _LeaderGaveUp:
                continue

    async def _lead(self, collection: str, lookup: _Lookup) -> Found:
        self._gathering[collection] = lookup
        try:
            async with self._places:
                self._close(collection, lookup)
                found = await self._find(collection, list(lookup.ids))
        except BaseException as exc:
            self._close(collection, lookup)
            lookup.found.set_exception(exc if isinstance(exc, StoreError) else _LeaderGaveUp())
            lookup.found.exception()  # nobody may have joined
            raise
        lookup.found.set_result(found)
        return found

    def _close(self, collection: str, lookup: _Lookup) -> None:
        if self._gathering.get(collection) is lookup:
            del self._gathering[collection]
