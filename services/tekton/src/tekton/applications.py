"""What can be done with applications: the use cases behind the REST interface and the bus.

A change reads the application, makes the next one (`model`), and writes it with its 17/SCMP events by compare-and-set;
when somebody else was faster it starts over. What concerns every service is broadcast; a configuration is announced to
the service instance that it is for.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from kaa_common import jsontext
from kaa_common.clock import now_ms
from kaa_common.errors import Conflict, NotFound, PayloadTooLarge, Unavailable
from kaa_common.messages.scmp import (
    CONFIGURATION_DELETED,
    CONFIGURATION_UPSERTED,
    BroadcastConfigurationUpdateEvent,
    ServiceSpecificConfigurationUpdateEvent,
)
from kaa_common.outbox import Entry, Outbox, entry
from kaa_common.rpc import event_header
from kaa_common.store import MAX_PAGE, Document, DocumentStore, DuplicateKey
from kaa_common.subjects import service_subject
from tekton.configuration import checked, merged
from tekton.documents import APPLICATIONS, BY_CREATION, from_document, to_document, tombstone
from tekton.model import (
    Application,
    ApplicationVersion,
    Configuration,
    Texts,
    application_of,
    new_application,
    version_name,
)

CHANGE_DEADLINE = 10.0
"""Seconds that a change competes with others of the same application: hundreds of attempts."""
MAX_APPLICATION_BYTES = 4 * 1024 * 1024
"""JSON text of an application with all its configurations: half of what a document may hold, the rest is for events."""

Check = Callable[[int], None]
"""Raises PreconditionFailed unless the revision is the one the caller wants to change."""
Change = Callable[[Application, int], tuple[Application, list[Entry]]]
"""From the application and the time to the changed one and its events."""
ChangeDocument = Callable[[Document, int], tuple[Document, list[Entry]]]


class Applications:
    """The applications of a tenant."""

    def __init__(self, store: DocumentStore, outbox: Outbox, *, instance: str, replica_id: str, tenant_id: str) -> None:
        self._store = store
        self._outbox = outbox
        self._instance = instance
        self._replica_id = replica_id
        self._tenant_id = tenant_id

    async def create(self, name: str | None, texts: Texts) -> Application:
        """Raises Conflict when the name is taken."""
        application = new_application(str(uuid.uuid4()) if name is None else name, self._tenant_id, texts, now_ms())
        document = self._outbox.append(to_document(application), self._broadcast(application))
        try:
            await self._store.insert(APPLICATIONS, document)
        except DuplicateKey as exc:
            if not await self._store_in_place_of_deleted(document):
                raise Conflict("an application with this name exists") from exc
        await self._outbox.publish(document)
        return application

    async def list_all(self) -> list[Application]:
        """All of them, the oldest first."""
        applications: list[Application] = []
        last: Document | None = None
        while page := await self._store.page(
            APPLICATIONS, BY_CREATION, equals=(self._tenant_id,), after=last, limit=MAX_PAGE
        ):
            applications += map(from_document, page)
            last = page[-1]
        return applications

    async def get(self, name: str) -> Application:
        """Raises NotFound."""
        return from_document(await self._read(name))

    async def find_version(self, app_version_name: str) -> tuple[Application, ApplicationVersion]:
        """An application version by its own name alone. Raises NotFound."""
        application = await self.get(application_of(app_version_name))
        return application, application.version(app_version_name)

    async def describe(self, name: str, texts: Texts, check: Check) -> Application:
        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            described = application.described(texts, now)
            return described, [self._broadcast(described)]

        return await self._change(name, check, change)

    async def delete(self, name: str, check: Check) -> None:
        """Raises NotFound, Conflict while it has versions."""

        def change(before: Document, _: int) -> tuple[Document, list[Entry]]:
            application = from_document(before)
            if application.versions:
                raise Conflict("the application has versions, delete them first")
            after = tombstone(before)
            return after, [self._broadcast(replace(application, revision=after["revision"]), kind="delete")]

        await self._change_document(name, check, change)

    async def delete_version(self, name: str, app_version_name: str, check: Check) -> None:
        """Raises NotFound. Endpoints of the version stay registered; their devices are refused from now on."""

        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            reduced = application.without_version(app_version_name, now)
            return reduced, [self._broadcast(reduced, app_version_name, kind="delete")]

        await self._change(name, check, change)

    async def create_version(self, name: str, suffix: str, texts: Texts) -> tuple[Application, ApplicationVersion]:
        """Raises NotFound, Conflict when the name is taken."""

        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            extended = application.with_new_version(new_name, texts, now)
            return extended, [self._broadcast(extended, new_name)]

        new_name = version_name(name, suffix)
        extended = await self._change(name, lambda _: None, change)
        return extended, extended.version(new_name)

    async def describe_version(self, name: str, app_version_name: str, texts: Texts, check: Check) -> Application:
        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            described = application.with_version(application.version(app_version_name).described(texts, now), now)
            return described, [self._broadcast(described, app_version_name)]

        return await self._change(name, check, change)

    async def configure(
        self, name: str, app_version_name: str | None, configurations: Mapping[str, Configuration | None], check: Check
    ) -> Application:
        """Put these configurations in the place of the former ones of the same service instances.

        They are of a version, or, without one, of the application itself.
        """

        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            configured = application.configured(app_version_name, configurations, now)
            return configured, self._targeted(configured, app_version_name, configurations)

        return await self._change(name, check, change)

    async def merge_configuration(
        self, name: str, app_version_name: str | None, service_instance: str, patch: Any, check: Check
    ) -> Application:
        """Apply a JSON merge patch to the configuration for one service instance, of a version or the application."""

        def change(application: Application, now: int) -> tuple[Application, list[Entry]]:
            former = application.configurations_of(app_version_name).get(service_instance)
            configurations = checked({service_instance: merged(former, patch)})
            configured = application.configured(app_version_name, configurations, now)
            return configured, self._targeted(configured, app_version_name, configurations)

        return await self._change(name, check, change)

    async def _change(self, name: str, check: Check, change: Change) -> Application:
        def change_document(before: Document, now: int) -> tuple[Document, list[Entry]]:
            application, events = change(from_document(before), now)
            return {**before, **_bounded(to_document(application))}, events

        return from_document(await self._change_document(name, check, change_document))

    async def _change_document(self, name: str, check: Check, change: ChangeDocument) -> Document:
        try:
            async with asyncio.timeout(CHANGE_DEADLINE):
                while True:
                    before = await self._read(name)
                    check(before["revision"])
                    after, events = change(before, now_ms())
                    document = self._outbox.append(after, *events)
                    if await self._store.replace(APPLICATIONS, document, before["revision"]):
                        break
        except TimeoutError as exc:
            raise Unavailable("too many changes of this application at the same time") from exc
        await self._outbox.publish(document)
        return document

    async def _store_in_place_of_deleted(self, document: Document) -> bool:
        """Whether the name was free but for a deleted application whose events are still on their way."""
        taken = (await self._store.get(APPLICATIONS, [document["_id"]])).get(document["_id"])
        if taken is None or not taken.get("deleted"):
            return False
        document["outbox"] = [*taken.get("outbox", ()), *document["outbox"]]
        document["revision"] = taken["revision"] + 1
        return await self._store.replace(APPLICATIONS, document, taken["revision"])

    async def _read(self, name: str) -> Document:
        document = (await self._store.get(APPLICATIONS, [name])).get(name)
        if document is None or document.get("tenantId") != self._tenant_id:
            raise NotFound("no application with this name")
        return document

    def _broadcast(
        self,
        application: Application,
        app_version_name: str | None = None,
        *,
        kind: Literal["upsert", "delete"] = "upsert",
    ) -> Entry:
        event = BroadcastConfigurationUpdateEvent(
            **event_header(),
            originator_replica_id=self._replica_id,
            tenant_id=application.tenant_id,
            app_name=application.name,
            app_ver_name=app_version_name,
        )
        message_id = f"{application.name}:{application.revision}:{kind}"
        announced = CONFIGURATION_UPSERTED if kind == "upsert" else CONFIGURATION_DELETED
        return entry(announced.subject(self._instance), event, message_id)

    def _targeted(
        self, application: Application, app_version_name: str | None, instances: Iterable[str]
    ) -> list[Entry]:
        event = ServiceSpecificConfigurationUpdateEvent(
            **event_header(),
            tenant_id=application.tenant_id,
            app_name=application.name,
            app_ver_name=app_version_name,
        )
        return [
            entry(
                service_subject(instance, "scmp", "configuration.upsert"),
                event,
                f"{application.name}:{application.revision}:upsert:{instance}",
            )
            for instance in instances
        ]


def _bounded(document: Document) -> Document:
    if len(jsontext.dump(document)) > MAX_APPLICATION_BYTES:
        raise PayloadTooLarge(f"an application holds at most {MAX_APPLICATION_BYTES} bytes of configuration")
    return document
