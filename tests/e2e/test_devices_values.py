"""Every JSON value survives every way into the register and out of it; what could not is refused with a reason.

Texts are compared, not what some parser makes of them: 1, 1.0 and true are three values, 0.0 and -0.0 are two.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import Answer, Endpoint, Message, Platform, error_of, metadata_url, mqtt_device

MAX_BYTES, MAX_KEYS, MAX_DEPTH = 256 * 1024, 512, 32


def nested(levels: int) -> bytes:
    """Arrays and objects by turns."""
    opening = b"".join(b"[" if level % 2 else b'{"":' for level in range(levels))
    closing = b"".join(b"]" if level % 2 else b"}" for level in reversed(range(levels)))
    return opening + b"null" + closing


VALUES = [
    b"null",
    b"true",
    b"false",
    b"0",
    b"1",
    b"1.0",
    b"-1",
    b"0.0",
    b"-0.0",
    b"2147483647",
    b"2147483648",
    b"-2147483649",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"0.1",
    b"0.30000000000000004",
    b"3.141592653589793",
    b"1e+16",
    b"1e+308",
    b"1.7976931348623157e+308",
    b"-1.7976931348623157e+308",
    b"2.2250738585072014e-308",
    b"5e-324",
    b'""',
    b'" "',
    b'"null"',
    b'"18446744073709551616"',
    b'"\\u0000"',
    b'"\\u001f\\"\\\\/\\b\\f\\n\\r\\t"',
    '"\N{SNOWMAN}\N{GRINNING FACE}\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}\u2028\ufeff\uffff"'.encode(),
    b'"$ref"',
    b"[]",
    b"{}",
    b"[[],{},[[]],[null],[{}]]",
    b'[1,1.0,true,"1",null]',
    b'{"":""}',
    b'{"a.b":{"c.d":[{"e.f":0}]},"a":{"b":1}}',
    b'{".":1,"..":2,"a.":3,".a":4}',
    b'{"$ref":"endpoints","$id":"1"}',
    b'{"$ref":"endpoints","$id":"1","$db":"kaa"}',
    b'{"$id":1,"$ref":2}',
    b'{"$where":"sleep(1000)","$set":{"a":1},"$":0,"$$ROOT":0}',
    b'{"$oid":"0123456789abcdef01234567"}',
    b'{"$date":{"$numberLong":"1"}}',
    b'{"$numberDecimal":"1"}',
    b'{"_id":1,"revision":2,"key":"a","value":"b","outbox":[]}',
    b'{"0":"a","1":"b","-1":"c"}',
    b'{"z":1,"a":2,"m":{"z":1,"a":2}}',
    '{"\N{GRINNING FACE}":{"\N{SNOWMAN}":"é"}}'.encode(),
    b'{"__proto__":1,"constructor":{"prototype":2}}',
    b'{"a b":1,"a\\nb":2,"a\\u0001b":3,"\\"":4}',
    b'"' + b"x" * 60_000 + b'"',
    b"[" + b",".join(b"%d" % number for number in range(10_000)) + b"]",
    nested(MAX_DEPTH - 1),
]


def json_id(value: bytes) -> str:
    return value[:30].decode(errors="replace").encode("unicode_escape").decode()


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Endpoint:
    """One whose metadata every test sets to what it needs."""
    return platform.register()


@pytest.mark.parametrize("value", VALUES, ids=json_id)
async def test_a_value_comes_out_as_it_went_in(platform: Platform, endpoint: Endpoint, value: bytes) -> None:
    whole = b'{"v":' + value + b"}"
    get = endpoint.path("/get/1")
    async with mqtt_device(platform) as device:

        async def check_what_comes_out() -> None:
            assert await device.publish(get, b'{"keys":["v"]}') == [Message(f"{get}/status", whole, 1)]
            assert platform.rest.post(f"/{endpoint.path('/get')}").content == whole
            assert platform.metadata(endpoint) == whole
            assert platform.rest.get(metadata_url(endpoint, "v")).content == value

        platform.rest.put(metadata_url(endpoint), content=b"{}").raise_for_status()
        assert await device.publish(endpoint.path("/update/keys"), whole) == []
        await check_what_comes_out()

        platform.rest.put(metadata_url(endpoint), content=b"{}").raise_for_status()
        platform.rest.put(metadata_url(endpoint, "v"), content=value).raise_for_status()
        await check_what_comes_out()


@pytest.mark.parametrize("value", VALUES, ids=json_id)
def test_a_patch_keeps_a_value_as_it_is(platform: Platform, value: bytes) -> None:
    endpoint = platform.register(metadata=b'{"v":' + value + b"}")
    patch = b'[{"op":"copy","from":"/v","path":"/copied"},{"op":"add","path":"/added","value":' + value + b"}]"
    platform.rest.patch(metadata_url(endpoint), content=patch).raise_for_status()
    assert platform.metadata(endpoint) == b'{"v":' + value + b',"copied":' + value + b',"added":' + value + b"}"


@pytest.mark.parametrize(
    ("before", "after"), [(b"1", b"1.0"), (b"1", b"true"), (b"0.0", b"-0.0"), (b"0", b"false"), (b'"1"', b"1")]
)
def test_values_that_some_would_call_equal_are_a_change(platform: Platform, before: bytes, after: bytes) -> None:
    endpoint = platform.register(metadata=b'{"v":[' + before + b"]}")
    _, revision = platform.metadata_and_revision(endpoint)
    for _ in range(2):  # the second time nothing changes
        assert platform.rest.post(f"/{endpoint.path('/update')}", content=b'{"v":[' + after + b"]}").status_code == 200
        assert platform.metadata_and_revision(endpoint) == (b'{"v":[' + after + b"]}", revision + 1)


STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MEMBER_NAMES = st.sampled_from(["", "a.b", "$ref", "$id", "$set", "_id", "v"]) | STRINGS.map(
    lambda name: name.replace("\0", "")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STRINGS
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda values: st.lists(values, max_size=5) | st.dictionaries(MEMBER_NAMES, values, max_size=5),
    max_leaves=20,
)


@settings(max_examples=25, deadline=None)
@given(metadata=st.dictionaries(st.from_regex("[a-zA-Z0-9_]+", fullmatch=True), JSON_VALUES, min_size=1, max_size=8))
def test_any_metadata_comes_out_as_it_went_in(platform: Platform, metadata: dict[str, Any]) -> None:
    endpoint = platform.register()
    answer = platform.rest.post(f"/{endpoint.path('/update')}", content=json.dumps(metadata))
    assert (answer.status_code, answer.content) == (200, b"")
    for read in (platform.metadata(endpoint), platform.rest.post(f"/{endpoint.path('/get')}").content):
        # The text of a number is not unique (1e5, 100000.0); repr tells apart whatever is not the same value.
        assert repr(json.loads(read)) == repr(metadata)


REFUSED = [
    (b"18446744073709551616", "JSON has an integer beyond 64 bits"),
    (b"-9223372036854775809", "JSON has an integer beyond 64 bits"),
    (b"[1,[100000000000000000000000000000]]", "JSON has an integer beyond 64 bits"),
    (b"1" * 300, "JSON has an integer beyond 64 bits"),
    (b"1" * 5000, "not valid JSON"),
    (b"1e309", "not valid JSON"),
    (b"-1e999999", "not valid JSON"),
    (b"NaN", "not valid JSON"),
    (b"Infinity", "not valid JSON"),
    (b"-Infinity", "not valid JSON"),
    (b'"\\ud800"', "not valid JSON"),
    (b'"\\udc00\\ud800"', "not valid JSON"),
    (b'{"\\ud83d":1}', "not valid JSON"),
    (b'"\xed\xa0\x80"', "not valid JSON"),
    (b'"\xff"', "not valid JSON"),
    (b'"\xc0\x80"', "not valid JSON"),
    (b'{"a\\u0000b":1}', "JSON has a key with a NUL character"),
    (b'[{"":{"\\u0000":1}}]', "JSON has a key with a NUL character"),
    (nested(MAX_DEPTH + 1), "JSON is nested too deeply"),
    (nested(200), "JSON is nested too deeply"),
    (b"[" * 200 + b"]" * 200, "JSON is nested too deeply"),
    (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'"a\nb"', "not valid JSON"),
    (b'"\x00"', "not valid JSON"),
    (b'"\\x"', "not valid JSON"),
    (b"01", "not valid JSON"),
    (b"+1", "not valid JSON"),
    (b".5", "not valid JSON"),
    (b"1.", "not valid JSON"),
    (b"0x10", "not valid JSON"),
    (b"'a'", "not valid JSON"),
    (b"[1,]", "not valid JSON"),
    (b"{a:1}", "not valid JSON"),
    (b"nul", "not valid JSON"),
    (b"1 2", "not valid JSON"),
    (b"1//", "not valid JSON"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=[json_id(value) for value, _ in REFUSED])
async def test_what_cannot_be_kept_exactly_is_refused_and_changes_nothing(
    platform: Platform, endpoint: Endpoint, value: bytes, reason: str
) -> None:
    before = platform.metadata_and_revision(endpoint)
    whole = b'{"v":' + value + b"}"

    async with mqtt_device(platform) as device:
        for path in (endpoint.path("/update"), endpoint.path("/update/keys")):
            (message,) = await device.publish(path, whole)
            assert message.topic == f"{path}/error"
            answer = platform.rest.post(f"/{path}", content=whole)
            assert (answer.status_code, answer.content) == (400, message.payload)
            assert reason in error_of(Answer(400, message.payload))[1]
        patch = b'[{"op":"add","path":"/v","value":' + value + b"}]"
        registration = b'{"appVersion":{"name":"%s"},"metadata":%s}' % (endpoint.app_version.encode(), whole)
        for refused in (
            platform.rest.put(metadata_url(endpoint), content=whole),
            platform.rest.put(metadata_url(endpoint, "v"), content=value),
            platform.rest.patch(metadata_url(endpoint), content=patch),
            platform.rest.post("/epr/api/v1/endpoints", content=registration),
        ):
            assert refused.status_code == 400
            assert reason in refused.json()["message"]
        assert len(await device.publish(endpoint.path("/get/1"), b"")) == 1
    assert platform.metadata_and_revision(endpoint) == before


async def test_metadata_of_the_largest_size_is_kept_and_one_byte_more_refused(platform: Platform) -> None:
    largest = b'{"v":"' + b"x" * (MAX_BYTES - 8) + b'"}'
    endpoint = platform.register()
    topic = endpoint.path("/get/1")
    async with mqtt_device(platform) as device:
        assert await device.publish(endpoint.path("/update"), largest) == []
        assert await device.publish(topic, b"") == [Message(f"{topic}/status", largest, 1)]
        assert platform.metadata(endpoint) == largest

        path = endpoint.path("/update/keys/2")
        assert await device.publish(path, b'{"v":"' + b"y" * (MAX_BYTES - 8) + b'"}') == [
            Message(f"{path}/status", b"", 1)
        ]
        (refused,) = await device.publish(path, b'{"w":1}')
        assert error_of(Answer(413, refused.payload))[1] == f"metadata may have at most {MAX_BYTES} bytes"
    assert platform.metadata(endpoint) == largest.replace(b"x", b"y")
    for status_code, size in ((204, MAX_BYTES), (413, MAX_BYTES + 1)):
        content = b'{"v":"' + b"z" * (size - 8) + b'"}'
        assert platform.rest.put(metadata_url(endpoint), content=content).status_code == status_code


async def test_metadata_of_the_most_keys_is_kept_and_one_key_more_refused(platform: Platform) -> None:
    most = b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(MAX_KEYS)) + b"}"
    endpoint = platform.register()
    topic = endpoint.path("/get/1")
    async with mqtt_device(platform) as device:
        assert await device.publish(endpoint.path("/update"), most) == []
        assert await device.publish(topic, b"") == [Message(f"{topic}/status", most, 1)]
        (refused,) = await device.publish(endpoint.path("/update/keys"), b'{"one_more":1}')
        assert error_of(Answer(413, refused.payload))[1] == f"metadata may have at most {MAX_KEYS} keys"
    assert platform.metadata(endpoint) == most
    assert platform.rest.put(metadata_url(endpoint, "one_more"), content=b"1").status_code == 413


async def test_a_value_one_level_deeper_than_allowed_is_refused(platform: Platform, endpoint: Endpoint) -> None:
    before = platform.metadata_and_revision(endpoint)
    whole = b'{"v":' + nested(MAX_DEPTH) + b"}"
    assert platform.rest.post(f"/{endpoint.path('/update')}", content=whole).status_code == 400
    assert platform.rest.put(metadata_url(endpoint), content=whole).status_code == 400
    assert platform.rest.put(metadata_url(endpoint, "v"), content=nested(MAX_DEPTH)).status_code == 400
    # A patch may be as deep by itself; it is its result that may not.
    patch = b'[{"op":"add","path":"/v","value":' + nested(MAX_DEPTH) + b"}]"
    assert platform.rest.patch(metadata_url(endpoint), content=patch).status_code == 422
    assert platform.metadata_and_revision(endpoint) == before


def test_metadata_is_kept_in_the_order_in_which_its_keys_came(platform: Platform) -> None:
    endpoint = platform.register(metadata=b'{"z":1,"a":2,"m":3}')
    path = f"/{endpoint.path('/update/keys')}"
    assert platform.rest.post(path, content=b'{"b":4,"a":5}').status_code == 200
    assert platform.metadata(endpoint) == b'{"z":1,"a":5,"m":3,"b":4}'


def test_of_a_member_that_is_there_twice_the_last_one_counts(platform: Platform) -> None:
    endpoint = platform.register()
    assert platform.rest.post(f"/{endpoint.path('/update')}", content=b'{"v":1,"v":{"a":1,"a":2}}').status_code == 200
    assert platform.metadata(endpoint) == b'{"v":{"a":2}}'
