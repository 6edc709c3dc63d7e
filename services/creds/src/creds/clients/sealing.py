"""Private keys of authorities as they are kept: encrypted under the server's secrets with AES-256-GCM (ADR 0011).

The id of the secret stands before the encrypted text, so that the secret can be changed as that of token hashes; what
the key belongs to is authenticated with it, so that one cannot be put in the place of another.
"""

import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_LENGTH = 12
"""Bytes, random: far fewer than 2^32 keys are ever encrypted under one secret (NIST SP 800-38D section 8.3)."""


class SealBroken(Exception):
    """The text was not encrypted under any of the secrets, or for something else."""


class Seal:
    """The secrets, 256 bits each, the current one first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(self._ciphers))

    def close(self, content: bytes, owner: str) -> str:
        """The content, readable by nobody else."""
        nonce = secrets.token_bytes(NONCE_LENGTH)
        encrypted = self._ciphers[self._current].encrypt(nonce, content, owner.encode())
        return f"{self._current}:{b64encode(nonce + encrypted).decode()}"

    def open(self, sealed: str, owner: str) -> bytes:
        """The content. Raises SealBroken."""
        key_id, _, text = sealed.partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(f"it is encrypted under the secret {key_id}, which is not there")
        content = b64decode(text)
        try:
            return cipher.decrypt(content[:NONCE_LENGTH], content[NONCE_LENGTH:], owner.encode())
        except InvalidTag:
            raise SealBroken(f"the secret {key_id} is another one, or the text was changed") from None

    def is_current(self, sealed: str) -> bool:
        """Whether it was encrypted under the current secret."""
        return sealed.startswith(f"{self._current}:")
