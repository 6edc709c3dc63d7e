"""What is kept of a token's value: an HMAC-SHA-256 under a secret of the server [pure].

A token is short enough to be guessed from a plain hash; without the server's secret the keyed one tells nothing. As it
is the same for the same value, a token is found by it. The application is part of what is hashed, so equal values in
two applications do not look alike. The id of the key stands before the hash, so that the secret can be changed: tokens
are found under each key, and hashed under the first, new ones at once, older ones when they are used.
"""

import hmac
import re
from dataclasses import dataclass, field
from typing import Self

MIN_SECRET_LENGTH = 16
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The server's keys, the current one first."""

    _secrets: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<key id>:<secret>`, several separated by commas. Raises ValueError, without a secret in it."""
        secrets: dict[str, bytes] = {}
        for pair in text.split(","):
            key_id, separator, secret = pair.strip().partition(":")
            if not separator or _KEY_ID.fullmatch(key_id) is None:
                raise ValueError("expected <key id>:<secret>, the id of letters, digits, _ and -")
            if len(secret) < MIN_SECRET_LENGTH:
                raise ValueError(f"the secret of key {key_id} has less than {MIN_SECRET_LENGTH} characters")
            if key_id in secrets:
                raise ValueError(f"two keys are called {key_id}")
            secrets[key_id] = secret.encode()
        return cls(secrets)

    @property
    def older_ids(self) -> list[str]:
        """Of the keys that only find what was hashed under them."""
        return list(self._secrets)[1:]

    def is_current(self, value_hash: str) -> bool:
        """Whether it was made under the current key."""
        return value_hash.startswith(f"{next(iter(self._secrets))}:")

    def derive(self, purpose: str) -> dict[str, bytes]:
        """A key of 256 bits for another purpose from each secret, by its id (HKDF with SHA-256, RFC 5869)."""
        extracted = {key_id: hmac.digest(bytes(32), secret, "sha256") for key_id, secret in self._secrets.items()}
        return {key_id: hmac.digest(key, purpose.encode() + b"\x01", "sha256") for key_id, key in extracted.items()}

    def hashes(self, app_name: str, value: str) -> list[str]:
        """The hash of a token's value under each key; it is kept under the first."""
        message = f"{app_name}\0{value}".encode()
        return [
            f"{key_id}:{hmac.new(secret, message, 'sha256').hexdigest()}" for key_id, secret in self._secrets.items()
        ]
