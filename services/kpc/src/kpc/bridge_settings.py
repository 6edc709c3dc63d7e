"""Settings of the bridge to an MQTT broker: variables with the prefix KPC_BRIDGE_."""

import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from kaa_common.settings import Settings

PORTS = {"mqtt": 1883, "mqtts": 8883}
"""Scheme of the URL to the port that is meant when it names none."""


class BridgeSettings(Settings):
    url: SecretStr | None = None
    """`mqtt://` or `mqtts://`, perhaps user and password, host, perhaps port; without it there is no bridge."""
    group: str = Field("kaa", pattern=r"^[^/+#]+$")
    """Group of the shared subscription; all replicas have the same."""
    client_id: str = Field(default_factory=lambda: f"kpc-{socket.gethostname()}", min_length=1)
    """A replica's own, and the same after a restart: what it had not acknowledged is kept under this name."""
    session_expiry: int = Field(3600, ge=0, lt=2**32 - 1)
    """Seconds that the broker keeps that for a replica that is gone."""
    max_in_flight: int = Field(200, gt=0, le=65_535)
    """Messages at once that are not acknowledged (QoS 1, 2), and as many that need not be (QoS 0)."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _split(value)
        return value


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is, and who we are there."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, url: SecretStr) -> "Broker":
        parts = _split(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )


def _split(url: SecretStr) -> SplitResult:
    """Raises ValueError, without the URL in it, as that has a password."""
    try:
        parts = urlsplit(url.get_secret_value())
        is_complete = parts.scheme in PORTS and parts.hostname and parts.path in ("", "/") and (parts.port or 1)
    except ValueError:
        is_complete = None
    if not is_complete:
        raise ValueError("must be mqtt://[user:password@]host[:port], or mqtts://")
    return parts
