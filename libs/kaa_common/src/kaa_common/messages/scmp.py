"""17/SCMP, Service Configuration Management Protocol: something changed, fetch it again. Never acknowledged.

`tenant_id`, `app_name` and `app_ver_name` narrow down what changed; None means all below the level before.
"""

from kaa_common.avro import record, wire_name
from kaa_common.messages.declared import Event

_NAMESPACE = "org.kaaproject.scmp.event.gen.v1.service.configuration"


@record(_NAMESPACE)
class BroadcastConfigurationUpdateEvent:
    """A change that concerns every service."""

    correlation_id: str
    timestamp: int
    originator_replica_id: str
    tenant_id: None | str = wire_name("tenantID", default=None)
    app_name: None | str = None
    app_ver_name: None | str = None


@record(_NAMESPACE)
class ServiceSpecificConfigurationUpdateEvent:
    """A change that concerns one service instance, sent to `kaa.v1.service.<instance>.scmp.configuration.<kind>`."""

    correlation_id: str
    timestamp: int
    tenant_id: str = wire_name("tenantID")
    app_name: None | str = None
    app_ver_name: None | str = None


CONFIGURATION_UPSERTED = Event(
    path=("service", "configuration", "upsert"), record=BroadcastConfigurationUpdateEvent, owner="tekton"
)
CONFIGURATION_DELETED = Event(
    path=("service", "configuration", "delete"), record=BroadcastConfigurationUpdateEvent, owner="tekton"
)

SPECIFIC_UPDATES = ("configuration.upsert", "configuration.delete")
"""Message types of the updates sent to one service instance; all its replicas listen."""
