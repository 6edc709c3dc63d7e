"""The events of a change, told from what an endpoint was and what it is now (9/ELCE, 15/EME, 18/EFE)."""

from collections.abc import Iterator
from typing import Any

from epr.filters.filter_set import FilterSet
from epr.model import Endpoint, MetadataChanges, State
from kaa_common.messages.declared import Event
from kaa_common.messages.efe import (
    ENDPOINT_MATCHED,
    ENDPOINT_UNMATCHED,
    EndpointMatchedFilterEvent,
    EndpointUnmatchedFilterEvent,
)
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

NamedEvent = tuple[Event[Any], Any, tuple[str, ...]]
"""An event, its record, which is of the class the event names, and the names in its subject."""


def events_of(
    before: Endpoint, after: Endpoint, changes: MetadataChanges, filter_set: FilterSet, replica_id: str
) -> Iterator[NamedEvent]:
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
                (),
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
                (),
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
            (),
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
            (),
        )
    if before.filters is after.filters:
        return
    changed_filters = (
        (ENDPOINT_UNMATCHED, EndpointUnmatchedFilterEvent, before.filters, set(after.filters)),
        (ENDPOINT_MATCHED, EndpointMatchedFilterEvent, after.filters, set(before.filters)),
    )
    for event, record, filter_ids, others in changed_filters:
        for filter_id in filter_ids:
            # 18/EFE has no event for an endpoint whose filter is deleted: that of the filter says it for all.
            if filter_id not in others and (filter_ := filter_set.seen(filter_id)) is not None:
                yield (
                    event,
                    record(
                        **header,
                        originator_replica_id=replica_id,
                        filter_id=filter_id,
                        application_name=after.application,
                        app_version_name=after.app_version,
                        filter_name=filter_.name,
                        endpoint_id=after.id,
                    ),
                    (filter_id,),
                )
