"""Settings: a frozen pydantic model read from environment variables, every problem reported at once.

A field `mqtt_port` of a model read with the prefix `KPC_` is the variable `KPC_MQTT_PORT`; a field with a
`validation_alias` is the variable of that name. Secrets are `SecretStr`, so no log or traceback shows them.
"""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from kaa_common.errors import StartError
from kaa_common.log import Format

Environ = Mapping[str, str]


class SettingsError(StartError):
    """One or more settings cannot be used; the message has one line for each."""


class Settings(BaseModel):
    """Base of a service's settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlatformSettings(Settings):
    """What every service needs; each variable is the same for all."""

    nats_url: SecretStr = Field(SecretStr("nats://127.0.0.1:4222"), validation_alias="NATS_URL")
    """Comma-separated; user and password may be part of it."""
    mongodb_uri: SecretStr | None = Field(None, validation_alias="MONGODB_URI")
    """MongoDB to keep documents in; without it they are kept in SQLite files in `data_dir`."""
    mongodb_database: str = Field("kaa", validation_alias="MONGODB_DATABASE")
    data_dir: Path = Field(Path(".kaa/data"), validation_alias="KAA_DATA_DIR")
    http_host: str = Field("127.0.0.1", validation_alias="KAA_HTTP_HOST")
    http_port: int = Field(8080, ge=0, le=65535, validation_alias="KAA_HTTP_PORT")
    trusted_proxies: str = Field("", validation_alias="KAA_TRUSTED_PROXIES")
    """Addresses and networks, comma-separated, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    api_key_hashes: str = Field("", pattern="^[0-9A-Fa-f, ]*$", validation_alias="KAA_API_KEY_HASHES")
    """SHA-256 hashes (hex, comma-separated) of the API keys that may use the REST interfaces."""
    oidc_issuer: str | None = Field(None, pattern="^https?://", validation_alias="KAA_OIDC_ISSUER")
    """OpenID Connect issuer whose bearer tokens may use the REST interfaces, as their claim `iss` names it."""
    oidc_audience: str | None = Field(None, validation_alias="KAA_OIDC_AUDIENCE")
    """What the claim `aud` of these tokens must name."""
    oidc_jwks_url: str | None = Field(None, pattern="^https?://", validation_alias="KAA_OIDC_JWKS_URL")
    """Where the issuer's keys are; without it, its discovery document is asked."""
    tenant_id: str = Field("default", pattern=r"^[A-Za-z0-9_-]{1,64}$", validation_alias="KAA_TENANT_ID")
    """The tenant that whatever is created belongs to."""
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", validation_alias="KAA_LOG_LEVEL")
    log_format: Format = Field("text", validation_alias="KAA_LOG_FORMAT")
    shutdown_timeout: float = Field(30.0, gt=0, le=300, validation_alias="KAA_SHUTDOWN_TIMEOUT")
    """Seconds that work in progress gets to finish when the process is stopped."""
    kpc_instance: str = Field("kpc", validation_alias="KPC_INSTANCE")
    epr_instance: str = Field("epr", validation_alias="EPR_INSTANCE")
    epmx_instance: str = Field("epmx", validation_alias="EPMX_INSTANCE")
    cm_instance: str = Field("cm", validation_alias="CM_INSTANCE")
    ccm_instance: str = Field("ccm", validation_alias="CCM_INSTANCE")
    tekton_instance: str = Field("tekton", validation_alias="TEKTON_INSTANCE")

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        networks = [part.strip() for part in value.split(",") if part.strip()]
        for network in networks:
            ip_network(network)  # a ValueError that names it
        return ",".join(networks)

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("KAA_OIDC_ISSUER and KAA_OIDC_AUDIENCE: set both or none")
        if self.oidc_issuer is None and self.oidc_jwks_url is not None:
            raise ValueError("KAA_OIDC_JWKS_URL: set KAA_OIDC_ISSUER too")
        return self


SettingsType = TypeVar("SettingsType", bound=Settings)


def load(model: type[SettingsType], environ: Environ, prefix: str = "") -> SettingsType:
    """The settings that the environment holds. Raises SettingsError naming every variable that cannot be used."""
    variables = {name: _variable(model, name, prefix) for name in model.model_fields}
    values = {
        model.model_fields[name].validation_alias or name: environ[variable]
        for name, variable in variables.items()
        if environ.get(variable)
    }
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        problems = [": ".join((*_named(model, error["loc"], prefix), error["msg"])) for error in exc.errors()]
        raise SettingsError("\n".join(problems)) from None


def _variable(model: type[Settings], name: str, prefix: str) -> str:
    alias = model.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else prefix + name.upper()


def _named(model: type[Settings], location: tuple[int | str, ...], prefix: str) -> list[str]:
    """The variable that a problem is about; none when it is about several together."""
    names = {str(model.model_fields[name].validation_alias or name): name for name in model.model_fields}
    return [_variable(model, names[str(part)], prefix) for part in location[:1]]
