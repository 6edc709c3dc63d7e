from kpc.presence import NO_CHANGE, Change, Presence, Session


def session(connection_id: int, token_id: str = "token-1") -> Session:
    return Session(connection_id, "app-v1", token_id)


def test_an_endpoint_is_connected_by_its_first_message_only() -> None:
    presence = Presence()
    assert presence.identified("ep", session(1)) == Change(connected={"ep": "app-v1"})
    assert presence.identified("ep", session(1)) == NO_CHANGE


def test_another_token_on_the_same_connection_changes_nothing_for_others() -> None:
    presence = Presence()
    presence.identified("ep", session(1, "old"))
    assert presence.identified("ep", session(1, "new")) == NO_CHANGE
    assert presence.revoked("ep", ["old"]) == NO_CHANGE


def test_an_endpoint_that_comes_through_another_connection_has_left_the_first() -> None:
    presence = Presence()
    presence.identified("ep", session(1))
    change = presence.identified("ep", session(2))
    assert change == Change({"ep": "app-v1"}, {"ep": "app-v1"}, left_connection=1)
    assert presence.connection_ended(1) == NO_CHANGE


def test_all_endpoints_of_a_connection_go_at_once() -> None:
    presence = Presence()
    presence.identified("a", session(1))
    presence.identified("b", session(1))
    presence.identified("c", session(2))
    assert presence.connection_ended(1) == Change(disconnected={"a": "app-v1", "b": "app-v1"})
    assert presence.connection_ended(1) == NO_CHANGE


def test_a_revoked_token_ends_only_the_session_that_uses_it() -> None:
    presence = Presence()
    presence.identified("a", session(1, "token-a"))
    presence.identified("b", session(1, "token-b"))
    assert presence.revoked("a", ["token-a", "other"]) == Change(disconnected={"a": "app-v1"})
    assert presence.revoked("unknown", ["token-b"]) == NO_CHANGE
    assert presence.connection_ended(1) == Change(disconnected={"b": "app-v1"})


def test_nothing_is_kept_of_what_is_gone() -> None:
    presence = Presence()
    presence.identified("a", session(1))
    presence.identified("a", session(2))
    presence.revoked("a", ["token-1"])
    presence.connection_ended(2)
    assert not presence._sessions
    assert not presence._by_connection
