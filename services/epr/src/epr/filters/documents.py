"""How filters are kept, and the events of a filter itself (18/EFE).

A filter is a document. One more for each application holds the generation of its filters and the pass that matches
endpoints against those that are not active (`activation.py`).
"""

from epr.filters.model import Filter
from kaa_common.messages.declared import Event
from kaa_common.messages.efe import (
    EndpointFilterActivatedEvent,
    EndpointFilterDeletedEvent,
    EndpointFilterPendingEvent,
)
from kaa_common.outbox import PENDING, Entry, entry
from kaa_common.rpc import event_header
from kaa_common.store import Collection, Index

BY_APPLICATION = Index("by_application", ("tenant", "application", "is_listed", "created_at"))
BY_NAME = Index("by_name", ("tenant", "application", "unique_name"), unique=True)
AWAITING_PASS = Index("awaiting_pass", ("awaits_pass", "tenant", "application"))
FILTERS = Collection("filters", (BY_APPLICATION, BY_NAME, AWAITING_PASS, PENDING))

FILTER_SETS = Collection("filter_sets")

AnyFilterEvent = (
    Event[EndpointFilterActivatedEvent] | Event[EndpointFilterDeletedEvent] | Event[EndpointFilterPendingEvent]
)


def set_id(tenant: str, application: str) -> str:
    return f"{tenant}/{application}"


def filter_entry(event: AnyFilterEvent, changed: Filter, instance: str, replica_id: str) -> Entry:
    """The event of a changed filter, for its outbox."""
    record = event.record(
        **event_header(),
        originator_replica_id=replica_id,
        filter_id=changed.id,
        application_name=changed.application,
        filter_name=changed.name,
    )
    return entry(event.subject(instance, changed.id), record, f"{changed.id}:{changed.revision}:{event.path[-1]}")
