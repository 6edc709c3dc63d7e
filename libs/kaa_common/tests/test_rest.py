import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.routing import Route

from kaa_common.access import Access, hash_api_key
from kaa_common.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from kaa_common.rest import (
    MAX_BODY,
    MAX_LIMIT,
    Body,
    Limit,
    Offset,
    StrictRoute,
    check_if_match,
    errors,
    etag_of,
    is_unchanged,
    json_response,
    requires,
    rest_api,
    tags_in,
)
from support.scopes import PlainTokens

BASE = "/kettle/api/v1"


class Kettle(Body):
    display_name: str
    volume_ml: int = 1000
    extra: dict[str, Any] = Field(default_factory=dict)


def router() -> APIRouter:
    routes = APIRouter(route_class=StrictRoute)

    @routes.post("/kettles", status_code=201, responses=errors(409), dependencies=[requires("kettle:create")])
    async def create(kettle: Kettle) -> Response:
        return json_response(kettle.model_dump(by_alias=True), 201, {"Location": "/1"})

    @routes.put("/raw", dependencies=[requires("kettle:update")])
    async def replace(request: Request) -> Response:
        return json_response(await request.json())

    @routes.get("/kettles", dependencies=[requires("kettle:read")])
    async def listing(limit: Limit = 20, offset: Offset = 0) -> list[int]:
        return [limit, offset]

    @routes.get("/errors/{name}", dependencies=[requires("kettle:read")])
    async def fail(name: str) -> None:
        raise {"conflict": Conflict("taken"), "away": Unavailable("the store is away")}.get(name, NotFound("no kettle"))

    @routes.get("/broken", dependencies=[requires("kettle:read")])
    async def break_down() -> None:
        raise RuntimeError("geheim")

    return routes


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    api = rest_api("Kettles", "All of them.", "/kettle", router(), Access(hash_api_key("key"), PlainTokens()))
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    headers = {"X-API-Key": "key", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test" + BASE, headers=headers) as client:
        yield client


def message_of(response: httpx.Response) -> str:
    (key, message), *rest = response.json().items()
    assert key == "message"
    assert not rest
    return str(message)


async def test_a_body_is_read_and_written_in_camel_case(client: httpx.AsyncClient) -> None:
    response = await client.post("/kettles", content=b'{"displayName":"K","volumeMl":5}')

    assert response.status_code == 201
    assert response.headers["Location"] == "/1"
    assert response.json() == {"displayName": "K", "volumeMl": 5, "extra": {}}


@pytest.mark.parametrize(
    "value", ["18446744073709551615", "-9223372036854775808", "1e-7", '"\\u0000"', '{"a.b":{"$c":null}}']
)
@pytest.mark.parametrize("path", ["/raw", "/kettles"])
async def test_values_survive_bit_for_bit(client: httpx.AsyncClient, path: str, value: str) -> None:
    if path == "/raw":
        response = await client.put(path, content=value)
        assert response.text == value
    else:
        response = await client.post(path, content=f'{{"displayName":"K","extra":{{"v":{value}}}}}')
        assert f'"extra":{{"v":{value}}}' in response.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSON"),
        ("{", "not valid JSON"),
        ("NaN", "not valid JSON"),
        ("18446744073709551616", "integer beyond 64 bits"),
        ('{"\\u0000":1}', "NUL"),
        ('"\\ud800"', "surrogate"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
    ],
)
@pytest.mark.parametrize("path", ["/raw", "/kettles"])
async def test_what_cannot_be_kept_exactly_is_a_400_that_says_why(
    client: httpx.AsyncClient, path: str, text: str, reason: str
) -> None:
    content = text if path == "/raw" or not text else f'{{"displayName":"K","extra":{{"v":{text}}}}}'
    response = await client.request("PUT" if path == "/raw" else "POST", path, content=content)

    assert response.status_code == 400
    if text or path == "/raw":
        assert reason in message_of(response)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "displayName"),
        ('{"displayName":1}', "displayName"),
        ('{"displayName":"K","volumeMl":"5"}', "volumeMl"),
        ('{"displayName":"K","volumeMl":5.5}', "volumeMl"),
        ('{"displayName":"K","volumeMl":true}', "volumeMl"),
        ('{"displayName":"K","colour":"red"}', "colour"),
        ("[]", "body"),
        ("null", "body"),
    ],
)
async def test_a_400_names_the_field(client: httpx.AsyncClient, text: str, field: str) -> None:
    response = await client.post("/kettles", content=text)

    assert response.status_code == 400
    assert field in message_of(response)


@pytest.mark.parametrize("query", ["limit=0", f"limit={MAX_LIMIT + 1}", "limit=many", "limit=", "offset=-1"])
async def test_a_page_has_its_limits(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"/kettles?{query}")

    assert response.status_code == 400
    assert query.split("=")[0] in message_of(response)


async def test_a_page_has_20_items_when_nothing_else_is_asked_for(client: httpx.AsyncClient) -> None:
    assert (await client.get("/kettles")).json() == [20, 0]
    assert (await client.get(f"/kettles?limit={MAX_LIMIT}&offset=7")).json() == [MAX_LIMIT, 7]


async def test_a_body_without_the_content_type_of_json_is_told_so(client: httpx.AsyncClient) -> None:
    response = await client.post("/kettles", content=b'{"displayName":"K"}', headers={"Content-Type": "text/plain"})

    assert response.status_code == 400
    assert "Content-Type: application/json" in message_of(response)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/raw"), ("POST", "/kettles")])
async def test_a_longer_body_than_allowed_is_a_413(client: httpx.AsyncClient, method: str, path: str) -> None:
    text = b'{"displayName":"' + b"x" * MAX_BODY + b'"}'

    response = await client.request(method, path, content=text)

    assert response.status_code == 413
    assert str(MAX_BODY) in message_of(response)


async def test_a_body_in_pieces_is_measured_as_a_whole(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * (MAX_BODY // 4)

    assert (await client.put("/raw", content=pieces())).status_code == 413


async def test_the_longest_body_allowed_is_read(client: httpx.AsyncClient) -> None:
    text = b'"' + b"x" * (MAX_BODY - 2) + b'"'

    assert (await client.put("/raw", content=text)).content == text


@pytest.mark.parametrize(
    ("name", "status_code", "message"),
    [("conflict", 409, "taken"), ("away", 503, "the store is away"), ("other", 404, "no kettle")],
)
async def test_an_error_is_its_status_and_message(
    client: httpx.AsyncClient, name: str, status_code: int, message: str
) -> None:
    response = await client.get(f"/errors/{name}")

    assert (response.status_code, message_of(response)) == (status_code, message)


async def test_an_unexpected_error_is_a_500_without_details(client: httpx.AsyncClient) -> None:
    response = await client.get("/broken")

    assert (response.status_code, message_of(response)) == (500, "internal error")


async def test_an_unknown_path_and_a_wrong_method_are_told_like_any_error(client: httpx.AsyncClient) -> None:
    unknown, wrong = await client.get("/nothing"), await client.delete("/kettles")

    assert (unknown.status_code, message_of(unknown)) == (404, "Not Found")
    assert (wrong.status_code, message_of(wrong)) == (405, "Method Not Allowed")
    assert wrong.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize("headers", [{"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_without_a_valid_key_nothing_is_done(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get("/broken", headers=headers)

    assert response.status_code == 401
    assert "API key" in message_of(response)


async def test_the_key_may_come_in_the_header_of_kaa(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]

    assert (await client.get("/kettles", headers={"x-iamcore-api-key": "key"})).status_code == 200
    assert (await client.get("/kettles")).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}])
async def test_a_401_says_how_to_get_in(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    del client.headers["X-API-Key"]

    response = await client.get("/kettles", headers=headers)

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_401_says_that_the_token_is_to_blame() -> None:
    api = rest_api("Kettles", "All of them.", "/kettle", router(), Access(hash_api_key("key")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test" + BASE) as client:
        response = await client.get("/kettles", headers={"Authorization": "Bearer kettle:read"})

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert "no OIDC issuer" in message_of(response)


async def test_a_token_without_the_scope_changes_and_lists_nothing(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    client.headers["Authorization"] = "Bearer kettle:boil"

    refused = [
        await client.get("/kettles"),
        await client.put("/raw", content=b"{"),
        await client.post("/kettles", content=b"{"),
    ]

    assert [(response.status_code, message_of(response)) for response in refused] == [
        (403, "the scope kettle:read is required"),
        (403, "the scope kettle:update is required"),
        (403, "the scope kettle:create is required"),
    ]


async def test_what_a_token_may_not_read_is_not_there(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    client.headers["Authorization"] = "Bearer kettle:boil"

    response = await client.get("/errors/conflict")

    assert (response.status_code, message_of(response)) == (404, "nothing is found without the scope kettle:read")


async def test_a_token_with_the_scope_may_proceed(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]

    assert (await client.get("/kettles", headers={"Authorization": "bearer kettle:read"})).status_code == 200


def test_there_is_no_route_without_a_scope() -> None:
    with pytest.raises(ValueError, match="/kettles demands no scope"):
        APIRouter(route_class=StrictRoute).add_api_route("/kettles", lambda: None)
    lenient = APIRouter(routes=[Route("/kettles", lambda request: Response())])
    with pytest.raises(ValueError, match="/kettles is no StrictRoute"):
        rest_api("Kettles", "All of them.", "/kettle", lenient, Access(""))


async def test_the_interface_describes_itself_to_everybody(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]

    description = (await client.get("/openapi.json")).json()

    create = description["paths"][f"{BASE}/kettles"]["post"]
    assert set(create["responses"]) == {"201", "400", "401", "403", "409", "413", "500", "503"}
    assert "422" not in str(description["paths"])
    assert not any("Validation" in name for name in description["components"]["schemas"])
    assert create["security"] == [{"APIKeyHeader": ["kettle:create"]}, {"HTTPBearer": ["kettle:create"]}]
    schemes = description["components"]["securitySchemes"]
    assert (schemes["APIKeyHeader"]["in"], schemes["HTTPBearer"]["scheme"]) == ("header", "bearer")


async def test_its_documentation_is_a_page_that_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text

    addresses = re.findall(r'(?:src|href|url)["\']?[=:] *["\']([^"\']+)', page)
    assert f"{BASE}/openapi.json" in addresses
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith(f"{BASE}/")
        assert (await client.get(f"http://test{address}")).status_code == 200


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"1"', {'"1"'}),
        ('"1", "2"', {'"1"', '"2"'}),
        ('W/"1"', {'"1"'}),
        ("*", {"*"}),
        ('"a,*b"', {'"a,*b"'}),
        ("1", set()),
        ("", set()),
    ],
)
def test_entity_tags_are_found_in_a_header(header: str, tags: set[str]) -> None:
    assert tags_in(header) == tags


@pytest.mark.parametrize("if_match", [None, '"7"', '"6", "7"', "*"])
def test_the_current_revision_may_be_changed(if_match: str | None) -> None:
    check_if_match(if_match, 7)


@pytest.mark.parametrize("if_match", ['"6"', '"77"', "7", "", '"*"'])
def test_another_revision_may_not_be_changed(if_match: str) -> None:
    with pytest.raises(PreconditionFailed, match=etag_of(7)):
        check_if_match(if_match, 7)


@pytest.mark.parametrize(
    ("if_none_match", "unchanged"), [(None, False), ('"7"', True), ('W/"7"', True), ("*", True), ('"6"', False)]
)
def test_who_has_the_current_revision_need_not_read_it_again(if_none_match: str | None, unchanged: bool) -> None:
    assert is_unchanged(if_none_match, 7) is unchanged
