"""Client credentials: what their parts may look like, and the states they go through, which are those of tokens [pure].

Credentials belong to a tenant and say nothing about endpoints: whoever connects with them may speak for any endpoint of
the tenant whose token it knows.
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Self

from creds.model import REFUSED, TRANSITIONS, TokenStatus
from kaa_common.errors import BadRequest, Conflict, Forbidden

State = TokenStatus
"""The one table of statuses and transitions is that of tokens and of client credentials."""

USERNAME: Final = r"^[A-Za-z0-9._~-]{1,64}$"
"""Without the @ that separates it from the tenant on the wire."""
TENANT_ID: Final = r"^[A-Za-z0-9_-]{1,64}$"
MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128
GENERATED_PASSWORD_LENGTH: Final = 20
"""Characters of 62 each: 119 bits."""
COMMON_NAME: Final = r"^(?=.{1,64}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
"""As a host name, since it is the certificate's DNS name too; at most 64 characters (RFC 5280, ub-common-name)."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERIAL_NUMBER = re.compile(r"[0-9]{1,49}", re.ASCII)
"""RFC 5280 section 4.1.2.2: at most 20 octets, which are 49 decimal digits."""
_ISSUER = re.compile(r"\s*cn\s*=\s*(.{1,128}?)\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    id: str
    revision: int = 1
    tenant_id: str
    state: State = State.INACTIVE
    created_ms: int
    updated_ms: int

    def moved(self, target: State, now_ms: int) -> Self:
        """The credentials in another state. Raises Conflict when that cannot follow."""
        if target not in TRANSITIONS[self.state]:
            raise Conflict(f"credentials cannot go from {self.state} to {target}")
        return replace(self, state=target, updated_ms=now_ms, revision=self.revision + 1)

    def check_usable(self) -> None:
        """Raises Forbidden when they are suspended or revoked."""
        if self.state in REFUSED:
            raise Forbidden(f"the credentials are {self.state.lower()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicCredentials(Credentials):
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateCredentials(Credentials):
    common_name: str
    issuer: str
    """The common name of the authority that issued the certificate: the id of the tenant."""
    serial_number: str
    """Base 10."""
    valid_until_ms: int


def check_password(password: str) -> None:
    """Raises BadRequest, without the password in it, when it cannot be one."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH or _CONTROL.search(password):
        raise BadRequest(
            f"password: {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters other than control characters"
        )


def check_username(username: str) -> None:
    """Raises BadRequest when it cannot be one."""
    if re.fullmatch(USERNAME, username) is None:
        raise BadRequest("username: 1 to 64 letters, digits and . _ ~ -")


def split_username(username: str) -> tuple[str, str]:
    """Username and tenant id of the `<username>@<tenant id>` that a client sends. Raises BadRequest."""
    name, separator, tenant_id = username.rpartition("@")
    if not separator:
        raise BadRequest("username: <username>@<tenant id> is expected")
    return name, tenant_id


def checked_tenant_id(tenant_id: str) -> str:
    """Raises BadRequest when it cannot be one."""
    if re.fullmatch(TENANT_ID, tenant_id) is None:
        raise BadRequest("tenantId: 1 to 64 letters, digits, _ and -")
    return tenant_id


def checked_common_name(name: str) -> str:
    """Raises BadRequest when a certificate cannot be issued for it."""
    if re.fullmatch(COMMON_NAME, name) is None:
        raise BadRequest("commonName: 1 to 64 letters, digits, - and ., as in a host name")
    return name


def issuer_named(issuer: str) -> str:
    """The common name in the text of a distinguished name, `CN=<common name>`. Raises BadRequest."""
    named = _ISSUER.fullmatch(issuer)
    if named is None:
        raise BadRequest("issuer: CN=<common name> is expected")
    return named[1]


def serial_number_of(text: str) -> str:
    """A serial number in its one spelling. Raises BadRequest."""
    if _SERIAL_NUMBER.fullmatch(text) is None:
        raise BadRequest("serialNumber: a decimal number of at most 49 digits is expected")
    return text.lstrip("0") or "0"
