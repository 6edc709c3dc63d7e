from typing import Any

import pytest

from kaa_common.errors import BadRequest
from tekton.configuration import checked, configuration_path, merged, nested, tenant_in, tenant_path, unnested

# RFC 7396, appendix A: original, patch, result
RFC_7396_CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_CASES)
def test_merging_follows_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


def test_merging_leaves_its_arguments_alone() -> None:
    target = {"a": {"b": 1}}
    merged(target, {"a": {"b": 2}})
    assert target == {"a": {"b": 1}}


def test_what_is_nested_is_unnested() -> None:
    configurations = {"kpc": {"allowed-extension-instances": ["epmx"]}, "epmx": None}
    body = nested(configurations, configuration_path("app", "app-v1"))
    assert body["kpc"] == {
        "kaa": {"applications": {"app": {"versions": {"app-v1": {"allowed-extension-instances": ["epmx"]}}}}}
    }
    assert unnested(body, configuration_path("app", "app-v1")) == configurations


def test_the_configuration_of_a_tenant_is_nested_as_kaa_has_it() -> None:
    body = nested({"kpc": {"transports": {}}}, tenant_path("acme"))
    assert body == {"kpc": {"kaa": {"tenants": {"acme": {"config": {"transports": {}}}}}}}
    assert tenant_in(body) == "acme"
    assert unnested(body, tenant_path("acme")) == {"kpc": {"transports": {}}}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "kpc",
        {},
        {"kpc": None},
        {"kpc": {}},
        {"kpc": {"kaa": {"applications": {"other": {"versions": {"app-v1": {}}}}}}},
        {"kpc": {"kaa": {"applications": {"app": {"versions": {"app-v2": {}}}}}}},
        {"kpc": {"kaa": {"applications": {"app": {"versions": {"app-v1": {}, "app-v2": {}}}}}}},
        {"kpc.*": {"kaa": {"applications": {"app": {"versions": {"app-v1": {}}}}}}},
    ],
)
def test_a_body_of_another_form_or_about_another_version_is_refused(body: Any) -> None:
    with pytest.raises(BadRequest):
        unnested(body, configuration_path("app", "app-v1"))


@pytest.mark.parametrize("configuration", [[], "text", 1, True])
def test_a_configuration_that_is_no_object_is_refused(configuration: Any) -> None:
    with pytest.raises(BadRequest):
        checked({"kpc": configuration})
