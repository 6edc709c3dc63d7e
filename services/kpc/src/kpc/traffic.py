"""What each endpoint sent and was sent, reported now and then (9/ELCE, TrafficReportEvent).

Seen from the platform: received from an endpoint, sent to it; bytes are those of payloads. Each replica reports what
went through itself. A report that the bus does not take is part of the next one.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kaa_common.app_versions import AppVersion
from kaa_common.errors import KaaError
from kaa_common.messages.elce import TRAFFIC_REPORT, TrafficReportEvent, TrafficStat
from kaa_common.rpc import Rpc, event_header

logger = logging.getLogger(__name__)

MAX_ENDPOINTS = 100_000
"""Endpoints of which is counted until the next report, at some 400 bytes each; more cause a report at once."""
MAX_IN_EVENT = 2000
"""Endpoints in one event, so that it fits into a message of the bus."""
REPORT_AGAIN_AFTER = 5.0
"""Seconds, when the bus did not take a report."""

Key = tuple[str, str, str]
"""Tenant id, application name, endpoint id."""


@dataclass(slots=True)
class _Count:
    received_payload: int = 0
    sent_payload: int = 0
    received_messages: int = 0
    sent_messages: int = 0

    def stat(self) -> TrafficStat:
        return TrafficStat(
            total_received_payload=self.received_payload,
            total_sent_payload=self.sent_payload,
            total_received_message_count=self.received_messages,
            total_sent_message_count=self.sent_messages,
        )


class Traffic:
    """Counts, and reports while `reporting`."""

    def __init__(self, rpc: Rpc, kpc_instance: str, period: float, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """`period` in seconds; `clock_ns` tells UNIX nanoseconds."""
        self._rpc = rpc
        self._kpc_instance = kpc_instance
        self._period = period
        self._clock_ns = clock_ns
        self._since = clock_ns()
        self._counts: dict[Key, _Count] = {}
        self._full = asyncio.Event()

    def received(self, app_version: AppVersion, endpoint_id: str, size: int) -> None:
        """A payload from an endpoint."""
        count = self._count(app_version.tenant_id, app_version.app_name, endpoint_id)
        count.received_payload += size
        count.received_messages += 1

    def sent(self, tenant_id: str, app_name: str, endpoint_id: str, size: int) -> None:
        """A payload to an endpoint."""
        count = self._count(tenant_id, app_name, endpoint_id)
        count.sent_payload += size
        count.sent_messages += 1

    async def report(self) -> None:
        """Say what was counted since the last report. Raises KaaError; what was not said is kept."""
        since, until = self._since, self._clock_ns()
        counted = list(self._counts.items())
        for first in range(0, len(counted), MAX_IN_EVENT):
            some = counted[first : first + MAX_IN_EVENT]
            await self._rpc.emit(TRAFFIC_REPORT, self._kpc_instance, self._event(some, since, until))
            for key, _ in some:
                del self._counts[key]
        self._since = until
        self._full.clear()

    async def keep_reporting(self) -> None:
        while True:
            wait = self._period
            try:
                await self.report()
            except KaaError as exc:
                wait = min(wait, REPORT_AGAIN_AFTER)
                logger.debug("traffic is reported later: %s", exc)
                self._full.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._full.wait()
            except TimeoutError:
                pass

    def _event(self, counted: list[tuple[Key, _Count]], since: int, until: int) -> TrafficReportEvent:
        tenants: dict[str, dict[str, dict[str, TrafficStat]]] = {}
        for (tenant_id, app_name, endpoint_id), count in counted:
            tenants.setdefault(tenant_id, {}).setdefault(app_name, {})[endpoint_id] = count.stat()
        return TrafficReportEvent(
            **event_header(),
            tenant_traffic_stats=tenants,
            time_from=since,
            time_to=until,
            originator_replica_id=self._rpc.replica_id,
        )

    def _count(self, tenant_id: str, app_name: str, endpoint_id: str) -> _Count:
        key = (tenant_id, app_name, endpoint_id)
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= MAX_ENDPOINTS:
                # Only while the bus is away for long: the endpoint that was counted first is forgotten.
                del self._counts[next(iter(self._counts))]
            found = self._counts[key] = _Count()
            if len(self._counts) >= MAX_ENDPOINTS // 2:
                self._full.set()
        return found


@asynccontextmanager
async def reporting(traffic: Traffic) -> AsyncIterator[None]:
    """Traffic is reported until the context is left, the rest of it then."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(traffic.keep_reporting(), name="traffic reports")
        try:
            yield
        finally:
            task.cancel()
            try:
                await traffic.report()
            except KaaError as exc:
                logger.warning("the last report of the traffic was lost: %s", exc)
