"""The events of a change, told from what an endpoint was and what it is now (9/ELCE, 15/EME)."""

from collections.abc import Iterator
from typing import Any

from epr.model import Endpoint, MetadataChanges, State
from kaa_common.messages.declared import Event
from kaa_common.messages.elce import (
    APP_VERSION_UPDATED,
    REGISTERED,
    UNREGISTERED,
    AppVersionUpdatedEvent,
    RegisteredEvent,
    UnregisteredEvent,
)
from kaa_common.messages.eme import METADATA_UPDATED, MetadataUpdatedEvent
from kaa_common.rpc import event_header

AnyEvent = tuple[Event[Any], Any]
"""An event and its record, which is of the class the event names."""


def events_of(before: Endpoint, after: Endpoint, changes: MetadataChanges, replica_id: str) -> Iterator[AnyEvent]:
    """In the order in which they are published; `changes` are those of the metadata."""
    header = event_header()
    if after.state is not before.state:
        if after.state is State.REGISTERED:
            yield (
                REGISTERED,
                RegisteredEvent(
                    **header,
                    app_version_name=after.app_version,
                    endpoint_id=after.id,
                    originator_replica_id=replica_id,
                ),
            )
        elif after.state is State.UNREGISTERED:
            yield (
                UNREGISTERED,
                UnregisteredEvent(
                    **header,
                    app_version_name=after.app_version,
                    endpoint_id=after.id,
                    originator_replica_id=replica_id,
                ),
            )
    if after.app_version != before.app_version:
        yield (
            APP_VERSION_UPDATED,
            AppVersionUpdatedEvent(
                **header,
                app_version_name=after.app_version,
                previous_app_version_name=before.app_version,
                endpoint_id=after.id,
                originator_replica_id=replica_id,
            ),
        )
    if changes:
        yield (
            METADATA_UPDATED,
            MetadataUpdatedEvent(
                **header,
                app_version_name=after.app_version,
                endpoint_id=after.id,
                removed=changes.removed,
                added=changes.added,
                updated=changes.updated,
                originator_replica_id=replica_id,
            ),
        )
