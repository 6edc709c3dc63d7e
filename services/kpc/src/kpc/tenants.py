"""What tenants require of their clients, by transport: looked up from tekton, kept for a while (ACP, 17/SCMP).

    {"transports": {"mqtt": {"tls": {"x509-auth": {"required": true}, "basic-auth": {"required": true}}}}}

Forgotten as soon as something changed or may have been missed, as application versions are. Nothing is required where
nothing is said; what is said in a way that is not understood is required, so that a slip opens nothing.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaa_common import jsontext
from kaa_common.app_versions import KEPT_FOR
from kaa_common.believed import Believed
from kaa_common.bus import BusMessage
from kaa_common.clock import Deadline
from kaa_common.errors import Unavailable, error_of
from kaa_common.jsontext import InvalidJson
from kaa_common.messages.acp import GET_TENANT_CONFIG, TenantConfigRequest
from kaa_common.messages.scmp import CONFIGURATION_DELETED, CONFIGURATION_UPSERTED, SPECIFIC_UPDATES
from kaa_common.rpc import Rpc, request_header
from kaa_common.subjects import service_subject
from kpc.mqtt_connection import TransportName

MAX_KEPT = 10_000
"""Tenants kept, at some 500 bytes each."""
NOT_REQUIRED: tuple[object, ...] = (None, False, {})


@dataclass(frozen=True, slots=True)
class Requirements:
    """What clients must prove that come by a transport."""

    basic: bool = False
    """A username and a password."""
    x509: bool = False
    """A certificate; only TLS can carry one."""


NOTHING = Requirements()
TenantRequirements = Mapping[TransportName, Requirements]


class Tenants:
    """`start` before use."""

    def __init__(self, rpc: Rpc, tekton_instance: str, kpc_instance: str) -> None:
        self.changed = asyncio.Event()
        """Something may be required now that was not before."""
        self._rpc = rpc
        self._tekton_instance = tekton_instance
        self._kpc_instance = kpc_instance
        self._known = Believed[TenantRequirements](MAX_KEPT, KEPT_FOR)
        self._changes = 0

    async def start(self) -> None:
        bus = self._rpc.bus
        for event in (CONFIGURATION_UPSERTED, CONFIGURATION_DELETED):
            await bus.subscribe(event.subject(self._tekton_instance), self._told)
        for message_type in SPECIFIC_UPDATES:
            await bus.subscribe(service_subject(self._kpc_instance, "scmp", message_type), self._told)
        bus.on_connection_lost(self._forget)

    async def requirements(self, tenant_id: str, transport: TransportName, deadline: Deadline) -> Requirements:
        """Raises KaaError when they cannot be found out."""
        known = self._known.get(tenant_id)
        if known is None:
            known = await self._look_up(tenant_id, deadline)
        return known.get(transport, NOTHING)

    async def _look_up(self, tenant_id: str, deadline: Deadline) -> TenantRequirements:
        changes = self._changes
        request = TenantConfigRequest(
            **request_header(deadline), tenant_id=tenant_id, service_instance_name=self._kpc_instance
        )
        response = (await self._rpc.call(GET_TENANT_CONFIG, self._tekton_instance, request)).message
        if response.status_code != 200:
            raise error_of(response.status_code, response.reason_phrase)
        found = parse_requirements(response.config)
        # An answer that a change overtook is good for this request, not to be kept.
        if changes == self._changes:
            self._known.keep(tenant_id, found)
        return found

    async def _told(self, _: BusMessage) -> None:
        self._forget()

    def _forget(self) -> None:
        self._changes += 1
        self._known.clear()
        self.changed.set()


def parse_requirements(text: bytes | None) -> TenantRequirements:
    """Raises Unavailable when it is no JSON object."""
    try:
        config = jsontext.parse(text) if text else {}
    except InvalidJson:
        config = None
    if not isinstance(config, dict):
        # InvalidJson would be a 400, and the client has done nothing wrong.
        raise Unavailable("the configuration of the tenant cannot be read")
    of_mqtt = _member(_member(config, "transports"), "mqtt")
    transports: tuple[TransportName, ...] = ("tcp", "tls", "ws")
    return {
        transport: Requirements(
            basic=_is_required(of_mqtt, transport, "basic-auth"),
            x509=transport == "tls" and _is_required(of_mqtt, transport, "x509-auth"),
        )
        for transport in transports
    }


def _is_required(of_mqtt: Any, transport: TransportName, how: str) -> bool:
    return _member(_member(_member(of_mqtt, transport), how), "required") not in NOT_REQUIRED


def _member(value: Any, name: str) -> Any:
    """The member of an object; of anything else that is there, the thing itself."""
    return value.get(name) if isinstance(value, dict) else value
