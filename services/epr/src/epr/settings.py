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
