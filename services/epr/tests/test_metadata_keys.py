import pytest

from epr import metadata_keys
from kaa_common.errors import NotFound

from .conftest import Replica, on_one_store


async def test_the_keys_of_an_application_are_told_by_version(epr: Replica) -> None:
    await epr.endpoint({"b": 1, "a": {"inner": 2}})
    endpoint = await epr.endpoint({"c": None})
    await epr.endpoint({"x": 1}, "toaster-v1")
    assert await epr.api.keys.of("kettle") == {"kettle-v1": ["a", "b", "c"], "kettle-v2": []}
    assert await epr.api.keys.of("toaster") == {"toaster-v1": ["x"]}
    await epr.register.change_metadata(endpoint.id, lambda _: {"d": 1})
    assert await epr.api.keys.of("kettle") == {"kettle-v1": ["a", "b", "d"], "kettle-v2": []}


@on_one_store
async def test_an_unknown_application_is_not_found(epr: Replica) -> None:
    with pytest.raises(NotFound):
        await epr.api.keys.of("unknown")


@on_one_store
async def test_those_of_a_large_application_are_used_again(epr: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_keys, "SMALL", 1)
    await epr.endpoint({"a": 1})
    assert (await epr.api.keys.of("kettle"))["kettle-v1"] == ["a"]
    await epr.endpoint({"b": 1})
    assert (await epr.api.keys.of("kettle"))["kettle-v1"] == ["a", "b"]
    await epr.endpoint({"c": 1})
    assert (await epr.api.keys.of("kettle"))["kettle-v1"] == ["a", "b"]


@on_one_store
async def test_only_so_many_keys_are_told(epr: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_keys, "MAX_KEYS", 2)
    await epr.endpoint({"a": 1, "b": 2, "c": 3})
    assert len((await epr.api.keys.of("kettle"))["kettle-v1"]) == 2
