"""Settings of the communication service: variables with the prefix KPC_."""

from pydantic import Field

from kaa_common.settings import Settings


class KpcSettings(Settings):
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = Field(1883, ge=0, le=65535)
    extensions: str = Field("epmx", pattern=r"^[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*$")
    """Endpoint-aware extension instances that devices may address, comma-separated."""
    max_payload: int = Field(256 * 1024, gt=0, le=512 * 1024)
    """Bytes; a longer payload is answered with 413. The message that carries it must fit into NATS's 1 MiB."""
    request_timeout: float = Field(4.0, gt=0, le=60)
    """Seconds until a device is told that nobody answered: Kaa's own clients give up after 5."""
