from kaa_common.held import SMALL, Held


class Client:
    def __init__(self) -> None:
        self.size = 0
        self.is_ended = False

    def held(self) -> int:
        return self.size

    def let_go(self) -> None:
        self.size = 0
        self.is_ended = True


def held_by(clients: list[Client], size: int, most: int) -> Held:
    """All begin to hold as much, one after the other."""
    held = Held(most)
    for client in clients:
        client.size = size
        held.note(client)
    return held


def ended(clients: list[Client]) -> list[bool]:
    return [client.is_ended for client in clients]


def test_who_has_held_something_for_longest_lets_go_when_it_is_too_much() -> None:
    clients = [Client(), Client(), Client(), Client()]
    held_by(clients, 10_000, 20_000)
    assert ended(clients) == [True, True, False, False]


def test_holding_more_makes_nobody_younger() -> None:
    clients = [Client(), Client(), Client()]
    held = held_by(clients[:2], 10_000, 30_000)
    clients[0].size = 20_000
    held.note(clients[0])
    clients[2].size = SMALL + 1
    held.note(clients[2])
    assert ended(clients) == [True, False, False]


def test_who_holds_nothing_any_more_is_not_ended_though_nobody_was_told() -> None:
    clients = [Client(), Client(), Client()]
    held = held_by(clients[:2], 10_000, 20_000)
    clients[0].size = 0
    clients[2].size = 10_000
    held.note(clients[2])
    assert ended(clients) == [False, False, False]


def test_who_is_gone_or_has_finished_makes_room() -> None:
    clients = [Client(), Client(), Client(), Client()]
    held = held_by(clients[:2], 10_000, 20_000)
    held.forget(clients[0])
    clients[1].size = 0
    held.note(clients[1])
    for client in clients[2:]:
        client.size = 10_000
        held.note(client)
    assert ended(clients) == [False] * 4


def test_small_change_is_not_counted() -> None:
    clients = [Client() for _ in range(100)]
    held_by(clients, SMALL, 10_000)
    assert ended(clients) == [False] * 100


def test_one_that_holds_more_than_all_may_is_ended_itself() -> None:
    clients = [Client()]
    held_by(clients, 20_001, 20_000)
    assert ended(clients) == [True]
