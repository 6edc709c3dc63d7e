"""Requests that reach no extension, or not the one they meant: each fault and its answer, over every transport."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from .conftest import (
    PATIENCE,
    Answer,
    Ask,
    Endpoint,
    Message,
    MqttDevice,
    Platform,
    error_of,
    mqtt_device,
    publish_packet,
)

MAX_PAYLOAD = 256 * 1024


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Endpoint:
    """One that no test changes."""
    return platform.register(metadata=b'{"a":1}')


@pytest.mark.parametrize(
    ("path", "status_code", "reason"),
    [
        ("kp1/{version}/epmx/{token}", 400, "no resource after the token"),
        ("kp1//epmx/{token}/get", 400, "path has an empty level"),
        ("kp1/{version}//{token}/get", 400, "path has an empty level"),
        ("kp1/{version}/epmx//get", 400, "path has an empty level"),
        ("kp1/{version}/epmx/{token}/get/", 400, "path has an empty level"),
        ("kp1/{version}/epmx/{token}" + "/get" * 300, 400, "path longer than 1024 characters"),
        ("kp1/unheard-of/epmx/{token}/get", 404, "unknown application version"),
        ("kp1/devices/epmx/{token}/get", 404, "unknown application version"),
        ("kp1/{version}.x/epmx/{token}/get", 404, "unknown application version"),
        ("kp1/{version} /epmx/{token}/get", 404, "unknown application version"),
        ("kp1/" + "v" * 500 + "/epmx/{token}/get", 404, "unknown application version"),
        ("kp1/{version}/unheard_of/{token}/get", 404, "unknown extension"),
        ("kp1/{version}/epr/{token}/get", 404, "unknown extension"),
        ("kp1/{version}/EPMX/{token}/get", 404, "unknown extension"),
        ("kp1/{version}/epmx.esp/{token}/get", 404, "unknown extension"),
        ("kp1/{version}/*/{token}/get", 404, "unknown extension"),
        ("kp1/{version}/epmx/unheardOf/get", 401, "unknown endpoint token"),
        ("kp1/{version}/epmx/{token}x/get", 401, "unknown endpoint token"),
        ("kp1/{version}/epmx/{{token}}/get", 401, "unknown endpoint token"),
        ("kp1/{version}/epmx/to.ken/get", 401, "malformed endpoint token"),
        ("kp1/{version}/epmx/.../get", 401, "malformed endpoint token"),
        ("kp1/{version}/epmx/" + "t" * 129 + "/get", 401, "malformed endpoint token"),
    ],
)
async def test_a_fault_in_the_path_is_answered_with_its_status_and_the_device_goes_on(
    ask: Ask, endpoint: Endpoint, path: str, status_code: int, reason: str
) -> None:
    answer = await ask(path.format(version=endpoint.app_version, token=endpoint.token), b"{}")
    assert error_of(answer)[0] == status_code
    assert reason in error_of(answer)[1]
    assert await ask(endpoint.path("/get"), b"") == Answer(200, b'{"a":1}')


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("kp1/{version}/epmx/{token}/get/2147483648", "request id above 2147483647"),
        ("kp1/{version}/epmx/{token}/get/99999999999", "request id above 2147483647"),
        ("kp1/{version}/epmx/{token}/get/" + "9" * 500, "request id above 2147483647"),
        ("kp1/{version}/epmx/42", "path too short: no resource after the token"),
        ("kp1/{version}/epmx", "path too short: kp1/<app version>/<extension>/<token>/<resource>"),
        ("kp1/{version}", "path too short: kp1/<app version>/<extension>/<token>/<resource>"),
        ("kp1/", "path too short: kp1/<app version>/<extension>/<token>/<resource>"),
    ],
)
async def test_a_path_that_ends_early_or_in_too_large_a_number_is_a_bad_request(
    platform: Platform, endpoint: Endpoint, path: str, reason: str
) -> None:
    topic = path.format(version=endpoint.app_version, token=endpoint.token)
    payload = b'{"statusCode":400,"reasonPhrase":"%s"}' % reason.encode()
    answer = platform.rest.post(f"/{topic}")
    assert (answer.status_code, answer.content) == (400, payload)
    async with mqtt_device(platform) as device:
        assert await device.publish(topic, b"{}") == [Message(f"{topic}/error", payload, 1)]


async def test_a_payload_at_the_limit_is_taken_and_one_byte_more_is_too_large(ask: Ask, endpoint: Endpoint) -> None:
    path = endpoint.path("/get/keys")
    assert await ask(path, b" " * MAX_PAYLOAD) == Answer(200, b'["a"]')
    assert error_of(await ask(path, b" " * (MAX_PAYLOAD + 1))) == (413, f"payload longer than {MAX_PAYLOAD} bytes")
    assert await ask(path, b"") == Answer(200, b'["a"]')


@pytest.mark.parametrize("status", ["Suspended", "Revoked"])
async def test_a_token_that_was_withdrawn_is_unauthorized(platform: Platform, ask: Ask, status: str) -> None:
    endpoint = platform.register()
    path = endpoint.path("/get")
    assert await ask(path, b"") == Answer(200, b"{}")

    platform.move_token(endpoint, status)

    await until_answered(platform, path, 401)
    assert error_of(await ask(endpoint.path("/update"), b'{"a":1}')) == (401, f"the token is {status.lower()}")
    assert platform.metadata(endpoint) == b"{}"
    if status == "Suspended":
        platform.move_token(endpoint, "Active")
        assert await ask(path, b"") == Answer(200, b"{}")


async def test_a_token_that_was_never_used_can_be_withdrawn(platform: Platform, ask: Ask) -> None:
    endpoint = platform.register()
    platform.move_token(endpoint, "Suspended")
    assert error_of(await ask(endpoint.path("/get"), b"")) == (401, "the token is suspended")


async def test_a_token_becomes_active_with_its_first_use(platform: Platform, ask: Ask) -> None:
    endpoint = platform.register()
    assert [token["status"] for token in platform.tokens(endpoint)] == ["Inactive"]
    await ask(endpoint.path("/get"), b"")
    assert [token["status"] for token in platform.tokens(endpoint)] == ["Active"]


async def test_the_token_of_an_endpoint_that_was_unregistered_is_unknown(platform: Platform, ask: Ask) -> None:
    endpoint = platform.register()
    assert await ask(endpoint.path("/get"), b"") == Answer(200, b"{}")
    platform.rest.delete(f"/epr/api/v1/endpoints/{endpoint.id}").raise_for_status()
    # Between the two the endpoint is gone and its token not yet.
    await until_answered(platform, endpoint.path("/get"), 401)
    assert error_of(await ask(endpoint.path("/get"), b"")) == (401, "unknown endpoint token")


async def test_one_token_is_another_endpoint_in_another_application(platform: Platform, ask: Ask) -> None:
    platform.rest.post("/tekton/api/v1/applications", json={"name": "others"})  # or it is there already
    here = platform.register(metadata=b'{"app":"here"}')
    other_version = platform.new_app_version(application="others")
    elsewhere = Endpoint(id="", token=here.token, app_version=other_version)
    assert error_of(await ask(elsewhere.path("/get"), b"")) == (401, "unknown endpoint token")

    platform.register(other_version, b'{"app":"elsewhere"}', endpointToken=here.token)
    assert await ask(elsewhere.path("/get"), b"") == Answer(200, b'{"app":"elsewhere"}')
    assert await ask(here.path("/get"), b"") == Answer(200, b'{"app":"here"}')


async def test_a_device_may_speak_as_any_version_of_its_application(platform: Platform, ask: Ask) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    newer = Endpoint(id=endpoint.id, token=endpoint.token, app_version=platform.new_app_version())
    assert await ask(newer.path("/get"), b"") == Answer(200, b'{"a":1}')


async def test_an_extension_is_allowed_and_forbidden_while_devices_are_connected(platform: Platform, ask: Ask) -> None:
    version = platform.new_app_version({"kpc": {"allowed-extension-instances": ["dcx", "tsx"]}})
    endpoint = platform.register(version)
    path = endpoint.path("/get")
    assert error_of(await ask(path, b"")) == (403, "extension epmx is not allowed for this application version")

    platform.configure(version, {"kpc": {"allowed-extension-instances": ["dcx", "epmx"]}})
    await until_answered(platform, path, 200)
    assert await ask(path, b"") == Answer(200, b"{}")
    platform.configure(version, {"kpc": {"allowed-extension-instances": []}})
    await until_answered(platform, path, 403)
    assert error_of(await ask(path, b""))[0] == 403
    platform.configure(version, {"kpc": {}})
    await until_answered(platform, path, 200)
    assert await ask(path, b"") == Answer(200, b"{}")


async def test_keys_are_restricted_and_released_while_devices_are_connected(platform: Platform, ask: Ask) -> None:
    version = platform.new_app_version()
    endpoint = platform.register(version, b'{"a":1,"b":2}')
    assert await ask(endpoint.path("/get"), b"") == Answer(200, b'{"a":1,"b":2}')

    platform.configure(version, {"epmx": {"metadata-keys": {"a": {"write-enabled": False}}}})
    await until_answered(platform, endpoint.path("/update/keys"), 403, b'{"b":2}')
    assert await ask(endpoint.path("/get"), b"") == Answer(200, b'{"a":1}')
    assert error_of(await ask(endpoint.path("/delete/keys"), b'["a"]')) == (403, "a metadata key is not writable")

    platform.configure(version, {"epmx": {"metadata-keys": None}})
    await until_answered(platform, endpoint.path("/update/keys"), 200, b'{"b":2}')
    assert await ask(endpoint.path("/get"), b"") == Answer(200, b'{"a":1,"b":2}')


async def until_answered(platform: Platform, path: str, status_code: int, payload: bytes = b"") -> None:
    """Ask until that status comes, as a change reaches other services a moment later."""
    async with asyncio.timeout(PATIENCE):
        while platform.rest.post(f"/{path}", content=payload).status_code != status_code:
            await asyncio.sleep(0.01)


# HTTP alone


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("prefix", ["/", "/kpc/"])
def test_only_post_is_allowed(platform: Platform, endpoint: Endpoint, method: str, prefix: str) -> None:
    answer = platform.rest.request(method, prefix + endpoint.path("/get"), content=b"{}")
    assert error_of(Answer(answer.status_code, answer.content)) == (405, "only POST is allowed")
    assert answer.headers["Allow"] == "POST"


def test_head_is_not_allowed_either_and_has_no_body(platform: Platform, endpoint: Endpoint) -> None:
    answer = platform.rest.head("/" + endpoint.path("/get"))
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, "POST", b"")
    assert platform.rest.post("/" + endpoint.path("/get")).status_code == 200


@pytest.mark.parametrize("path", ["/kp1", "/kpc/kp2/a/b", "/kpc", "/kpc/", "/KP1/a/b/c", "/nothing"])
def test_a_path_that_is_none_of_1_kp_is_not_found(platform: Platform, path: str) -> None:
    assert platform.rest.post(path, content=b"{}").status_code == 404


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
def test_the_content_type_is_ignored(platform: Platform, endpoint: Endpoint, content_type: str) -> None:
    path, headers = "/" + endpoint.path("/get"), {"Content-Type": content_type}
    answer = platform.rest.post(path, content=b'{"keys":["a"]}', headers=headers)
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


def test_devices_find_the_same_below_the_prefix_of_kaa_s_ingress(platform: Platform, endpoint: Endpoint) -> None:
    answer = platform.rest.post("/kpc/" + endpoint.path("/get/7"), content=b"{}")
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


def test_a_device_needs_no_api_key(platform: Platform, endpoint: Endpoint) -> None:
    answer = httpx.post(platform.stack.http_url + "/" + endpoint.path("/get"), trust_env=False)
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


def test_a_body_of_unknown_length_is_taken_up_to_the_limit(platform: Platform, endpoint: Endpoint) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        for _ in range(size // 1024):
            yield b" " * 1024
        yield b" " * (size % 1024)

    path = "/" + endpoint.path("/get/keys")
    assert platform.rest.post(path, content=chunks(MAX_PAYLOAD)).status_code == 200
    too_large = platform.rest.post(path, content=chunks(MAX_PAYLOAD + 1))
    assert error_of(Answer(too_large.status_code, too_large.content))[0] == 413


# MQTT alone


async def test_a_refused_message_is_acknowledged_so_that_it_is_not_sent_again(
    platform: Platform, endpoint: Endpoint
) -> None:
    async with mqtt_device(platform) as device:
        for path in (endpoint.path("/nothing"), endpoint.path("/update"), "kp1/no-v1/epmx/t/get", "kp1/a"):
            (message,) = await device.publish(path, b"[]")
            assert message.topic == f"{path}/error"
            assert set(json.loads(message.payload)) == {"statusCode", "reasonPhrase"}


async def test_a_fault_of_one_request_leaves_those_beside_it_alone(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    good, bad = endpoint.path("/get/1"), endpoint.path("/update/2")
    async with mqtt_device(platform) as device:
        device.send(*(publish_packet(topic, b"", None) for _ in range(20) for topic in (good, bad)))
        messages = await received(device, 40)
    assert [message.topic for message in messages] == [f"{good}/status", f"{bad}/error"] * 20
    assert {message.payload for message in messages if message.topic == f"{good}/status"} == {b'{"a":1}'}


async def received(device: MqttDevice, count: int) -> list[Message]:
    return [await device.next_message() for _ in range(count)]
