"""Where endpoints are: by itself, and on replicas that hear of each other late."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaa_common.errors import TooManyRequests
from kpc import presence as module
from kpc.presence import NO_CHANGE, SAY_VERSION_AFTER, TAKE_BACK_AFTER, Change, Listeners, Presence, Session


def session(connection_id: int, token_id: str = "token-1", version: str = "app-v1", qos: int = 0) -> Session:
    return Session(
        connection_id=connection_id,
        app_version_name=version,
        tenant_id="default",
        app_name="app",
        token=f"value of {token_id}",
        token_id=token_id,
        qos=qos,
    )


@pytest.fixture
def presence() -> Presence:
    return Presence("here")


def test_an_endpoint_is_connected_by_its_first_message_only(presence: Presence) -> None:
    assert presence.identified("ep", session(1), 0) == Change(connected={"ep": "app-v1"})
    assert presence.identified("ep", session(1), TAKE_BACK_AFTER) == NO_CHANGE
    assert presence.held() == {"ep": "app-v1"}


def test_an_endpoint_on_two_connections_is_connected_until_the_last_has_ended(presence: Presence) -> None:
    presence.identified("ep", session(1), 0)
    assert presence.identified("ep", session(2), 1) == Change(other_connections=(1,))
    assert presence.routes("ep") == (session(1), session(2))
    assert presence.connection_ended(1) == Change(ended_sessions=1)
    assert presence.routes("ep") == (session(2),)
    assert presence.connection_ended(2) == Change(disconnected={"ep": "app-v1"}, ended_sessions=1)
    assert presence.routes("ep") == ()


def test_all_endpoints_of_a_connection_go_at_once(presence: Presence) -> None:
    presence.identified("a", session(1), 0)
    presence.identified("b", session(1, version="app-v2"), 0)
    presence.identified("c", session(2), 0)
    assert presence.endpoints_of(1) == {"a", "b"}
    gone = presence.connection_ended(1)
    assert gone == Change(disconnected={"a": "app-v1", "b": "app-v2"}, ended_sessions=2)
    assert presence.connection_ended(1) == NO_CHANGE
    assert presence.endpoints_of(1) == frozenset()


def test_a_session_is_what_the_last_message_said_at_the_highest_qos_of_all(presence: Presence) -> None:
    presence.identified("ep", session(1, qos=1), 0)
    presence.identified("ep", session(1, "token-2", "app-v2", qos=0), 0)
    assert presence.routes("ep") == (session(1, "token-2", "app-v2", qos=1),)
    assert presence.tokens() == {("ep", "token-2")}


def test_another_application_version_is_said_at_once_on_a_new_connection_now_and_then_on_an_old_one(
    presence: Presence,
) -> None:
    presence.identified("ep", session(1), 0)
    assert presence.identified("ep", session(2, version="app-v2"), 1) == Change(
        {"ep": "app-v2"}, other_connections=(1,)
    )
    assert presence.identified("ep", session(2, version="app-v3"), 2) == NO_CHANGE
    assert presence.identified("ep", session(2, version="app-v3"), 1 + SAY_VERSION_AFTER) == Change({"ep": "app-v3"})
    assert presence.identified("ep", session(2, version="app-v3"), 9 + SAY_VERSION_AFTER) == NO_CHANGE
    assert presence.held() == {"ep": "app-v3"}


def test_a_revoked_token_ends_the_sessions_that_use_it_and_no_others(presence: Presence) -> None:
    presence.identified("a", session(1, "token-a"), 0)
    presence.identified("a", session(2, "token-a"), 0)
    presence.identified("a", session(3, "token-b"), 0)
    presence.identified("b", session(1, "token-c"), 0)
    assert presence.revoked("a", ["token-a", "other"]) == Change(ended_sessions=2)
    assert presence.sessions_of("a") == (session(3, "token-b"),)
    assert presence.revoked("a", ["token-b"]) == Change(disconnected={"a": "app-v1"}, ended_sessions=1)
    assert presence.revoked("unknown", ["token-c"]) == NO_CHANGE
    assert presence.connection_ended(1) == Change(disconnected={"b": "app-v1"}, ended_sessions=1)


def test_an_endpoint_that_moves_to_another_replica_is_not_routed_to_any_more_and_not_disconnected(
    presence: Presence,
) -> None:
    presence.identified("ep", session(1), 10)
    presence.connected_elsewhere(["ep", "unknown"], "there", 20, 20)
    assert presence.routes("ep") == ()
    assert presence.held() == {}
    assert presence.sessions_of("ep") == (session(1),)
    assert presence.connection_ended(1) == Change(ended_sessions=1)


def test_an_older_claim_of_another_replica_comes_too_late(presence: Presence) -> None:
    presence.identified("ep", session(1), 20)
    presence.connected_elsewhere(["ep"], "there", 19, 30)
    assert presence.routes("ep") == (session(1),)


def test_a_new_connection_takes_the_endpoint_back_an_old_one_does_not_at_once(presence: Presence) -> None:
    presence.identified("ep", session(1), 0)
    presence.connected_elsewhere(["ep"], "there", 1, 1)
    assert presence.identified("ep", session(1), TAKE_BACK_AFTER) == NO_CHANGE
    assert presence.identified("ep", session(2), 2) == Change({"ep": "app-v1"}, other_connections=(1,))
    assert presence.routes("ep") == (session(1), session(2))


def test_an_endpoint_that_goes_on_speaking_here_is_taken_back_after_a_while(presence: Presence) -> None:
    presence.identified("ep", session(1), 0)
    presence.connected_elsewhere(["ep"], "killed", 1, 1)
    assert presence.identified("ep", session(1), TAKE_BACK_AFTER + 1) == Change({"ep": "app-v1"})
    assert presence.routes("ep") == (session(1),)


def test_what_another_replica_says_is_gone_is_taken_back_if_it_is_still_here(presence: Presence) -> None:
    presence.identified("ep", session(1), 0)
    presence.connected_elsewhere(["ep"], "there", 1, 1)
    assert presence.disconnected_elsewhere(["ep", "unknown"], 2) == Change({"ep": "app-v1"})
    assert presence.routes("ep") == (session(1),)


def test_only_what_is_held_is_claimed_again(presence: Presence) -> None:
    for endpoint_id in ("held", "left"):
        presence.identified(endpoint_id, session(1), 0)
    presence.connected_elsewhere(["left"], "there", 1, 1)
    assert presence.claim_again(["held", "left", "unknown"], 7) == {"held": "app-v1"}
    presence.connected_elsewhere(["held"], "there", 6, 8)
    assert presence.routes("held")


def test_only_so_many_connections_of_an_endpoint_are_kept_the_latest(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS_OF_ENDPOINT", 2)
    for number in (1, 2, 3):
        presence.identified("ep", session(number), 0)
    assert presence.routes("ep") == (session(2), session(3))
    assert presence.connection_ended(1) == NO_CHANGE


def test_there_are_no_more_endpoints_on_a_connection_than_allowed(
    presence: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDPOINTS_OF_CONNECTION", 2)
    for endpoint_id in ("a", "b", "a"):
        presence.identified(endpoint_id, session(1), 0)
    with pytest.raises(TooManyRequests):
        presence.identified("c", session(1), 0)
    presence.identified("c", session(2), 0)


def test_nothing_is_kept_of_what_is_gone(presence: Presence) -> None:
    presence.identified("a", session(1), 0)
    presence.identified("a", session(2), 0)
    presence.revoked("a", ["token-1"])
    presence.identified("b", session(2), 0)
    presence.connection_ended(2)
    assert not presence._places
    assert not presence._by_connection


def test_no_token_is_shown() -> None:
    assert "value of" not in repr(session(1))


def test_an_endpoint_unaware_extension_is_heard_where_it_was_addressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEARD_ON_CONNECTION", 2)
    listeners = Listeners()
    listeners.heard("v1", "tsx", 1, 1)
    listeners.heard("v1", "tsx", 1, 0)
    listeners.heard("v1", "tsx", 2, 0)
    listeners.heard("v2", "tsx", 2, 0)
    assert listeners.of("v1", "tsx") == {1: 1, 2: 0}
    listeners.heard("v3", "tsx", 2, 0)
    assert (listeners.of("v1", "tsx"), listeners.of("v2", "tsx")) == ({1: 1}, {2: 0})
    for connection_id in (1, 2, 3):
        listeners.connection_ended(connection_id)
    assert not listeners._connections
    assert not listeners._by_connection


# Replicas


@dataclass
class Replica:
    """Reads what all replicas say in one order, at a pace and with a clock of its own."""

    name: str
    skew: int
    presence: Presence
    read: int = 0
    connections: list[int] = field(default_factory=list)


class Platform:
    """Replicas, one endpoint, and whoever listens to them."""

    def __init__(self, skews: list[int]) -> None:
        self.now = 1_000_000
        self.said: list[tuple[Replica, str, int]] = []
        self.replicas = [Replica(f"kpc-{n}", skew, Presence(f"kpc-{n}")) for n, skew in enumerate(skews)]
        self._ids = iter(range(1, 1_000_000))

    def connect(self, replica: Replica) -> None:
        replica.connections.append(next(self._ids))
        self.speak(replica)

    def speak(self, replica: Replica) -> None:
        if replica.connections:
            latest = session(replica.connections[-1])
            self._say(replica, replica.presence.identified("ep", latest, self.now + replica.skew))

    def end(self, replica: Replica) -> None:
        if replica.connections:
            self._say(replica, replica.presence.connection_ended(replica.connections.pop(0)))

    def hear(self, replica: Replica) -> bool:
        if replica.read == len(self.said):
            return False
        speaker, what, timestamp = self.said[replica.read]
        replica.read += 1
        here = self.now + replica.skew
        if speaker is replica:
            return True
        if what == "connected":
            replica.presence.connected_elsewhere(["ep"], speaker.name, timestamp, here)
        else:
            self._say(replica, replica.presence.disconnected_elsewhere(["ep"], here))
        return True

    def _say(self, replica: Replica, change: Change) -> None:
        for what, endpoints in (("disconnected", change.disconnected), ("connected", change.connected)):
            if endpoints:
                self.said.append((replica, what, self.now + replica.skew))


STEPS = st.lists(
    st.tuples(st.sampled_from(["connect", "end", "speak", "hear", "wait"]), st.integers(0, 2)), max_size=60
)


@settings(deadline=None)
@given(skews=st.lists(st.integers(-5000, 5000), min_size=3, max_size=3), steps=STEPS)
def test_whatever_replicas_hear_when_who_listens_ends_with_the_truth(
    skews: list[int], steps: list[tuple[str, int]]
) -> None:
    platform = Platform(skews)
    for step, number in steps:
        match step:
            case "wait":
                platform.now += (1, 1000, TAKE_BACK_AFTER)[number]
            case _:
                getattr(platform, step)(platform.replicas[number])
    for _ in range(300):
        for replica in platform.replicas:
            platform.hear(replica)
    assert {replica.read for replica in platform.replicas} == {len(platform.said)}, "they never stop talking"

    is_connected = any(replica.connections for replica in platform.replicas)
    told = platform.said[-1][1] if platform.said else "disconnected"
    assert told == ("connected" if is_connected else "disconnected")
    holders = Counter(bool(replica.presence.routes("ep")) for replica in platform.replicas)[True]
    assert holders >= 1 if is_connected else holders == 0
