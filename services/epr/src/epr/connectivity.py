"""What a communication replica says about its sessions, recorded in the endpoints: application version, connectivity.

An endpoint takes over the version that its device reports as it connects, if that is one of the same application. Its
metadata say whether it is connected, where its application version's configuration for the service instance `epl`
names keys for that (`connections.py`). The order in which reports are recorded does not matter.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from epr.connections import NO_KEYS, ConnectivityKeys, closed, of_replica, opened
from epr.model import Endpoint
from epr.register import Register
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import NotFound, PayloadTooLarge

logger = logging.getLogger(__name__)

ENDPOINTS_AT_ONCE: Final = 256
"""Endpoints that are read together, and changed together: a write of the store's."""
LOOK_UP_TIMEOUT: Final = 4.0
MALFORMED_SAID_FOR: Final = 60.0
"""Seconds before the same malformed configuration is logged again."""
MAX_MALFORMED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a communication replica said of an endpoint; the time is its own, in UNIX milliseconds."""

    endpoint_id: str
    at: int
    app_version: str | None
    """The version that the device reports; None when it has gone."""
    held_at: int | None = None
    """When the replica said besides that it holds the endpoint, in answer to a question: not even what it said
    between these two times, or was said in its name, has ended that."""


class _NotLookedUp(Exception):
    """The application version has to be known first."""


class Connectivity:
    def __init__(self, register: Register, app_versions: AppVersions) -> None:
        """`app_versions` have the configuration for `epl`."""
        self._register = register
        self._app_versions = app_versions
        self._malformed: TTLCache[str, bool] = TTLCache(MAX_MALFORMED, MALFORMED_SAID_FOR)

    async def record(self, replica_id: str, reports: Sequence[Report]) -> None:
        """Bring the endpoints in line with what the replica says.

        Raises Unavailable, DeadlineExceeded, perhaps in a group.
        """
        for first in range(0, len(reports), ENDPOINTS_AT_ONCE):
            some = reports[first : first + ENDPOINTS_AT_ONCE]
            by_id = {report.endpoint_id: report for report in some}
            endpoints = await self._register.get_many(list(by_id))
            names = {report.app_version for report in some if report.app_version is not None}
            app_versions = await self._look_up(names.union(endpoint.app_version for endpoint in endpoints))
            async with asyncio.TaskGroup() as tasks:
                for endpoint in endpoints:
                    report = by_id[endpoint.id]
                    if self._applied(endpoint, replica_id, report, app_versions) is not endpoint:
                        tasks.create_task(self._change(replica_id, report, app_versions), name="connectivity")

    async def _change(self, replica_id: str, report: Report, app_versions: dict[str, AppVersion | None]) -> None:
        can_write = True

        def decide(endpoint: Endpoint) -> Endpoint:
            after = self._applied(endpoint, replica_id, report, app_versions)
            return after if can_write else after._replace(metadata=endpoint.metadata)

        async with self._register.turn(report.endpoint_id):
            while True:
                try:
                    await self._register.change(report.endpoint_id, decide)
                    return
                except _NotLookedUp as exc:
                    app_versions.update(await self._look_up([str(exc)]))
                except NotFound:
                    return
                except PayloadTooLarge as exc:
                    logger.warning("metadata of an endpoint do not say whether it is connected: %s", exc)
                    can_write = False

    def _applied(
        self,
        endpoint: Endpoint,
        replica_id: str,
        report: Report,
        app_versions: Mapping[str, AppVersion | None],
    ) -> Endpoint:
        """The endpoint as it is after the report. Raises _NotLookedUp."""
        after = endpoint
        if report.app_version is not None and report.at >= endpoint.app_version_at:
            reported = app_versions[report.app_version]
            if reported is not None and reported.app_name == endpoint.application:
                after = endpoint.with_app_version(reported.name, report.at)
        if after.app_version not in app_versions:
            raise _NotLookedUp(after.app_version)
        keys = self._keys(app_versions[after.app_version])
        if not keys and not endpoint.connections:
            return after
        return _connected(after, keys, replica_id, report)

    def _keys(self, app_version: AppVersion | None) -> ConnectivityKeys:
        if app_version is None:
            return NO_KEYS
        try:
            return ConnectivityKeys.of(app_version.config)
        except ValueError as exc:
            self._say_malformed(app_version.name, exc)
            return NO_KEYS

    def _say_malformed(self, app_version: str, problem: ValueError) -> None:
        if app_version not in self._malformed:
            self._malformed[app_version] = True
            logger.error("the connectivity configuration of %s cannot be used: %s", app_version, problem)

    async def _look_up(self, names: Iterable[str]) -> dict[str, AppVersion | None]:
        """The application versions of these names, None for those that there are not."""
        deadline = Deadline.after(LOOK_UP_TIMEOUT)
        found: dict[str, AppVersion | None] = {}
        for name in names:
            try:
                found[name] = await self._app_versions.get(name, deadline)
            except NotFound:
                found[name] = None
        return found


def _connected(endpoint: Endpoint, keys: ConnectivityKeys, replica_id: str, report: Report) -> Endpoint:
    before = endpoint.connections
    if report.app_version is None:
        connections = closed(before, replica_id, report.at)
    else:
        opened_at, closed_at = report.at, of_replica(before, replica_id).closed_at
        if report.held_at is not None and opened_at < closed_at < report.held_at:
            opened_at = closed_at
        connections = opened(before, replica_id, opened_at)
    metadata = keys.written(endpoint.metadata, connections)
    if metadata is not endpoint.metadata:
        endpoint = endpoint.with_metadata(metadata, now_ms())
    return endpoint if connections is before else endpoint._replace(connections=connections)
