from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epr.connections import (
    KEPT_FOR_MS,
    MAX_CONNECTIONS,
    Connections,
    ConnectivityKeys,
    closed,
    holder,
    latest,
    opened,
)

KEYS = ConnectivityKeys(state="connected", state_ts="connectivity_ts")


@dataclass(frozen=True, slots=True)
class Said:
    """What a replica announced."""

    replica_id: str
    is_open: bool
    at: int


def heard(said: Iterable[Said]) -> Connections:
    connections: Connections = ()
    for it in said:
        connections = (opened if it.is_open else closed)(connections, it.replica_id, it.at)
    return connections


def written(said: Iterable[Said]) -> dict[str, Any]:
    return dict(KEYS.written({}, heard(said)))


@st.composite
def histories(draw: st.DrawFn) -> list[Said]:
    """What replicas announce as a device comes and goes: each opens and closes in turns, at times of its own."""
    said = []
    for replica_id in ("a", "b", "c"):
        times = draw(st.lists(st.integers(1, 50), max_size=4, unique=True))
        said += [Said(replica_id, number % 2 == 0, at * 10) for number, at in enumerate(sorted(times))]
    return said


@given(history=histories(), data=st.data())
def test_the_order_and_the_repetitions_of_what_is_announced_do_not_matter(
    history: list[Said], data: st.DataObject
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(history), max_size=5)) if history else []
    shuffled = data.draw(st.permutations([*history, *repeated]))
    in_order = heard(sorted(history, key=lambda it: it.at))
    assert holder(heard(shuffled)) == holder(in_order)
    assert written(shuffled).get("connected") == written(sorted(history, key=lambda it: it.at)).get("connected")


@given(history=histories())
def test_an_endpoint_is_held_by_the_replica_that_opened_last_if_it_has_not_closed_since(history: list[Said]) -> None:
    expected = None
    if opens := [it for it in history if it.is_open]:
        last = max(opens, key=lambda it: (it.at, it.replica_id))
        if not any(it.replica_id == last.replica_id and not it.is_open and it.at > last.at for it in history):
            expected = last.replica_id
    assert holder(heard(history)) == expected


@pytest.mark.parametrize(
    ("said", "is_connected", "since"),
    [
        ([Said("a", True, 1)], True, 1),
        ([Said("a", True, 1), Said("a", False, 2)], False, 2),
        ([Said("a", False, 2), Said("a", True, 1)], False, 2),
        ([Said("a", True, 1), Said("b", True, 2), Said("a", False, 3)], True, 2),
        ([Said("a", True, 1), Said("a", False, 3), Said("b", True, 2)], True, 2),
        ([Said("a", True, 1), Said("b", True, 2), Said("b", False, 3)], False, 3),
        ([Said("a", True, 1), Said("a", True, 3), Said("a", False, 2)], True, 3),
        ([Said("a", True, 1), Said("a", False, 2), Said("a", True, 3)], True, 3),
        ([Said("a", True, 1), Said("a", True, 3)], True, 1),
        ([Said("a", True, 3), Said("a", True, 1)], True, 1),
        ([Said("a", True, 1), Said("a", False, 2), Said("a", True, 2)], True, 2),
        ([Said("a", False, 5)], False, 5),
    ],
    ids=[
        "it came",
        "it went",
        "it went, heard in the wrong order",
        "it moved",
        "it moved, heard in the wrong order",
        "it moved and went, while the first replica has not noticed",
        "it came back, heard in the wrong order",
        "it came back",
        "it is announced again",
        "it is announced again, heard in the wrong order",
        "it came back within a millisecond",
        "nobody heard that it came",
    ],
)
def test_metadata_say_whether_an_endpoint_is_connected_and_since_when(
    said: list[Said], is_connected: bool, since: int
) -> None:
    assert written(said) == {"connected": is_connected, "connectivity_ts": since}


def test_what_was_said_long_ago_by_others_is_forgotten() -> None:
    connections = heard([Said("a", True, 1), Said("b", True, 2), Said("c", True, 1 + KEPT_FOR_MS)])
    assert [known.replica_id for known in connections] == ["c", "b"]


def test_no_more_replicas_are_remembered_than_there_may_be() -> None:
    connections = heard(Said(f"replica-{at}", True, at) for at in range(1, 50))
    assert len(connections) == MAX_CONNECTIONS
    assert holder(connections) == "replica-49"


def test_the_holder_is_not_forgotten_for_others_that_close() -> None:
    connections = heard([Said("a", True, 100), *(Said(f"b{number}", False, 101 + number) for number in range(50))])
    assert holder(connections) == "a"
    assert len(connections) == MAX_CONNECTIONS


def test_nothing_said_is_nothing_written() -> None:
    assert KEYS.written({}, ()) == {}
    assert latest(()) is None


def test_a_key_that_is_not_configured_is_not_written() -> None:
    connections = heard([Said("a", True, 1)])
    assert ConnectivityKeys(state="online").written({"x": 1}, connections) == {"x": 1, "online": True}
    assert ConnectivityKeys(state_ts="at").written({}, connections) == {"at": 1}


def test_metadata_that_say_it_already_stay_themselves() -> None:
    metadata = {"connected": True, "connectivity_ts": 1}
    assert KEYS.written(metadata, heard([Said("a", True, 1)])) is metadata


@pytest.mark.parametrize(
    "lookalike", [{"connected": 1, "connectivity_ts": 1}, {"connected": True, "connectivity_ts": 1.0}]
)
def test_what_is_another_value_in_json_is_written(lookalike: dict[str, Any]) -> None:
    assert repr(KEYS.written(lookalike, heard([Said("a", True, 1)]))) == repr({"connected": True, "connectivity_ts": 1})


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({}, ConnectivityKeys()),
        ({"connectivity": None}, ConnectivityKeys()),
        ({"connectivity": {"metadata-keys": None, "time-series": {"name": "online"}}}, ConnectivityKeys()),
        ({"connectivity": {"metadata-keys": {"state": "s", "state-ts": None}}}, ConnectivityKeys(state="s")),
        (
            {"connectivity": {"metadata-keys": {"state": "connected", "state-ts": "connectivity_ts"}}},
            KEYS,
        ),
    ],
)
def test_the_keys_are_those_of_the_configuration(config: dict[str, Any], keys: ConnectivityKeys) -> None:
    assert ConnectivityKeys.of(config) == keys


@pytest.mark.parametrize(
    "config",
    [
        {"connectivity": 1},
        {"connectivity": {"metadata-keys": []}},
        {"connectivity": {"metadata-keys": {"state": 1}}},
        {"connectivity": {"metadata-keys": {"state": "a.b"}}},
    ],
)
def test_malformed_keys_are_told(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"object|letters"):
        ConnectivityKeys.of(config)
