"""What can be done with basic credentials: creating them, and finding out whether a password is that of a username.

Guessing is slow: each failed attempt is taken from a budget of the username and from one of the tenant, and when one of
them is empty nothing is checked any more. Tenants without credentials have one budget together, as a guesser may make
up any number of them. An unknown username takes the same steps as a known one with a wrong password, has the same
answer, and so costs the same time.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from creds.clients.documents import BY_USERNAME
from creds.clients.lifecycle import Lifecycle
from creds.clients.model import (
    GENERATED_PASSWORD_LENGTH,
    BasicCredentials,
    check_password,
    check_username,
    checked_tenant_id,
)
from creds.clients.names import generate_name
from creds.clients.passwords import Passwords
from creds.model import generate_value
from kaa_common.budget import Budget
from kaa_common.clock import now_ms
from kaa_common.errors import Conflict, NotFound, TooManyRequests

NAME_ATTEMPTS: Final = 5
"""Two words that are taken are drawn again so often; then a number follows them."""
USERNAME_BURST: Final = 10
USERNAME_FAILURES: Final = 0.1
"""Per second: 8,640 guesses a day at one password."""
TENANT_BURST: Final = 1_000
TENANT_FAILURES: Final = 10.0
"""Per second. Far above what misconfigured devices need, far below what searching for usernames takes."""
NO_TENANT: Final = ""
"""Stands for all tenants without credentials."""
MAX_USERNAMES: Final = 100_000
MAX_TENANTS: Final = 10_000
"""Budgets kept by a replica: together some 20 MB when every one was touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    credentials: BasicCredentials
    password: str = field(repr=False)


class BasicClients:
    """The basic credentials of the platform."""

    def __init__(self, lifecycle: Lifecycle[BasicCredentials], passwords: Passwords) -> None:
        self.lifecycle = lifecycle
        self._passwords = passwords
        self._of_username = Budget(burst=USERNAME_BURST, per_second=USERNAME_FAILURES, max_names=MAX_USERNAMES)
        self._of_tenant = Budget(burst=TENANT_BURST, per_second=TENANT_FAILURES, max_names=MAX_TENANTS)
        self._checks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def create(self, tenant_id: str, username: str | None, password: str | None) -> Created:
        """Credentials with this username and password, or generated ones.

        Raises BadRequest for malformed ones, Conflict when the username is taken.
        """
        if username is not None:
            check_username(username)
        if password is None:
            password = generate_value(GENERATED_PASSWORD_LENGTH, secrets.choice)
        else:
            check_password(password)
        kept_hash = await self._passwords.hash(password)
        for candidate in _generated_names() if username is None else (username,):
            now = now_ms()
            credentials = BasicCredentials(
                id=str(uuid.uuid4()), tenant_id=tenant_id, created_ms=now, updated_ms=now, username=candidate
            )
            if await self.lifecycle.insert(credentials, passwordHash=kept_hash):
                return Created(credentials=credentials, password=password)
        raise Conflict("username: it is taken")

    async def authenticate(self, tenant_id: str, username: str, password: str) -> BasicCredentials:
        """The credentials with this username and password, Active from their first use on.

        Raises BadRequest for malformed ones, NotFound when there are none, Forbidden when they are suspended or
        revoked, TooManyRequests after too many failed attempts, Unavailable when too many are being checked.
        """
        checked_tenant_id(tenant_id)
        check_username(username)
        check_password(password)
        found = await self.lifecycle.find(BY_USERNAME, tenant_id, username)
        kept_hash = None if found is None else found["passwordHash"]
        fingerprint = self._passwords.fingerprint(kept_hash, tenant_id, username, password)
        # Who offers the same at the same time, as a fleet that shares a username, waits for one check.
        async with self._checks.setdefault(fingerprint, asyncio.Lock()):
            if not self._passwords.is_remembered(fingerprint):
                has_credentials = bool(await self.lifecycle.page(tenant_id, offset=0, limit=1))
                with self._attempt(tenant_id if has_credentials else NO_TENANT, f"{tenant_id} {username}"):
                    matches = await self._passwords.matches(kept_hash, password, fingerprint)
                    if found is None or not matches:
                        raise NotFound("unknown username or wrong password")
        assert found is not None, "a password of nobody was found right"
        # The state is read after the check, which took its time: what was suspended meanwhile is suspended.
        return await self.lifecycle.use(tenant_id, found["_id"])

    @contextmanager
    def _attempt(self, tenant: str, username: str) -> Iterator[None]:
        """An attempt that costs of both budgets when it ends with NotFound. Raises TooManyRequests."""
        now = time.monotonic()
        if not self._of_tenant.take(tenant, now):
            raise TooManyRequests("too many failed attempts of the tenant's clients; try again later")
        if not self._of_username.take(username, now):
            self._of_tenant.give_back(tenant, now)
            raise TooManyRequests("too many failed attempts with this username; try again later")
        has_failed = False
        try:
            yield
        except NotFound:
            has_failed = True
            raise
        finally:
            if not has_failed:
                now = time.monotonic()
                self._of_tenant.give_back(tenant, now)
                self._of_username.give_back(username, now)


def _generated_names() -> Iterator[str]:
    for _ in range(NAME_ATTEMPTS):
        yield generate_name(secrets.choice)
    yield f"{generate_name(secrets.choice)}-{secrets.randbelow(1_000_000):06}"
