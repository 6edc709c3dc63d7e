"""The metadata keys that an application version lets be read and written, from tekton's configuration for `epmx`.

Devices are held to it through the extension. Services that change metadata over 19/EPMMP may not write restricted keys
either, but for those that say whether an endpoint is connected: Kaa's EPL writes them over this protocol.
"""

import logging
from typing import Final

from cachetools import TTLCache

from epr.connections import NO_KEYS, ConnectivityKeys
from epr.epmx import Whitelist
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.clock import Deadline
from kaa_common.errors import NotFound, Unavailable

logger = logging.getLogger(__name__)

SAID_FOR: Final = 60.0
"""Seconds before the same malformed configuration is logged again."""
MAX_SAID: Final = 1000
EVERYTHING: Final = Whitelist(None)


class Whitelists:
    def __init__(self, epmx_versions: AppVersions, epl_versions: AppVersions) -> None:
        """Each with the configuration for the instance of its name."""
        self._epmx_versions = epmx_versions
        self._epl_versions = epl_versions
        self._said: TTLCache[str, bool] = TTLCache(MAX_SAID, SAID_FOR)

    def kept_of_devices(self, app_version: str) -> tuple[AppVersion, Whitelist] | None:
        """As `of_devices`; None when somebody has to be asked. Raises Unavailable."""
        found = self._epmx_versions.kept(app_version)
        return None if found is None else (found, self._whitelist(found))

    async def of_devices(self, app_version: str, deadline: Deadline) -> tuple[AppVersion, Whitelist]:
        """An application version and its whitelist.

        Raises NotFound when there is none; Unavailable, also when its configuration is malformed; DeadlineExceeded.
        """
        found = await self._epmx_versions.get(app_version, deadline)
        return found, self._whitelist(found)

    def kept_of_services(self, app_version: str) -> Whitelist | None:
        """As `of_services`; None when somebody has to be asked. Raises Unavailable."""
        epmx = self._epmx_versions.kept(app_version)
        epl = self._epl_versions.kept(app_version)
        return None if epmx is None or epl is None else self._of_services(epmx, epl)

    async def of_services(self, app_version: str, deadline: Deadline) -> Whitelist:
        """The whitelist for 19/EPMMP; all keys when there is no such version any more.

        Raises Unavailable, DeadlineExceeded.
        """
        try:
            epmx = await self._epmx_versions.get(app_version, deadline)
            epl = await self._epl_versions.get(app_version, deadline)
        except NotFound:
            return EVERYTHING
        return self._of_services(epmx, epl)

    def _of_services(self, epmx: AppVersion, epl: AppVersion) -> Whitelist:
        whitelist = self._whitelist(epmx)
        if whitelist.keys is None:
            return whitelist
        try:
            keys = ConnectivityKeys.of(epl.config)
        except ValueError:
            keys = NO_KEYS  # which the connectivity complains of
        return whitelist.with_writable(key for key in (keys.state, keys.state_ts) if key is not None)

    def _whitelist(self, app_version: AppVersion) -> Whitelist:
        try:
            return Whitelist.of(app_version.config)
        except ValueError as exc:
            if app_version.name not in self._said:
                self._said[app_version.name] = True
                logger.error("the configuration of %s for the extension cannot be used: %s", app_version.name, exc)
            raise Unavailable("the metadata keys of this application version are not configured properly") from exc
