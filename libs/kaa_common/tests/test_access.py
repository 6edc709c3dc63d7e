import pytest
from starlette.datastructures import Headers

from kaa_common.access import Access, InvalidToken, hash_api_key
from kaa_common.errors import Unauthorized

HASHES = f" {hash_api_key('first')} , {hash_api_key('second').upper()},"
ACCESS = Access(HASHES)


class Tokens:
    """Knows one token."""

    async def scopes_of(self, token: str) -> frozenset[str]:
        if token != "known":
            raise InvalidToken("not known")
        return frozenset({"kettle:read"})


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "x-iamcore-api-key"])
@pytest.mark.parametrize("api_key", ["first", "second"])
async def test_a_known_key_in_either_header_has_every_scope(header: str, api_key: str) -> None:
    assert await ACCESS.allows(Headers({header: api_key}), "kettle:boil")


@pytest.mark.parametrize("api_key", ["", "third", "First", hash_api_key("first"), "\xff"])
async def test_another_key_may_not(api_key: str) -> None:
    with pytest.raises(Unauthorized, match="not valid"):
        await ACCESS.allows(Headers({"X-API-Key": api_key}), "kettle:boil")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic first"}, {"Cookie": "X-API-Key=first"}])
async def test_a_request_that_shows_nothing_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match="required"):
        await Access(HASHES, Tokens()).allows(Headers(headers), "kettle:boil")


@pytest.mark.parametrize("hashes", ["", " , ", "not-a-hash", "\u00e9"])
@pytest.mark.parametrize("api_key", ["", "first", "not-a-hash"])
async def test_nobody_may_when_no_key_is_configured(hashes: str, api_key: str) -> None:
    with pytest.raises(Unauthorized):
        await Access(hashes).allows(Headers({"X-API-Key": api_key}), "kettle:boil")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_has_its_scopes_and_no_other(scheme: str) -> None:
    access, headers = Access("", Tokens()), Headers({"Authorization": f"{scheme} known"})

    assert await access.allows(headers, "kettle:read")
    assert not await access.allows(headers, "kettle:boil")
    assert not await access.allows(headers, "kettle")


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer unknown", "Bearer known known"])
async def test_another_token_may_not(value: str) -> None:
    with pytest.raises(InvalidToken, match="not known"):
        await Access("", Tokens()).allows(Headers({"Authorization": value}), "kettle:read")


async def test_without_an_issuer_a_token_is_told_so() -> None:
    with pytest.raises(InvalidToken, match="no OIDC issuer is configured"):
        await ACCESS.allows(Headers({"Authorization": "Bearer known"}), "kettle:read")


async def test_a_wrong_key_beside_a_good_token_may_not() -> None:
    headers = Headers({"Authorization": "Bearer known", "X-API-Key": "third"})

    with pytest.raises(Unauthorized, match="API key is not valid"):
        await Access(HASHES, Tokens()).allows(headers, "kettle:read")
