"""Settings of the communication service: variables with the prefix KPC_."""

from pydantic import Field

from kaa_common.settings import Settings
from kpc.extensions import PATTERN


class KpcSettings(Settings):
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = Field(1883, ge=0, le=65535)
    extensions: str = Field("epmx,tsx:unaware", pattern=PATTERN)
    """Extension instances that devices may address, comma-separated: `:unaware` where no endpoint is named."""
    max_payload: int = Field(256 * 1024, gt=0, le=512 * 1024)
    """Bytes; a longer payload is answered with 413. The message that carries it must fit into NATS's 1 MiB."""
    request_timeout: float = Field(4.0, gt=0, le=60)
    """Seconds until a device is told that nobody answered: Kaa's own clients give up after 5."""
    connection_rate: float = Field(4000.0, gt=0)
    """Messages a second of one MQTT connection; more are answered with 429. Gateways have fewer."""
    endpoint_rate: float = Field(2000.0, gt=0)
    """Messages a second of one endpoint: more than one that waits for each answer can send."""
    http_concurrency: int = Field(512, gt=0)
    """Device requests over HTTP at once: with the longest payload each, 128 MiB."""
    strict_take_over: bool = False
    """Whether a client id that connects again always ends the older connection [MQTT-3.1.4-2], whoever holds it."""
    traffic_period: float = Field(60.0, gt=0, le=86_400)
    """Seconds between two reports of the endpoints' traffic."""
