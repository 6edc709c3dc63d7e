"""The service's own settings, read with the prefix `CREDS_`."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from creds.hashing import TokenKeys
from kaa_common.settings import Settings


class CredsSettings(Settings):
    token_keys: SecretStr
    """`<key id>:<secret>`, several separated by commas: the current one first, then those of older tokens."""
    token_length: int = Field(10, ge=8, le=128)
    """Characters of a generated token."""
    password_concurrency: int = Field(4, ge=1, le=64)
    """Passwords checked at the same time, each with 19 MiB of memory."""
    password_queue: int = Field(128, ge=0, le=10_000)
    """Passwords that may wait to be checked; more are refused."""
    ca_certificate_file: Path | None = None
    """PEM certificate of a certificate authority made elsewhere; without it one is made on the first start."""
    ca_key_file: Path | None = None
    """Its private key (PEM, unencrypted)."""

    @field_validator("token_keys")
    @classmethod
    def _check_token_keys(cls, value: SecretStr) -> SecretStr:
        TokenKeys.parse(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_ca(self) -> Self:
        if (self.ca_certificate_file is None) != (self.ca_key_file is None):
            raise ValueError("CREDS_CA_CERTIFICATE_FILE and CREDS_CA_KEY_FILE: set both or none")
        return self

    def keys(self) -> TokenKeys:
        return TokenKeys.parse(self.token_keys.get_secret_value())
