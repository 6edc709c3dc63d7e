from typing import Any

import pytest

from epr.epmx import Change, Read, Whitelist, plan
from epr.metadata import Metadata
from kaa_common import jsontext
from kaa_common.errors import BadRequest, Forbidden, NotFound

EVERYTHING = Whitelist(None)
LISTED = Whitelist.of({"metadata-keys": {"model": {"write-enabled": False}, "room": {}, "level": None}})
HAS: Metadata = {"model": "BFG", "room": 7, "hidden": [1]}


def read(path: str, payload: bytes, whitelist: Whitelist = EVERYTHING, metadata: Metadata = HAS) -> Any:
    planned = plan(path, payload, whitelist)
    assert isinstance(planned, Read)
    return planned.answer(metadata)


def change(path: str, payload: bytes, whitelist: Whitelist = EVERYTHING, metadata: Metadata = HAS) -> Metadata:
    planned = plan(path, payload, whitelist)
    assert isinstance(planned, Change)
    return planned.operation(metadata)


@pytest.mark.parametrize("path", ["", "/", "/gets", "/get/", "get", "/get/keys/", "/update/key", "/delete", "/GET"])
def test_other_resource_paths_are_unknown(path: str) -> None:
    with pytest.raises(NotFound):
        plan(path, b"{}", EVERYTHING)


@pytest.mark.parametrize("payload", [b"", b"{}", b" {} "])
def test_get_without_keys_returns_all(payload: bytes) -> None:
    assert read("/get", payload) == HAS


def test_get_returns_the_keys_that_exist_of_those_asked_for() -> None:
    assert read("/get", b'{"keys":["room","unknown"]}') == {"room": 7}


def test_get_with_no_keys_returns_none() -> None:
    assert read("/get", b'{"keys":[]}') == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b" ",
        b"[]",
        b"null",
        b'"room"',
        b'{"keys":null}',
        b'{"keys":"room"}',
        b'{"keys":{"room":1}}',
        b'{"keys":["room","room"]}',
        b'{"keys":["a-b"]}',
        b'{"keys":[""]}',
        b'{"keys":[1]}',
        b'{"keys":[["a"]]}',
        b'{"keys":["room"],"more":1}',
        b'{"more":1}',
        b'{"Keys":[]}',
        b'{"keys":["room\\n"]}',
    ],
)
def test_get_refuses_what_the_schema_does_not_allow(payload: bytes) -> None:
    with pytest.raises(BadRequest):
        plan("/get", payload, EVERYTHING)


@pytest.mark.parametrize("payload", [b"", b"{}", b"not JSON"])
def test_get_keys_ignores_its_payload(payload: bytes) -> None:
    assert read("/get/keys", payload) == ["model", "room", "hidden"]


def test_update_replaces_all() -> None:
    assert change("/update", b'{"room":8,"new":null}') == {"room": 8, "new": None}


def test_update_keys_keeps_the_others() -> None:
    assert change("/update/keys", b'{"room":8,"new":null}') == {**HAS, "room": 8, "new": None}


@pytest.mark.parametrize("path", ["/update", "/update/keys"])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b'{"a-b":1}',
        b'{"":1}',
        b'{"a.b":1}',
        b'{"a":18446744073709551616}',
        b'{"a":"\\ud800"}',
        b'{"a":{"\\u0000":1}}',
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a":1e999}',
        b'{"a":01}',
    ],
)
def test_updates_refuse_what_the_schema_does_not_allow(path: str, payload: bytes) -> None:
    with pytest.raises(BadRequest):
        plan(path, payload, EVERYTHING)


def test_delete_keys_deletes_those_that_exist() -> None:
    assert change("/delete/keys", b'["room","unknown"]') == {"model": "BFG", "hidden": [1]}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[",
        b"[]",
        b"{}",
        b"null",
        b'"room"',
        b'["room","room"]',
        b'["a-b"]',
        b"[1]",
        b'[""]',
        b'[["a"]]',
        b"[null]",
    ],
)
def test_delete_keys_refuses_what_the_schema_does_not_allow(payload: bytes) -> None:
    with pytest.raises(BadRequest):
        plan("/delete/keys", payload, EVERYTHING)


@pytest.mark.parametrize("config", [{}, {"metadata-keys": None}, {"other": 1}])
def test_without_a_whitelist_everything_is_allowed(config: dict[str, Any]) -> None:
    assert Whitelist.of(config) == EVERYTHING


def test_an_empty_whitelist_allows_nothing() -> None:
    nothing = Whitelist.of({"metadata-keys": {}})
    assert read("/get", b"", nothing) == {}
    assert read("/get/keys", b"", nothing) == []
    with pytest.raises(Forbidden):
        plan("/update/keys", b'{"room":1}', nothing)


@pytest.mark.parametrize(
    "keys",
    [
        ["room"],
        "room",
        1,
        {"room": True},
        {"room": []},
        {"room": {"write-enabled": 0}},
        {"room": {"write-enabled": None}},
    ],
)
def test_a_whitelist_that_is_none_is_an_error_of_the_configuration(keys: Any) -> None:
    with pytest.raises(ValueError, match="metadata"):
        Whitelist.of({"metadata-keys": keys})


def test_keys_can_be_added_to_a_whitelist() -> None:
    assert LISTED.with_writable(["model", "new"]).allows_writing("model")
    assert LISTED.with_writable(["new"]).allows_reading("new")
    assert EVERYTHING.with_writable(["new"]) == EVERYTHING


def test_keys_that_are_not_listed_are_not_shown() -> None:
    assert read("/get", b"", LISTED) == {"model": "BFG", "room": 7}
    assert read("/get/keys", b"", LISTED) == ["model", "room"]


def test_a_listed_key_is_readable_whether_writable_or_not() -> None:
    assert read("/get", b'{"keys":["room","model","level"]}', LISTED) == {"model": "BFG", "room": 7}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/get", {"keys": ["room", "hidden"]}),
        ("/get", {"keys": ["unheard_of"]}),
        ("/update", {"room": 1, "hidden": 1}),
        ("/update", {"room": 1, "model": "BFG"}),
        ("/update/keys", {"room": 1, "hidden": 1}),
        ("/update/keys", {"room": 1, "model": "BFG"}),
        ("/delete/keys", ["room", "hidden"]),
        ("/delete/keys", ["room", "model"]),
    ],
)
def test_one_restricted_key_has_the_whole_request_refused(path: str, value: Any) -> None:
    with pytest.raises(Forbidden):
        plan(path, jsontext.dump(value), LISTED)


def test_update_leaves_keys_alone_that_it_may_not_write() -> None:
    assert change("/update", b'{"level":1}', LISTED) == {"model": "BFG", "hidden": [1], "level": 1}


def test_listed_keys_are_writable_unless_disabled() -> None:
    assert change("/update/keys", b'{"room":8,"level":1}', LISTED) == {**HAS, "room": 8, "level": 1}
    assert change("/delete/keys", b'["room"]', LISTED) == {"model": "BFG", "hidden": [1]}


def test_reasons_fit_into_the_packet_of_a_small_device() -> None:
    for path, payload in [("/x", b""), ("/get", b"{"), ("/get", b"[]"), ("/update", b'{"a-b":1}'), ("/update", b"{}")]:
        with pytest.raises((BadRequest, NotFound)) as refused:
            plan(path, payload, EVERYTHING)
        assert len(str(refused.value)) <= 80
