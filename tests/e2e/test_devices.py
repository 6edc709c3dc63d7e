"""10/EPMP as a device sees it: one table of requests and answers, over every transport, on every store."""

from dataclasses import dataclass

import pytest

from .conftest import Answer, Ask, Endpoint, Message, Platform, error_of, mqtt_device, publish_packet

BEFORE = b'{"model":"BFG 9000","mac":"00-14-22-01-23-45","level":3,"off":null}'
LEVEL_4 = b'{"model":"BFG 9000","mac":"00-14-22-01-23-45","level":4,"off":null,"room":""}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """The answer's payload, and the metadata afterwards."""

    payload: bytes = b""
    after: bytes = BEFORE


@dataclass(frozen=True, slots=True)
class Failure:
    """The status code and a part of the reason; nothing has changed afterwards."""

    status_code: int
    reason: str


BAD_JSON = Failure(400, "not valid JSON")
BAD_KEY = Failure(400, "a metadata key may hold only letters, digits and _")
NO_KEYS = Failure(400, "name at least one metadata key")
TWICE = Failure(400, "a metadata key is named twice")
NO_OBJECT = Failure(400, "metadata must be a JSON object")
NO_ARRAY = Failure(400, "metadata keys must be a JSON array of strings")
BAD_GET = Failure(400, 'send nothing, {} or {"keys": [...]}')
NO_RESOURCE = Failure(404, "unknown resource path")

REQUESTS: list[tuple[str, bytes, Success | Failure]] = [
    ("/get", b"", Success(payload=BEFORE)),
    ("/get", b"{}", Success(payload=BEFORE)),
    ("/get", b" \r\n\t{ } ", Success(payload=BEFORE)),
    ("/get", b'{"keys":["level","model"]}', Success(payload=b'{"level":3,"model":"BFG 9000"}')),
    ("/get", b'{"keys":["off"]}', Success(payload=b'{"off":null}')),
    ("/get", b'{"keys":["level","unheard_of"]}', Success(payload=b'{"level":3}')),
    ("/get", b'{"keys":[]}', Success(payload=b"{}")),
    ("/get", b"{", BAD_JSON),
    ("/get", b"get", BAD_JSON),
    ("/get", b" ", BAD_JSON),
    ("/get", b"[]", BAD_GET),
    ("/get", b"null", BAD_GET),
    ("/get", b'"model"', BAD_GET),
    ("/get", b'{"key":["model"]}', BAD_GET),
    ("/get", b'{"keys":["model"],"more":1}', BAD_GET),
    ("/get", b'{"keys":null}', NO_ARRAY),
    ("/get", b'{"keys":"model"}', NO_ARRAY),
    ("/get", b'{"keys":{"model":1}}', NO_ARRAY),
    ("/get", b'{"keys":["model","level","model"]}', TWICE),
    ("/get", b'{"keys":["mo-del"]}', BAD_KEY),
    ("/get", b'{"keys":[""]}', BAD_KEY),
    ("/get", b'{"keys":[1]}', BAD_KEY),
    ("/get", b'{"keys":[["model"]]}', BAD_KEY),
    ("/get/keys", b"", Success(payload=b'["model","mac","level","off"]')),
    ("/get/keys", b"{}", Success(payload=b'["model","mac","level","off"]')),
    ("/get/keys", b"this is ignored \xff\x00", Success(payload=b'["model","mac","level","off"]')),
    ("/update", b'{"model":"BFG 9000","room":{"a.b":[1]}}', Success(after=b'{"model":"BFG 9000","room":{"a.b":[1]}}')),
    ("/update", BEFORE, Success()),
    ("/update", b'{"_":0}', Success(after=b'{"_":0}')),
    (
        "/update/keys",
        b'{"level":4,"room":null}',
        Success(after=BEFORE.replace(b"3,", b"4,").replace(b"}", b',"room":null}')),
    ),
    ("/update/keys", b'{"level":3}', Success()),
    ("/delete/keys", b'["mac","off"]', Success(after=b'{"model":"BFG 9000","level":3}')),
    ("/delete/keys", b'["unheard_of"]', Success()),
    ("/delete/keys", b'["model","mac","level","off"]', Success(after=b"{}")),
    ("/delete/keys", b"", BAD_JSON),
    ("/delete/keys", b"[", BAD_JSON),
    ("/delete/keys", b"[]", NO_KEYS),
    ("/delete/keys", b"{}", NO_ARRAY),
    ("/delete/keys", b'{"keys":["mac"]}', NO_ARRAY),
    ("/delete/keys", b'"mac"', NO_ARRAY),
    ("/delete/keys", b"null", NO_ARRAY),
    ("/delete/keys", b'["mac","mac"]', TWICE),
    ("/delete/keys", b'["mac","off","unheard_of","off"]', TWICE),
    ("/delete/keys", b'["mac",""]', BAD_KEY),
    ("/delete/keys", b'["mac",1]', BAD_KEY),
    ("/delete/keys", b'["mac","a.b"]', BAD_KEY),
    ("", b"{}", Failure(400, "no resource after the token")),
    ("/", b"{}", Failure(400, "path has an empty level")),
    ("//get", b"{}", Failure(400, "path has an empty level")),
    ("/put", b"{}", NO_RESOURCE),
    ("/GET", b"{}", NO_RESOURCE),
    ("/delete", b'["mac"]', NO_RESOURCE),
    ("/get/keys/all", b"", NO_RESOURCE),
    ("/get\N{SNOWMAN}", b"", NO_RESOURCE),
]
MALFORMED_MEMBERS: list[tuple[bytes, Failure]] = [
    (b"", BAD_JSON),
    (b"{", BAD_JSON),
    (b'{"level":4,}', BAD_JSON),
    (b"{'level':4}", BAD_JSON),
    (b"[]", NO_OBJECT),
    (b"null", NO_OBJECT),
    (b"3", NO_OBJECT),
    (b'"level"', NO_OBJECT),
    (b"{}", NO_KEYS),
    (b'{"level":4,"":1}', BAD_KEY),
    (b'{"level":4,"a.b":1}', BAD_KEY),
    (b'{"level":4,"$set":1}', BAD_KEY),
    (b'{"level":4,"a b":1}', BAD_KEY),
    (b'{"level":4,"level\\n":1}', BAD_KEY),
    (b'{"level":4,"\xc3\xa9":1}', BAD_KEY),
]
REQUESTS += [
    (resource, payload, failure) for resource in ("/update", "/update/keys") for payload, failure in MALFORMED_MEMBERS
]


@pytest.fixture(scope="module")
def unchanged(platform: Platform) -> Endpoint:
    """An endpoint for all requests that change nothing."""
    return platform.register(metadata=BEFORE)


@pytest.mark.parametrize(("resource", "payload", "expected"), REQUESTS)
async def test_a_request_is_answered_as_10_epmp_says(
    platform: Platform, unchanged: Endpoint, ask: Ask, resource: str, payload: bytes, expected: Success | Failure
) -> None:
    changes = isinstance(expected, Success) and expected.after != BEFORE
    endpoint = platform.register(metadata=BEFORE) if changes else unchanged
    await check(platform, ask, endpoint, resource, payload, expected, before=BEFORE)


FOUR_KEYS = b'{"model":"BFG 9000","room":7,"level":3,"hidden":[1]}'
WHITELIST = {"metadata-keys": {"model": {"write-enabled": False}, "room": {}, "level": None, "new": {}}}
NOT_READABLE = Failure(403, "a metadata key is not readable")
NOT_WRITABLE = Failure(403, "a metadata key is not writable")

RESTRICTED_REQUESTS: list[tuple[str, bytes, Success | Failure]] = [
    ("/get", b"", Success(payload=b'{"model":"BFG 9000","room":7,"level":3}', after=FOUR_KEYS)),
    ("/get", b'{"keys":["level","model"]}', Success(payload=b'{"level":3,"model":"BFG 9000"}', after=FOUR_KEYS)),
    ("/get", b'{"keys":["level","new"]}', Success(payload=b'{"level":3}', after=FOUR_KEYS)),
    ("/get", b'{"keys":["hidden"]}', NOT_READABLE),
    ("/get", b'{"keys":["model","unheard_of"]}', NOT_READABLE),
    ("/get/keys", b"", Success(payload=b'["model","room","level"]', after=FOUR_KEYS)),
    ("/update", b'{"room":8,"new":1}', Success(after=b'{"model":"BFG 9000","hidden":[1],"room":8,"new":1}')),
    ("/update", b'{"model":"BFG 9000"}', NOT_WRITABLE),
    ("/update", b'{"room":8,"hidden":2}', NOT_WRITABLE),
    ("/update", b'{"room":8,"unheard_of":2}', NOT_WRITABLE),
    ("/update/keys", b'{"room":8}', Success(after=FOUR_KEYS.replace(b"7", b"8"))),
    ("/update/keys", b'{"room":8,"model":"BFG 10000"}', NOT_WRITABLE),
    ("/update/keys", b'{"hidden":2}', NOT_WRITABLE),
    ("/update/keys", b'{"unheard_of":2}', NOT_WRITABLE),
    ("/delete/keys", b'["room","level"]', Success(after=b'{"model":"BFG 9000","hidden":[1]}')),
    ("/delete/keys", b'["new"]', Success(after=FOUR_KEYS)),
    ("/delete/keys", b'["room","model"]', NOT_WRITABLE),
    ("/delete/keys", b'["hidden"]', NOT_WRITABLE),
    ("/delete/keys", b'["unheard_of"]', NOT_WRITABLE),
]


@pytest.fixture(scope="module")
def restricted_version(platform: Platform) -> str:
    """An application version of whose metadata keys devices may read three and write two."""
    return platform.new_app_version({"epmx": WHITELIST})


@pytest.mark.parametrize(("resource", "payload", "expected"), RESTRICTED_REQUESTS)
async def test_restricted_keys_are_left_out_and_refused_when_they_are_named(
    platform: Platform, restricted_version: str, ask: Ask, resource: str, payload: bytes, expected: Success | Failure
) -> None:
    endpoint = platform.register(restricted_version, FOUR_KEYS)
    await check(platform, ask, endpoint, resource, payload, expected, before=FOUR_KEYS)


async def check(
    platform: Platform,
    ask: Ask,
    endpoint: Endpoint,
    resource: str,
    payload: bytes,
    expected: Success | Failure,
    *,
    before: bytes,
) -> None:
    _, revision = platform.metadata_and_revision(endpoint)

    answer = await ask(endpoint.path(resource), payload)

    if isinstance(expected, Failure):
        status_code, reason = error_of(answer)
        assert status_code == expected.status_code
        assert expected.reason in reason
        after = before
    else:
        assert answer == Answer(200, expected.payload)
        after = expected.after
    assert platform.metadata_and_revision(endpoint) == (after, revision + (after != before))


async def test_an_answer_comes_without_a_subscription_and_once_with_overlapping_ones(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/0")
    answer = [Message(f"{topic}/status", b'{"a":1}', 1)]
    async with mqtt_device(platform) as device:
        assert await device.publish(topic, b"{}") == answer
        assert await device.settle() == []

        filters = ["#", "kp1/#", endpoint.path("/get/#"), endpoint.path("/get/+/status"), f"{topic}/status", topic]
        assert await device.subscribe(*filters) == []
        assert await device.publish(topic, b"{}") == answer
        assert await device.settle() == []


async def test_an_answer_reaches_the_connection_that_asked_and_no_other(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    async with mqtt_device(platform) as listener, mqtt_device(platform) as device:
        await listener.subscribe("#")
        assert len(await device.publish(endpoint.path("/get/1"), b"")) == 1
        assert await listener.settle() == []


async def test_a_publish_in_front_of_its_subscription_is_answered(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"a":1}')
    topic = endpoint.path("/get/99999")
    async with mqtt_device(platform) as device:
        device.send(publish_packet(topic, b"", None))
        messages = await device.subscribe(f"{topic}/+")
        assert messages or [await device.next_message()] == [Message(f"{topic}/status", b'{"a":1}', 0)]


async def test_every_request_id_that_4_esp_can_carry_is_answered_on_its_own_topic(platform: Platform) -> None:
    endpoint = platform.register()
    async with mqtt_device(platform) as device:
        for request_id in ("0", "00", "7", "0042", "99999", "2147483647"):
            topic = endpoint.path(f"/get/{request_id}")
            assert await device.publish(topic, b"") == [Message(f"{topic}/status", b"{}", 1)]


async def test_requests_of_a_device_happen_in_the_order_in_which_it_sent_them(platform: Platform) -> None:
    endpoint = platform.register()
    update, get = endpoint.path("/update/keys/1"), endpoint.path("/get/2")
    async with mqtt_device(platform) as device:
        for number in range(30):
            device.send(publish_packet(update, b'{"n":%d}' % number, None), publish_packet(get, b"", None))
            assert await device.next_message() == Message(f"{update}/status", b"", 0)
            assert await device.next_message() == Message(f"{get}/status", b'{"n":%d}' % number, 0)


async def test_a_message_outside_of_kp1_is_acknowledged_and_ignored(platform: Platform) -> None:
    endpoint = platform.register()
    async with mqtt_device(platform) as device:
        for topic in ("kp1", "kp2/a/b/c/d", f"/{endpoint.path('/get')}", "sensors/1", "$SYS/broker", "KP1/a/b/c"):
            assert await device.publish(topic, b"{}") == []
        assert await device.settle() == []
        assert len(await device.publish(endpoint.path("/get/1"), b"")) == 1
