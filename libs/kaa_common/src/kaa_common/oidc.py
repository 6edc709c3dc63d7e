"""Bearer tokens of an OpenID Connect issuer: JWTs (RFC 7519), checked against the keys it publishes (RFC 7517).

A token must be signed by one of them, be within its times, and name the configured issuer and audience. Keys are
fetched over HTTP, from the address that is configured or that the issuer's discovery document names: when the first
token comes, and again when they are a few minutes old or a token names an unknown one, but never more often than every
few seconds. While the issuer is away those that are known stay valid, up to an hour.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from kaa_common.access import InvalidToken
from kaa_common.errors import Unavailable
from kaa_common.settings import PlatformSettings

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256")
"""What issuers sign with by default. No symmetric one: those would take the public key for a shared secret."""
LEEWAY = 30
"""Seconds that the clocks of the issuer and of this machine may differ."""
MAX_TOKEN = 16 * 1024
"""Characters of a token: several times one with many roles."""
FETCH_TIMEOUT = 5.0
"""Seconds for all that is fetched at a time; somebody waits for it."""
FETCH_INTERVAL = 10.0
"""Seconds from one fetch to the next: tokens with invented key ids cannot make it more."""
REFRESH_AFTER = 300.0
"""Seconds until keys are fetched again: a key that the issuer withdrew is accepted no longer than that."""
MAX_AGE = 3600.0
"""Seconds that keys are trusted while the issuer cannot be asked."""
MAX_DOCUMENT = 256 * 1024
"""Bytes of a document of the issuer: hundreds of keys with their certificates."""

Keys = dict[str | None, jwt.PyJWK]
"""Keys by their id."""


def oidc_tokens(settings: PlatformSettings) -> "OidcTokens | None":
    """The tokens of the issuer that is configured, if one is."""
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    keys = IssuerKeys(settings.oidc_issuer, settings.oidc_jwks_url, time.monotonic)
    return OidcTokens(settings.oidc_issuer, settings.oidc_audience, keys)


class OidcTokens:
    """Tokens for one audience, of one issuer."""

    def __init__(self, issuer: str, audience: str, keys: "IssuerKeys") -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys

    async def scopes_of(self, token: str) -> frozenset[str]:
        """The scopes of a valid token. Raises InvalidToken and Unavailable."""
        if len(token) > MAX_TOKEN:
            raise InvalidToken(f"the bearer token is longer than {MAX_TOKEN} characters")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise InvalidToken(f"the bearer token is not signed with {' or '.join(ALGORITHMS)}")
            claims = jwt.decode(
                token,
                await self._keys.get(header.get("kid")),
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp"]},
            )
        except jwt.PyJWTError as exc:
            raise InvalidToken(f"the bearer token is not valid: {exc}") from exc
        return _scopes(claims)


class IssuerKeys:
    """The keys that an issuer signs with. `clock` tells seconds, from any origin."""

    def __init__(self, issuer: str, jwks_url: str | None, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = self._tried_at = -math.inf
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str | None) -> jwt.PyJWK:
        """The key of this id. Raises InvalidToken and Unavailable."""
        due = self._age() >= REFRESH_AFTER
        # Who has no key waits for one; whose key is to be fetched again waits only if he is the one who fetches.
        if self._find(key_id) is None or (due and not self._fetching.locked()):
            async with self._fetching:
                if self._find(key_id) is None or self._age() >= REFRESH_AFTER:
                    await self._refresh()
        key = self._find(key_id)
        if key is not None:
            return key
        if self._fetched_at < self._tried_at:
            raise Unavailable("the keys of the OIDC issuer cannot be fetched")
        raise InvalidToken("the bearer token is signed with a key that the issuer does not publish")

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _find(self, key_id: str | None) -> jwt.PyJWK | None:
        if self._age() >= MAX_AGE:
            return None
        if key_id is None and len(self._keys) == 1:
            # OpenID Connect Core section 10.1: the id may be left out when there is one key.
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        if self._clock() - self._tried_at < FETCH_INTERVAL:
            return
        self._tried_at = self._clock()
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                self._keys = await self._fetch()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as exc:
            logger.warning("cannot fetch the keys of the OIDC issuer: %s", exc or type(exc).__name__)
        else:
            self._fetched_at = self._tried_at

    async def _fetch(self) -> Keys:
        # Reading the certificates of authorities from the disk takes a while.
        trusted = await asyncio.to_thread(httpx.create_ssl_context)
        # Its own timeout would be for each piece of an answer; the caller's is for all.
        async with httpx.AsyncClient(verify=trusted, timeout=None) as client:  # noqa: S113
            return usable_keys(await _get(client, self._jwks_url or await self._discover(client)))

    async def _discover(self, client: httpx.AsyncClient) -> str:
        document = await _get(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        # OpenID Connect Discovery section 4.3: it "MUST be identical".
        if document.get("issuer") != self._issuer:
            raise ValueError("its discovery document names another issuer")
        return str(document.get("jwks_uri"))


def usable_keys(document: dict[str, Any]) -> Keys:
    """The keys of a JWK Set that tokens may be signed with. Raises ValueError if it is none."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("not a JWK Set")
    keys: Keys = {}
    for entry in listed:
        try:
            key = jwt.PyJWK(entry) if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC") else None
        except jwt.PyJWTError as exc:
            # RFC 7517 section 5: what is not understood, or out of the supported ranges, is ignored.
            logger.debug("a key of the OIDC issuer cannot be used: %s", type(exc).__name__)
            continue
        if key is not None and key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig"):
            keys[key.key_id] = key
    return keys


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object. Raises httpx.HTTPError and ValueError."""
    text = bytearray()
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            text += piece
            if len(text) > MAX_DOCUMENT:
                raise ValueError(f"{url} is longer than {MAX_DOCUMENT} bytes")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"{url} is not a JSON object")
    return document


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """RFC 8693 section 4.2: `scope` is a space-separated string; other issuers have an array `scp`."""
    scopes = claims.get("scope", claims.get("scp", ""))
    if isinstance(scopes, str):
        return frozenset(scopes.split())
    if isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes):
        return frozenset(scopes)
    raise InvalidToken("the scopes of the bearer token are neither a string nor an array of strings")
