"""The service's own settings, read with the prefix `CREDS_`."""

from pydantic import Field, SecretStr, field_validator

from creds.hashing import TokenKeys
from kaa_common.settings import Settings


class CredsSettings(Settings):
    token_keys: SecretStr
    """`<key id>:<secret>`, several separated by commas: the current one first, then those of older tokens."""
    token_length: int = Field(10, ge=8, le=128)
    """Characters of a generated token."""

    @field_validator("token_keys")
    @classmethod
    def _check_token_keys(cls, value: SecretStr) -> SecretStr:
        TokenKeys.parse(value.get_secret_value())
        return value

    def keys(self) -> TokenKeys:
        return TokenKeys.parse(self.token_keys.get_secret_value())
