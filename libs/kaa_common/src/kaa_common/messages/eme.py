"""15/EME, Endpoint Metadata Events. Values are JSON text; None stands for the JSON null."""

from collections.abc import Mapping

from kaa_common.avro import record
from kaa_common.messages.declared import Event

_NAMESPACE = "org.kaaproject.ipc.event.gen.v1.endpoint.metadata"


@record(_NAMESPACE)
class MetadataKeyUpdatedDto:
    new_value: None | str
    old_value: None | str


@record(_NAMESPACE)
class MetadataUpdatedEvent:
    correlation_id: str
    timestamp: int
    timeout: int = 0
    app_version_name: str
    endpoint_id: str
    removed: Mapping[str, None | str]
    """Key to the value it had."""
    added: Mapping[str, None | str]
    updated: Mapping[str, MetadataKeyUpdatedDto]
    originator_replica_id: str


METADATA_UPDATED = Event(path=("endpoint", "metadata", "updated"), record=MetadataUpdatedEvent, owner="epr")

EVENTS = (METADATA_UPDATED,)
