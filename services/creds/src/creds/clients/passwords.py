"""Passwords are kept as argon2id hashes (ADR 0011), computed off the event loop.

Checking one is slow on purpose, and takes as long for a user who does not exist. A password that was found right is
remembered for a while, as a keyed hash together with the argon2id hash that it matched, so that a fleet sharing one
username can come back at once. That spares the computation and nothing else: the credentials' state is read each time,
and a changed password has another hash.
"""

import hmac
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from cachetools import TTLCache

from creds.clients.workers import Workers

TIME_COST: Final = 2
MEMORY_COST: Final = 19_456
PARALLELISM: Final = 1
"""19 MiB and two passes: the least that OWASP's password storage guide recommends for argon2id."""
REMEMBERED_FOR: Final = 600.0
"""Seconds."""
MAX_REMEMBERED: Final = 10_000


class Passwords:
    """`start` before use."""

    def __init__(self, hasher: PasswordHasher, workers: Workers) -> None:
        self._hasher = hasher
        self._workers = workers
        self._key = secrets.token_bytes(32)
        self._right: TTLCache[bytes, bool] = TTLCache(MAX_REMEMBERED, REMEMBERED_FOR)
        self._hash_of_nobody = ""

    async def start(self) -> None:
        self._hash_of_nobody = await self.hash(secrets.token_hex())

    async def hash(self, password: str) -> str:
        """What to keep of a password. Raises Unavailable when too many are being computed."""
        return await self._workers.run(self._hasher.hash, password)

    def fingerprint(self, kept_hash: str | None, *parts: str) -> bytes:
        """Stands for what was kept and what was offered; outside of this process it means nothing."""
        return hmac.digest(self._key, "\0".join((kept_hash or "", *parts)).encode(), "sha256")

    def is_remembered(self, fingerprint: bytes) -> bool:
        """Whether this was found right a short time ago."""
        return fingerprint in self._right

    async def matches(self, kept_hash: str | None, password: str, fingerprint: bytes) -> bool:
        """Whether it is the password of that hash; none is that of nobody, which takes as long to find out.

        Raises Unavailable when too many are being checked.
        """
        matches = await self._workers.run(self._matches, kept_hash or self._hash_of_nobody, password)
        if matches:
            self._right[fingerprint] = True
        return matches

    def _matches(self, kept_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept_hash, password)
        except VerifyMismatchError:
            return False
