"""Which metadata keys the endpoints of an application have.

The keys of all endpoints are looked at, by the database. For a small application that is done on each request; for a
larger one the answer is used again for a minute, or longer where finding it takes long.
"""

import time
from typing import Any, Final

from cachetools import TLRUCache

from epr.applications import Applications
from epr.model import State
from epr.register import BY_APPLICATION, ENDPOINTS
from kaa_common.serial import SerialByKey
from kaa_common.store import DocumentStore

SMALL: Final = 1_000
"""Endpoints of an application whose keys are looked up on each request."""
KEPT_FOR: Final = 60.0
"""Seconds for which the keys of a larger one are used again."""
KEPT_FACTOR: Final = 60
"""Or this many times as long as it took to find them."""
MAX_KEPT: Final = 1_000
MAX_KEYS: Final = 10_000
"""Of an application version; whoever has more uses keys as values."""

KeysByVersion = dict[str, list[str]]


class MetadataKeys:
    def __init__(self, store: DocumentStore, applications: Applications, *, tenant: str) -> None:
        self._store = store
        self._applications = applications
        self._tenant = tenant
        self._kept: TLRUCache[str, tuple[float, KeysByVersion]] = TLRUCache(MAX_KEPT, _kept_until, time.monotonic)
        self._turns = SerialByKey()

    async def of(self, application: str) -> KeysByVersion:
        """The keys, sorted, by application version. Raises NotFound for an unknown application; Unavailable."""
        async with self._turns.turn(application):
            if application in self._kept:
                return self._kept[application][1]
            scope = (State.REGISTERED.value, self._tenant, application)
            size = await self._store.count(ENDPOINTS, index=BY_APPLICATION, equals=scope, limit=SMALL + 1)
            started = time.monotonic()
            found = {}
            for version in await self._applications.versions_of(application):
                keys = await self._store.distinct(
                    ENDPOINTS, "metadata.key", index=BY_APPLICATION, equals=(*scope, version), limit=MAX_KEYS
                )
                found[version] = sorted(keys)
            if size > SMALL:
                self._kept[application] = time.monotonic() - started, found
            return found


def _kept_until(_: str, kept: tuple[float, Any], now: float) -> float:
    return now + max(KEPT_FOR, KEPT_FACTOR * kept[0])
