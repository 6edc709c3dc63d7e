"""Settings of the register: variables with the prefix EPR_."""

from pydantic import Field

from kaa_common.settings import Settings


class EprSettings(Settings):
    request_timeout: float = Field(10.0, gt=0, le=60)
    """Seconds until a REST request is given up."""
    token_timeout: float = Field(4.0, gt=0, le=15)
    """Seconds the credentials service has to provision or discard a token; a reservation lasts for a minute."""
    events_max_age: float = Field(7 * 86400.0, ge=1, le=3650 * 86400)
    """Seconds that events are kept where NATS has JetStream."""
    events_max_bytes: int = Field(1024**3, ge=1024**2)
    """Bytes of events that are kept; beyond that the oldest go."""
    replica_lease: float = Field(15.0, ge=2, le=3600)
    """Seconds without a sign of life after which a communication replica's endpoints are disconnected."""
    epl_instance: str = Field("epl", validation_alias="EPL_INSTANCE")
    """Whose configuration of an application version names the metadata keys for the connectivity."""
