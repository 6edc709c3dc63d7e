import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kaa_common import oidc as oidc_module
from kaa_common.access import InvalidToken
from kaa_common.errors import Unavailable
from kaa_common.oidc import (
    FETCH_INTERVAL,
    LEEWAY,
    MAX_AGE,
    MAX_DOCUMENT,
    MAX_TOKEN,
    REFRESH_AFTER,
    IssuerKeys,
    OidcTokens,
    oidc_tokens,
    usable_keys,
)
from kaa_common.settings import PlatformSettings, load
from support.issuer import AUDIENCE, Issuer, jwk, running_issuer
from support.ports import free_port

NOTHING: frozenset[str] = frozenset()


class Clock:
    """Stands still until it is set forward."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(issuer: Issuer, clock: Clock) -> OidcTokens:
    return OidcTokens(issuer.url, AUDIENCE, IssuerKeys(issuer.url, issuer.jwks_url, clock))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, NOTHING),
        ({"scope": ""}, NOTHING),
        ({"scope": "endpoint:read"}, {"endpoint:read"}),
        ({"scope": "openid  endpoint:read"}, {"openid", "endpoint:read"}),
        ({"scp": ["endpoint:read", "endpoint:update"]}, {"endpoint:read", "endpoint:update"}),
        ({"scope": "endpoint:read", "scp": ["endpoint:update"]}, {"endpoint:read"}),
        ({"aud": ["account", AUDIENCE]}, NOTHING),
    ],
)
async def test_a_token_of_the_issuer_has_the_scopes_of_its_claims(
    tokens: OidcTokens, issuer: Issuer, algorithm: str, claims: dict[str, Any], scopes: set[str]
) -> None:
    issuer.rotate("first", algorithm=algorithm)

    assert await tokens.scopes_of(issuer.token(**claims)) == scopes


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": time.time() - LEEWAY - 60}, "expired"),
        ({"exp": None}, '"exp"'),
        ({"nbf": time.time() + LEEWAY + 600}, "not yet valid"),
        ({"iss": "http://elsewhere"}, "[Ii]ssuer"),
        ({"iss": None}, '"iss"'),
        ({"aud": "account"}, "[Aa]udience"),
        ({"aud": []}, "[Aa]udience|aud"),
        ({"aud": None}, '"aud"'),
        ({"scope": 1}, "scopes"),
        ({"scope": None, "scp": ["endpoint:read", 1]}, "scopes"),
    ],
)
async def test_a_token_for_another_time_or_place_is_refused(
    tokens: OidcTokens, issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidToken, match=reason):
        await tokens.scopes_of(issuer.token(**claims))


async def test_clocks_may_differ_a_little(tokens: OidcTokens, issuer: Issuer) -> None:
    now = time.time()

    assert await tokens.scopes_of(issuer.token(exp=now - LEEWAY / 2, nbf=now - 60)) == NOTHING
    assert await tokens.scopes_of(issuer.token(nbf=now + LEEWAY / 2)) == NOTHING


async def test_an_unsigned_token_is_refused_without_asking_for_keys(tokens: OidcTokens, issuer: Issuer) -> None:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    for algorithm in ("none", "None"):
        header = b64({"alg": algorithm, "kid": "first"})
        with pytest.raises(InvalidToken, match="not signed with RS256 or ES256"):
            await tokens.scopes_of(f"{header}.{b64(claims)}.")
    assert issuer.asked == []


@pytest.mark.parametrize("key_type", ["RS256", "ES256"])
async def test_a_public_key_is_no_shared_secret(tokens: OidcTokens, issuer: Issuer, key_type: str) -> None:
    issuer.rotate("first", algorithm=key_type)
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    public_key = issuer.keys["first"].public_key()
    published = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{b64({'alg': 'HS256', 'kid': 'first'})}.{b64(claims)}"
    signature = hmac.new(published, signed.encode(), hashlib.sha256).digest()

    with pytest.raises(InvalidToken, match="not signed with"):
        await tokens.scopes_of(f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")


async def test_a_key_signs_with_its_own_algorithm_alone(tokens: OidcTokens, issuer: Issuer) -> None:
    _, *rest = issuer.token().split(".")

    with pytest.raises(InvalidToken, match="not valid"):
        await tokens.scopes_of(".".join((b64({"alg": "RS256", "kid": "first"}), *rest)))


async def test_a_changed_token_is_refused(tokens: OidcTokens, issuer: Issuer) -> None:
    header, _, signature = issuer.token(scope="endpoint:read").split(".")
    more = jwt.decode(issuer.token(scope="endpoint:update"), options={"verify_signature": False})

    with pytest.raises(InvalidToken, match="Signature verification failed"):
        await tokens.scopes_of(f"{header}.{b64(more)}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "token",
        "a.b.c",
        "..",
        "\xff.\xff.\xff",
        "e30.e30.",
        base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.e30",
        base64.urlsafe_b64encode(b'{"alg":"ES256","kid":["first"]}').decode() + ".e30.e30",
        "x" * (MAX_TOKEN + 1),
    ],
)
async def test_whatever_is_no_token_is_refused(tokens: OidcTokens, token: str) -> None:
    with pytest.raises(InvalidToken):
        await tokens.scopes_of(token)


async def test_keys_are_fetched_once_for_many_tokens(tokens: OidcTokens, issuer: Issuer) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(tokens.scopes_of(issuer.token()))

    assert issuer.asked == ["/keys"]


async def test_a_new_key_is_accepted_and_an_old_one_no_more(tokens: OidcTokens, issuer: Issuer, clock: Clock) -> None:
    old = issuer.token()
    await tokens.scopes_of(old)
    issuer.rotate("second")
    clock.now += FETCH_INTERVAL

    assert await tokens.scopes_of(issuer.token("second")) == NOTHING
    with pytest.raises(InvalidToken, match="does not publish"):
        await tokens.scopes_of(old)


async def test_a_withdrawn_key_is_refused_after_minutes(tokens: OidcTokens, issuer: Issuer, clock: Clock) -> None:
    old = issuer.token()
    await tokens.scopes_of(old)
    issuer.rotate("second")
    clock.now += REFRESH_AFTER

    with pytest.raises(InvalidToken, match="does not publish"):
        await tokens.scopes_of(old)


async def test_invented_key_ids_do_not_make_many_fetches(tokens: OidcTokens, issuer: Issuer, clock: Clock) -> None:
    for seconds in (0.0, 0.1, 0.1, FETCH_INTERVAL, 0.1):
        clock.now += seconds
        with pytest.raises(InvalidToken, match="does not publish"):
            await tokens.scopes_of(issuer.token(headers={"kid": f"invented at {clock.now}"}))

    assert issuer.asked == ["/keys"] * 2


async def test_the_only_key_needs_no_id(tokens: OidcTokens, issuer: Issuer, clock: Clock) -> None:
    claims = {"iss": issuer.url, "aud": AUDIENCE, "exp": time.time() + 60}
    token = jwt.encode(claims, issuer.keys["first"], "ES256")
    assert await tokens.scopes_of(token) == NOTHING

    issuer.rotate("first", "second")
    clock.now += REFRESH_AFTER
    with pytest.raises(InvalidToken, match="does not publish"):
        await tokens.scopes_of(jwt.encode(claims, issuer.keys["first"], "ES256"))


@pytest.mark.parametrize(
    "document", [None, b"{", b"[]", {"keys": {}}, {}, b" " * (MAX_DOCUMENT + 1)], ids=lambda value: str(value)[:20]
)
async def test_without_keys_it_is_a_503_until_they_are_there(
    tokens: OidcTokens, issuer: Issuer, clock: Clock, document: object
) -> None:
    published, issuer.documents["/keys"] = issuer.documents["/keys"], document
    for _ in range(3):
        with pytest.raises(Unavailable, match="keys of the OIDC issuer"):
            await tokens.scopes_of(issuer.token())
    assert issuer.asked == ["/keys"]

    issuer.documents["/keys"] = published
    clock.now += FETCH_INTERVAL
    assert await tokens.scopes_of(issuer.token()) == NOTHING


async def test_an_issuer_that_is_not_there_is_a_503(issuer: Issuer, clock: Clock) -> None:
    keys = IssuerKeys(issuer.url, f"http://127.0.0.1:{free_port()}/keys", clock)

    with pytest.raises(Unavailable):
        await OidcTokens(issuer.url, AUDIENCE, keys).scopes_of(issuer.token())


async def test_an_issuer_that_does_not_answer_is_a_503(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc_module, "FETCH_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keys = IssuerKeys(issuer.url, f"http://127.0.0.1:{silent.getsockname()[1]}/keys", clock)

        with pytest.raises(Unavailable):
            await OidcTokens(issuer.url, AUDIENCE, keys).scopes_of(issuer.token())


async def test_while_the_issuer_is_away_known_keys_last_an_hour(
    tokens: OidcTokens, issuer: Issuer, clock: Clock
) -> None:
    token = issuer.token()
    await tokens.scopes_of(token)
    issuer.documents["/keys"] = None

    clock.now += MAX_AGE - 1
    assert await tokens.scopes_of(token) == NOTHING
    with pytest.raises(Unavailable):
        await tokens.scopes_of(issuer.token(headers={"kid": "unknown"}))
    clock.now += 1
    with pytest.raises(Unavailable):
        await tokens.scopes_of(token)


async def test_the_discovery_document_says_where_the_keys_are(issuer: Issuer) -> None:
    tokens = oidc_tokens(load(PlatformSettings, {"KAA_OIDC_ISSUER": issuer.url, "KAA_OIDC_AUDIENCE": AUDIENCE}))

    assert tokens is not None
    assert await tokens.scopes_of(issuer.token()) == NOTHING
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("changed", [{"issuer": "http://elsewhere"}, {"jwks_uri": None}, {"jwks_uri": "file:///keys"}])
async def test_a_discovery_document_that_leads_elsewhere_is_a_503(issuer: Issuer, changed: dict[str, object]) -> None:
    path = "/.well-known/openid-configuration"
    issuer.documents[path] = {"issuer": issuer.url, "jwks_uri": issuer.jwks_url} | changed
    tokens = OidcTokens(issuer.url, AUDIENCE, IssuerKeys(issuer.url, None, Clock()))

    with pytest.raises(Unavailable):
        await tokens.scopes_of(issuer.token())
    assert issuer.asked == [path]


def test_without_an_issuer_there_are_no_tokens() -> None:
    assert oidc_tokens(load(PlatformSettings, {})) is None


def test_a_key_for_anything_else_is_not_used(issuer: Issuer) -> None:
    good = jwk(issuer.keys["first"], "good")
    others = [
        {**good, "kid": "for encryption", "use": "enc"},
        {**good, "kid": "for another algorithm", "alg": "ES512"},
        {**good, "kid": "for no algorithm", "alg": "XX512"},
        {**good, "kid": "off the curve", "x": good["y"]},
        {"kid": "incomplete", "kty": "RSA"},
        {"kid": "secret", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kid": "of another type", "kty": "XX"},
        "no key",
    ]

    assert list(usable_keys({"keys": [*others, good]})) == ["good"]


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
