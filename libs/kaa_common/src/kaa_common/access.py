"""Who may use the REST interfaces: whoever shows an API key whose hash is configured, or a bearer token.

An API key has every scope, a bearer token (RFC 6750) those that its issuer gave it. A request with both is judged by
its API key alone.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Protocol

from kaa_common.errors import Unauthorized

API_KEY_HEADERS = ("x-api-key", "x-iamcore-api-key")


class InvalidToken(Unauthorized):
    """A bearer token was shown, and cannot be accepted."""


class BearerTokens(Protocol):
    """Knows what bearer tokens are worth."""

    async def scopes_of(self, token: str) -> frozenset[str]:
        """The scopes of a valid token. Raises InvalidToken and Unavailable."""
        ...


def hash_api_key(api_key: str) -> str:
    """What is kept of an API key. The keys are random and long, so a plain SHA-256 is as good as a slow hash."""
    return hashlib.sha256(api_key.encode()).hexdigest()


class Access:
    """The API keys that are accepted, as hashes, and the bearer tokens, when an issuer is configured."""

    def __init__(self, api_key_hashes: str, bearer_tokens: BearerTokens | None = None) -> None:
        self._hashes = [known.strip().lower().encode() for known in api_key_hashes.split(",") if known.strip()]
        self._bearer_tokens = bearer_tokens

    async def allows(self, headers: Mapping[str, str], scope: str) -> bool:
        """Whether a request with these headers has the scope. Raises Unauthorized and Unavailable."""
        api_key = next((headers[name] for name in API_KEY_HEADERS if name in headers), None)
        if api_key is not None:
            self._check_api_key(api_key)
            return True
        # RFC 9110 section 11.1: the name of the scheme is case-insensitive.
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("an API key in the X-API-Key header is required, or a bearer token")
        if self._bearer_tokens is None:
            raise InvalidToken("bearer tokens are not accepted, as no OIDC issuer is configured: send an API key")
        return scope in await self._bearer_tokens.scopes_of(token.strip())

    def _check_api_key(self, api_key: str) -> None:
        offered = hash_api_key(api_key).encode()
        if not any(hmac.compare_digest(offered, known) for known in self._hashes):
            raise Unauthorized("the API key is not valid")
