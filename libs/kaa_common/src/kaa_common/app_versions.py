"""Application versions as the other services see them.

Looked up from tekton, kept for a while, forgotten when 17/SCMP says that something changed or may have been missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaa_common import jsontext
from kaa_common.believed import Believed
from kaa_common.bus import BusMessage
from kaa_common.clock import Deadline
from kaa_common.errors import NotFound, Unavailable, error_of
from kaa_common.jsontext import InvalidJson
from kaa_common.messages.acp import GET_APP_VERSION_CONFIG, AppVersionConfigRequest
from kaa_common.messages.scmp import CONFIGURATION_DELETED, CONFIGURATION_UPSERTED, SPECIFIC_UPDATES
from kaa_common.rpc import Rpc, request_header
from kaa_common.subjects import InvalidName, checked_name, service_subject

MAX_KEPT = 10_000
"""Application versions kept: far more than an installation has, a few MB at most."""
KEPT_FOR = 60.0
"""Seconds an application version is believed without asking again."""
UNKNOWN_FOR = 2.0
"""Seconds a name is believed to be unknown: a device with a wrong topic does not cost a request a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppVersion:
    name: str
    app_name: str
    tenant_id: str
    config: Mapping[str, Any]
    """The configuration of the service instance that asks; empty when it has none."""


class AppVersions:
    """The application versions of the platform, with the configuration for one service instance. `start` before use."""

    def __init__(self, rpc: Rpc, tekton_instance: str, service_instance: str) -> None:
        self._rpc = rpc
        self._tekton_instance = tekton_instance
        self._service_instance = service_instance
        self._known = Believed[AppVersion](MAX_KEPT, KEPT_FOR)
        self._unknown = Believed[bool](MAX_KEPT, UNKNOWN_FOR)
        self._changes = 0

    async def start(self) -> None:
        bus = self._rpc.bus
        for event in (CONFIGURATION_UPSERTED, CONFIGURATION_DELETED):
            await bus.subscribe(event.subject(self._tekton_instance), self._changed)
        for message_type in SPECIFIC_UPDATES:
            await bus.subscribe(service_subject(self._service_instance, "scmp", message_type), self._changed)
        bus.on_connection_lost(self._forget)

    def kept(self, name: str) -> AppVersion | None:
        """The application version, if it is kept: no reason to wait."""
        return self._known.get(name)

    async def get(self, name: str, deadline: Deadline) -> AppVersion:
        """Raises NotFound when there is no such application version; Unavailable, DeadlineExceeded."""
        if (known := self.kept(name)) is not None:
            return known
        try:
            checked_name(name)
        except InvalidName:
            raise NotFound("unknown application version") from None
        if self._unknown.get(name):
            raise NotFound("unknown application version")
        return await self._look_up(name, deadline)

    async def _look_up(self, name: str, deadline: Deadline) -> AppVersion:
        changes = self._changes
        request = AppVersionConfigRequest(
            **request_header(deadline), app_version_name=name, service_instance_name=self._service_instance
        )
        response = (await self._rpc.call(GET_APP_VERSION_CONFIG, self._tekton_instance, request)).message
        # An answer that a change overtook is good for this request, not to be kept.
        to_keep = changes == self._changes
        if response.status_code == 404:
            if to_keep:
                self._unknown.keep(name, True)
            raise NotFound("unknown application version")
        if response.status_code != 200 or response.app_name is None or response.tenant_id is None:
            raise error_of(response.status_code, response.reason_phrase)
        found = AppVersion(
            name=name,
            app_name=response.app_name,
            tenant_id=response.tenant_id,
            config=_config_of(name, response.config),
        )
        if to_keep:
            self._known.keep(name, found)
        return found

    async def _changed(self, _: BusMessage) -> None:
        self._forget()

    def _forget(self) -> None:
        """Changes are rare and look-ups cheap: forgetting all is simpler than finding out what is concerned."""
        self._changes += 1
        self._known.clear()
        self._unknown.clear()


def _config_of(name: str, text: bytes | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        config = jsontext.parse(text)
    except InvalidJson:
        config = None
    if not isinstance(config, dict):
        # InvalidJson would be a 400, and the caller has done nothing wrong.
        raise Unavailable(f"the configuration of {name} cannot be read")
    return config
