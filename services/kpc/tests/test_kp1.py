import json

import pytest

from kaa_common.errors import BadRequest
from kpc.kp1 import MAX_PATH, Address, Resource, error_payload, is_kp1, parse_address, parse_resource


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
