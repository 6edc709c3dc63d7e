"""What the communication service announces (9/ELCE connected, disconnected) comes to the register.

One replica of the register gets an event, and handles many at once. What cannot be recorded now is tried again for a
while, then the communication replica is doubted (`leases.py`), which repairs it. So it is when the configuration of the
connectivity changes: it concerns endpoints that are connected already.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from epr.comparison import Comparison
from epr.connectivity import Connectivity, Report
from epr.leases import Leases
from epr.register import Register
from kaa_common.app_versions import AppVersions
from kaa_common.bus import BusMessage
from kaa_common.errors import KaaError
from kaa_common.messages.elce import CONNECTED, DISCONNECTED, ConnectedEvent, DisconnectedEvent
from kaa_common.messages.scmp import SPECIFIC_UPDATES
from kaa_common.rpc import Rpc
from kaa_common.store import DocumentStore
from kaa_common.subjects import service_subject

logger = logging.getLogger(__name__)

EVENTS_AT_ONCE: Final = 64
"""Events that a replica handles at once; most are about one endpoint."""
RETRY_PAUSES: Final = (0.1, 0.5, 2.0, 5.0)
"""Seconds; some databases take as long to fail over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Those of service instances."""

    epr: str
    kpc: str
    epl: str
    """Whose configuration of an application version names the keys for the connectivity."""


class Sessions:
    def __init__(self, connectivity: Connectivity, leases: Leases) -> None:
        self._connectivity = connectivity
        self._leases = leases

    async def listen(self, rpc: Rpc, names: Names) -> None:
        await rpc.listen(CONNECTED, names.kpc, self._connected, queue=names.epr, concurrency=EVENTS_AT_ONCE)
        await rpc.listen(DISCONNECTED, names.kpc, self._disconnected, queue=names.epr, concurrency=EVENTS_AT_ONCE)
        for message_type in SPECIFIC_UPDATES:
            await rpc.bus.subscribe(service_subject(names.epl, "scmp", message_type), self._configured)

    async def _connected(self, event: ConnectedEvent) -> None:
        if self._leases.is_gone(event.originator_replica_id):
            logger.debug("ignored a late event of %s", event.originator_replica_id)
            return
        reports = [
            Report(endpoint_id=endpoint_id, at=event.timestamp, app_version=app_version)
            for endpoint_id, app_version in event.endpoints.items()
        ]
        await self._record(event.originator_replica_id, reports)

    async def _disconnected(self, event: DisconnectedEvent) -> None:
        reports = [Report(endpoint_id=name, at=event.timestamp, app_version=None) for name in event.endpoints]
        await self._record(event.originator_replica_id, reports)

    async def _record(self, replica_id: str, reports: list[Report]) -> None:
        for pause in RETRY_PAUSES:
            is_done = True
            try:
                await self._connectivity.record(replica_id, reports)
            except* KaaError as group:
                is_done = False
                logger.debug("connectivity of %d endpoints is recorded later: %s", len(reports), group.exceptions[0])
            if is_done:
                return
            await asyncio.sleep(pause)
        logger.warning("connectivity of %d endpoints was not recorded: %s is asked later", len(reports), replica_id)
        self._leases.doubt(replica_id)

    async def _configured(self, _: BusMessage) -> None:
        self._leases.doubt_all()


@asynccontextmanager
async def following(
    rpc: Rpc, store: DocumentStore, register: Register, app_versions: AppVersions, names: Names, *, lease: float
) -> AsyncIterator[Leases]:
    """Endpoints follow their devices' sessions until the context is left.

    `app_versions` have the configuration for `epl`; `lease` is in seconds.
    """
    connectivity = Connectivity(register, app_versions)
    comparison = Comparison(rpc, register, connectivity)
    leases = Leases(rpc, store, register, comparison, kpc_instance=names.kpc, lease=lease, clock=time.monotonic)
    await leases.start()
    await Sessions(connectivity, leases).listen(rpc, names)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(leases.keep_watching(), name="leases")
        try:
            yield leases
        finally:
            watching.cancel()
