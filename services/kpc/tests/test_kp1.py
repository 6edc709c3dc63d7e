import json

import pytest

from kaa_common.errors import BadRequest
from kpc.kp1 import (
    MAX_LEVELS,
    MAX_PATH,
    Address,
    Name,
    Resource,
    error_payload,
    is_kp1,
    names_in,
    parse_address,
    parse_resource,
    push_topic,
)

EXTENSIONS = {"epmx": True, "cmx": True, "tsx": False}


def resource_of(path: str, *, endpoint_aware: bool = True) -> Resource:
    return parse_resource(parse_address(path), endpoint_aware=endpoint_aware)


def test_a_path_names_the_application_version_and_the_extension() -> None:
    assert parse_address("kp1/weather-v1/epmx/t0ken/get") == Address("weather-v1", "epmx", ("t0ken", "get"))


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("kp1/app-v1/epmx/t0ken/get", Resource("t0ken", "/get", None)),
        ("kp1/app-v1/epmx/t0ken/get/42", Resource("t0ken", "/get", 42)),
        ("kp1/app-v1/epmx/t0ken/update/keys/0", Resource("t0ken", "/update/keys", 0)),
        ("kp1/app-v1/epmx/t0ken/get/007", Resource("t0ken", "/get", 7)),
        ("kp1/app-v1/epmx/t0ken/get/2147483647", Resource("t0ken", "/get", 2147483647)),
        ("kp1/app-v1/epmx/t0ken/get/-1", Resource("t0ken", "/get/-1", None)),
        ("kp1/app-v1/epmx/t0ken/get/1.0", Resource("t0ken", "/get/1.0", None)),
        ("kp1/app-v1/epmx/t0ken/12/get", Resource("t0ken", "/12/get", None)),
        # Only ASCII digits are digits.
        ("kp1/app-v1/epmx/t0ken/get/٣", Resource("t0ken", "/get/٣", None)),
        ("kp1/app-v1/epmx/12345/get", Resource("12345", "/get", None)),
    ],
)
def test_an_endpoint_aware_extension_has_a_token_level(path: str, resource: Resource) -> None:
    assert resource_of(path) == resource


def test_an_endpoint_unaware_extension_has_none() -> None:
    assert resource_of("kp1/app-v1/tsx/time/7", endpoint_aware=False) == Resource(None, "/time", 7)


@pytest.mark.parametrize(
    "path",
    [
        "kp1/",
        "kp1/app-v1",
        "kp1/app-v1/epmx",
        "kp1/app-v1/epmx/t0ken",
        "kp1/app-v1/epmx/t0ken/42",
        "kp1//epmx/t0ken/get",
        "kp1/app-v1//t0ken/get",
        "kp1/app-v1/epmx//get",
        "kp1/app-v1/epmx/t0ken/get/",
        "kp1/app-v1/epmx/t0ken//get",
        "kp1/app-v1/epmx/t0ken/get/2147483648",
        "kp1/app-v1/epmx/t0ken/get/" + "9" * 900,
        "kp1/app-v1/epmx/t0ken/" + "a" * MAX_PATH,
        "kp1/app-v1/epmx/t0ken" + (MAX_LEVELS - 3) * "/a",
    ],
)
def test_a_path_that_names_no_resource_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        resource_of(path)


@pytest.mark.parametrize("path", ["kp2/a/b/c/d", "kp1", "/kp1/a/b/c/d", "KP1/a/b/c/d", "weather/kp1/a", ""])
def test_other_paths_are_none_of_this_protocol(path: str) -> None:
    assert not is_kp1(path)


def test_an_error_has_exactly_the_two_members_of_the_schema() -> None:
    assert json.loads(error_payload(401, "unknown endpoint token")) == {
        "statusCode": 401,
        "reasonPhrase": "unknown endpoint token",
    }


def test_an_error_without_words_has_those_of_its_status_code() -> None:
    assert json.loads(error_payload(503, ""))["reasonPhrase"] == "Service Unavailable"
    assert json.loads(error_payload(599, ""))["reasonPhrase"] == "error"


def test_an_error_fits_into_the_packet_of_a_small_device_with_its_topic() -> None:
    topic = "kp1/bspu542ikfmmfgrk47s0-v1/epmx/JTjdbENzHh/update/keys/2147483647/error"
    payload = error_payload(400, "x" * 5000)
    assert json.loads(payload)["reasonPhrase"].endswith("xxx...")
    assert len(topic) + len(payload) + 7 <= 256


@pytest.mark.parametrize(
    "topic_filter",
    [
        "kp1/app-v1/epmx/t0ken",
        "kp1/app-v1/epmx/t0ken/get",
        "kp1/app-v1/epmx/t0ken/get/#",
        "kp1/app-v1/epmx/t0ken/#",
        "kp1/app-v1/epmx/t0ken/+/+/status",
        "kp1/app-v1/epmx/t0ken//",
    ],
)
def test_a_filter_that_names_a_token_names_an_endpoint(topic_filter: str) -> None:
    assert names_in([topic_filter], EXTENSIONS) == (Name("app-v1", "epmx", "t0ken"),)


def test_a_filter_for_an_endpoint_unaware_extension_names_its_version() -> None:
    for topic_filter in ("kp1/app-v1/tsx/#", "kp1/app-v1/tsx/time/+/status", "kp1/app-v1/tsx/time"):
        assert names_in([topic_filter], EXTENSIONS) == (Name("app-v1", "tsx", None),)


@pytest.mark.parametrize(
    "topic_filter",
    [
        *("#", "+", "topic_buffer", "", "/", "kp1", "kp1/", "kp1/#", "kp1/+/epmx/t0ken/#", "kp1/app-v1/#"),
        *("kp1/app-v1/+/t0ken/#", "kp1/app-v1/epmx", "kp1/app-v1/epmx/#", "kp1/app-v1/epmx/+/get", "kp2/a/epmx/t/get"),
        *("kp1/app-v1/epmx/", "kp1//epmx/t0ken", "kp1/app-v1/none/t0ken/get", "kp1/#/tsx/time", "kp1/app-v1/tsx"),
        "kp1/app-v1/epmx/" + "t" * MAX_PATH,
    ],
)
def test_any_other_filter_names_nobody(topic_filter: str) -> None:
    assert names_in([topic_filter], EXTENSIONS) == ()


def test_who_is_named_in_many_filters_is_named_once() -> None:
    filters = ["kp1/v/cmx/b/#", "kp1/v/epmx/a/#", "#", "kp1/v/epmx/a/get", "kp1/v/cmx/b/config/json/status"]
    assert names_in(filters, EXTENSIONS) == (Name("v", "cmx", "b"), Name("v", "epmx", "a"))


def test_a_push_goes_where_a_request_would() -> None:
    assert push_topic(Name("v", "cex", "t0ken"), "/command/a", None) == "kp1/v/cex/t0ken/command/a"
    assert push_topic(Name("v", "cex", "t0ken"), "/command/a", 0) == "kp1/v/cex/t0ken/command/a/0"
    assert push_topic(Name("v", "tsx", None), "/time", 7) == "kp1/v/tsx/time/7"


def test_no_token_is_shown() -> None:
    assert "t0ken" not in repr(Name("v", "cex", "t0ken"))
