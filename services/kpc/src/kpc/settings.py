"""Settings of the communication service: variables with the prefix KPC_."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from kaa_common.settings import Settings
from kpc.extensions import PATTERN


class KpcSettings(Settings):
    mqtt_enabled: bool = True
    """Plain MQTT over TCP."""
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = Field(1883, ge=0, le=65535)
    tls_enabled: bool = False
    """MQTT over TLS."""
    tls_host: str = "127.0.0.1"
    tls_port: int = Field(8883, ge=0, le=65535)
    tls_certificate_file: Path | None = None
    """The server's certificate (PEM), with those of its authorities behind it."""
    tls_key_file: Path | None = None
    """Its private key (PEM, unencrypted)."""
    tls_client_ca_file: Path | None = None
    """Authorities (PEM) that may vouch for clients, besides those of the credentials service."""
    ws_enabled: bool = False
    """MQTT over WebSocket, at /ws of the HTTP port."""
    http_enabled: bool = True
    """1/KP over HTTP."""
    max_connections: int = Field(20_000, gt=0)
    """Of all MQTT transports. Each takes a file descriptor, of which a container commonly has 65,536 or fewer."""
    max_connections_per_address: int = Field(15_000, gt=0)
    """Whole sites come by one address, their router's or a proxy's; yet none takes the places of all others."""
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

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.tls_enabled and (self.tls_certificate_file is None or self.tls_key_file is None):
            raise ValueError("KPC_TLS_ENABLED: set KPC_TLS_CERTIFICATE_FILE and KPC_TLS_KEY_FILE too")
        return self
