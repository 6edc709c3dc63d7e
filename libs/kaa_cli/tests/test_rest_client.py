from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from kaa_cli.errors import CommandError
from kaa_cli.rest_client import RestClient, find_api_key, path


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> RestClient:
    return RestClient("http://platform.test", "the-key", httpx.MockTransport(answer))


def test_a_request_carries_the_key_the_parameters_and_the_body() -> None:
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(201, json={"name": "weather"})

    with client_of(answer) as client:
        body = {"name": "weather"}
        answered = client.call("POST", path("tekton", "applications"), params={"limit": 2}, body=body)
    (request,) = requests
    assert answered == {"name": "weather"}
    assert str(request.url) == "http://platform.test/tekton/api/v1/applications?limit=2"
    assert request.headers["x-api-key"] == "the-key"
    assert request.content == b'{"name":"weather"}'


def test_an_answer_without_a_body_is_none() -> None:
    with client_of(lambda _: httpx.Response(204)) as client:
        assert client.call("DELETE", "/") is None


def test_an_error_is_the_message_of_the_server() -> None:
    with (
        client_of(lambda _: httpx.Response(409, json={"message": "taken"})) as client,
        pytest.raises(CommandError, match=r"^taken$"),
    ):
        client.call("POST", "/")


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]"])
def test_an_error_without_a_message_is_its_status(content: bytes) -> None:
    with (
        client_of(lambda _: httpx.Response(502, content=content)) as client,
        pytest.raises(CommandError, match="502 Bad Gateway"),
    ):
        client.call("GET", "/")


def test_an_answer_that_is_not_json_is_an_error() -> None:
    with (
        client_of(lambda _: httpx.Response(200, content=b"<html>")) as client,
        pytest.raises(CommandError, match="did not answer with JSON"),
    ):
        client.call("GET", "/")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no-scheme", "ftp://platform.test"])
def test_a_platform_that_is_not_there_is_named(url: str) -> None:
    with RestClient(url, "the-key") as client, pytest.raises(CommandError, match=f"cannot reach {url}"):
        client.call("GET", "/tekton/api/v1/applications")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a?b", "a b", "ä", "%2e"])
def test_a_name_stays_one_segment_of_the_path(name: str) -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(204)

    with client_of(answer) as client:
        client.call("DELETE", path("epr", "endpoints", name))
    (raw_path,) = paths
    head, segment = raw_path.decode().rsplit("/", 1)
    assert head == "/epr/api/v1/endpoints"
    assert segment.isascii()
    assert not set(segment) & set(".?# ")
    assert httpx.URL(f"http://platform.test/{segment}").path == f"/{name}"


def test_the_key_of_the_environment_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    write_admin_key(tmp_path)
    assert find_api_key({"KAA_API_KEY": "mine"}, tmp_path) == "mine"


def test_the_admin_key_is_found_from_a_folder_below(tmp_path: Path) -> None:
    write_admin_key(tmp_path)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    assert find_api_key({}, folder) == "the-admin-key"


def test_a_missing_key_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no API key: set KAA_API_KEY"):
        find_api_key({}, tmp_path)


def write_admin_key(folder: Path) -> None:
    (folder / ".kaa").mkdir()
    (folder / ".kaa" / "admin.key").write_text("the-admin-key\n")
