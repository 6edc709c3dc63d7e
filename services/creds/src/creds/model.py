"""Endpoint tokens: what a value may look like, the statuses, and which may follow which [pure].

A token identifies an endpoint within an application. Its value is known to whoever asked for it and to nobody else.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from kaa_common.errors import BadRequest, Conflict

ALPHABET: Final = string.ascii_letters + string.digits
"""Of generated values: 62 characters, so ten of them hold 59 bits."""
# The separators of topics and their wildcards would make another topic of it, control characters no topic at all.
_VALUE = re.compile(r"[^+#/.\x00-\x1f\x7f-\x9f]{1,128}")
_APPLICATION_NAME = re.compile(r"[a-z0-9_-]{1,64}")
ENDPOINT_ID: Final = r"^[a-zA-Z0-9._~-]{1,128}$"


class TokenStatus(StrEnum):
    """Whether a token, or client credentials, may be used."""

    INACTIVE = "Inactive"
    """Never used yet."""
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    """Refused until it is activated again."""
    REVOKED = "Revoked"
    """Refused for ever."""


TRANSITIONS: Final = {
    TokenStatus.INACTIVE: {TokenStatus.ACTIVE, TokenStatus.SUSPENDED, TokenStatus.REVOKED},
    TokenStatus.ACTIVE: {TokenStatus.SUSPENDED, TokenStatus.REVOKED},
    TokenStatus.SUSPENDED: {TokenStatus.ACTIVE, TokenStatus.REVOKED},
    TokenStatus.REVOKED: set[TokenStatus](),
}
REFUSED: Final = {TokenStatus.SUSPENDED, TokenStatus.REVOKED}
"""Whoever uses such a token is turned away; entering one of these ends the use at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    id: str
    revision: int = 1
    tenant_id: str
    app_name: str
    endpoint_id: str
    status: TokenStatus = TokenStatus.INACTIVE
    created_ms: int
    updated_ms: int | None = None

    def moved(self, target: TokenStatus, now_ms: int) -> "Token":
        """The token in another status. Raises Conflict when that cannot follow."""
        if target not in TRANSITIONS[self.status]:
            raise Conflict(f"a token cannot go from {self.status} to {target}")
        return replace(self, status=target, updated_ms=now_ms, revision=self.revision + 1)


def new_token(token_id: str, tenant_id: str, app_name: str, endpoint_id: str, now_ms: int) -> Token:
    """Raises BadRequest when one of the names cannot be one."""
    if _APPLICATION_NAME.fullmatch(app_name) is None:
        raise BadRequest("appName: 1 to 64 lower case letters, digits, _ and -")
    if re.fullmatch(ENDPOINT_ID, endpoint_id) is None:
        raise BadRequest("endpointId: 1 to 128 letters, digits and . _ ~ -")
    return Token(id=token_id, tenant_id=tenant_id, app_name=app_name, endpoint_id=endpoint_id, created_ms=now_ms)


def check_value(value: str) -> None:
    """Raises BadRequest, without the value in it, when it cannot be a token."""
    if _VALUE.fullmatch(value) is None:
        raise BadRequest("token: 1 to 128 characters other than + # / . and control characters")


def generate_value(length: int, choose: Callable[[str], str]) -> str:
    """A value of characters chosen from ALPHABET by `choose`."""
    return "".join(choose(ALPHABET) for _ in range(length))


def status_named(name: str) -> TokenStatus:
    """The target of a transition. Raises BadRequest when there is no such status."""
    try:
        return TokenStatus(name)
    except ValueError:
        raise BadRequest(f"targetStatus: one of {', '.join(TokenStatus)}") from None
