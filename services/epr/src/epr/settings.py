"""Settings of the register: variables with the prefix EPR_."""

from pydantic import Field

from kaa_common.settings import Settings


class EprSettings(Settings):
    request_timeout: float = Field(10.0, gt=0, le=60)
    """Seconds until a REST request is given up."""
    token_timeout: float = Field(4.0, gt=0, le=15)
    """Seconds the credentials service has to provision or discard a token; a reservation lasts for a minute."""
