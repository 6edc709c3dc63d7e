import pytest
from starlette.datastructures import Headers

from kaa_common.access import Access, hash_api_key
from kaa_common.errors import Unauthorized

ACCESS = Access(f" {hash_api_key('first')} , {hash_api_key('second').upper()},")


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "x-iamcore-api-key"])
@pytest.mark.parametrize("api_key", ["first", "second"])
def test_a_known_key_in_either_header_may_proceed(header: str, api_key: str) -> None:
    ACCESS.check(Headers({header: api_key}))


@pytest.mark.parametrize("api_key", ["", "third", "First", hash_api_key("first"), "\xff"])
def test_another_key_may_not(api_key: str) -> None:
    with pytest.raises(Unauthorized, match="not valid"):
        ACCESS.check(Headers({"X-API-Key": api_key}))


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer first"}, {"Cookie": "X-API-Key=first"}])
def test_a_request_without_a_key_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match="required"):
        ACCESS.check(Headers(headers))


@pytest.mark.parametrize("hashes", ["", " , ", "not-a-hash", "\u00e9"])
@pytest.mark.parametrize("api_key", ["", "first", "not-a-hash"])
def test_nobody_may_when_no_key_is_configured(hashes: str, api_key: str) -> None:
    with pytest.raises(Unauthorized):
        Access(hashes).check(Headers({"X-API-Key": api_key}))
