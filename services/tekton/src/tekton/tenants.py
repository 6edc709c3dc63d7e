"""What can be done with the configurations of tenants: the use cases behind the REST interface and the bus.

A tenant that was never configured has no document, and no configuration. A change is written with its 17/SCMP events,
one for each service instance that it is for, by compare-and-set; when somebody else was faster it starts over.
"""

import asyncio
from collections.abc import Callable, Mapping

from kaa_common import jsontext
from kaa_common.errors import PayloadTooLarge, Unavailable
from kaa_common.messages.scmp import ServiceSpecificConfigurationUpdateEvent
from kaa_common.outbox import Entry, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.store import Document, DocumentStore, DuplicateKey
from kaa_common.subjects import service_subject
from tekton.documents import TENANTS, tenant_from_document, tenant_to_document
from tekton.model import Configuration, TenantConfiguration, checked_tenant_id

CHANGE_DEADLINE = 10.0
"""Seconds that a change competes with others of the same tenant: hundreds of attempts."""
MAX_BYTES = 256 * 1024
"""JSON text of all configurations of a tenant: hundreds of times what the switches of a service take."""

Check = Callable[[int], None]
"""Raises PreconditionFailed unless the revision is the one the caller wants to change."""


class Tenants:
    """The configurations of every tenant."""

    def __init__(self, store: DocumentStore, outbox: Outbox, tenant_id: str) -> None:
        """`tenant_id` is the tenant of the installation."""
        self._store = store
        self._outbox = outbox
        self._tenant_id = tenant_id

    async def get(self, tenant_id: str | None) -> TenantConfiguration:
        """The configurations of a tenant, or of that of the installation. Raises BadRequest."""
        tenant, _ = await self._read(self._tenant_id if tenant_id is None else checked_tenant_id(tenant_id))
        return tenant

    async def configure(
        self, tenant_id: str, configurations: Mapping[str, Configuration | None], check: Check
    ) -> TenantConfiguration:
        """Put these configurations in the place of the former ones of the same service instances.

        Raises PayloadTooLarge, and Unavailable when too many do the same.
        """
        try:
            async with asyncio.timeout(CHANGE_DEADLINE):
                while True:
                    tenant, before = await self._read(tenant_id)
                    check(tenant.revision)
                    configured = tenant.configured(configurations)
                    after = {**(before or {}), **_bounded(tenant_to_document(configured))}
                    events = [_event(configured, instance) for instance in configurations]
                    document = self._outbox.append(after, *events)
                    if await self._write(document, before):
                        break
        except TimeoutError as exc:
            raise Unavailable("too many changes of this tenant at the same time") from exc
        await self._outbox.publish(document)
        return configured

    async def _read(self, tenant_id: str) -> tuple[TenantConfiguration, Document | None]:
        document = (await self._store.get(TENANTS, [tenant_id])).get(tenant_id)
        if document is None:
            return TenantConfiguration(tenant_id=tenant_id, revision=0), None
        return tenant_from_document(document), document

    async def _write(self, document: Document, before: Document | None) -> bool:
        """Whether nobody else was faster."""
        if before is not None:
            return await self._store.replace(TENANTS, document, before["revision"])
        try:
            await self._store.insert(TENANTS, document)
        except DuplicateKey:
            return False
        return True


def _event(tenant: TenantConfiguration, instance: str) -> Entry:
    event = ServiceSpecificConfigurationUpdateEvent(**event_header(), tenant_id=tenant.tenant_id)
    message_id = f"tenant:{tenant.tenant_id}:{tenant.revision}:upsert:{instance}"
    return entry(service_subject(instance, "scmp", "configuration.upsert"), event, message_id)


def _bounded(document: Document) -> Document:
    if len(jsontext.dump(document)) > MAX_BYTES:
        raise PayloadTooLarge(f"the configurations of a tenant are at most {MAX_BYTES} bytes")
    return document
