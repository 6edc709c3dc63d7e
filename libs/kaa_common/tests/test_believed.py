from kaa_common.believed import Believed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_believed_for_as_long_as_it_is_kept() -> None:
    clock = Clock()
    believed = Believed[int](10, 5.0, clock)
    believed.keep("a", 1)

    clock.now = 4.9
    assert believed.get("a") == 1
    clock.now = 5.0
    assert believed.get("a") is None


def test_a_new_answer_takes_the_place_of_the_old_one_and_is_believed_anew() -> None:
    clock = Clock()
    believed = Believed[int](10, 5.0, clock)
    believed.keep("a", 1)
    clock.now = 4.0
    believed.keep("a", 2)

    clock.now = 8.0
    assert believed.get("a") == 2


def test_what_was_kept_first_makes_room() -> None:
    believed = Believed[int](2, 5.0)
    believed.keep("a", 1)
    believed.keep("b", 2)
    believed.keep("a", 3)
    believed.keep("c", 4)

    assert [believed.get(name) for name in "abc"] == [3, None, 4]


def test_nothing_is_believed_once_it_is_cleared() -> None:
    believed = Believed[int](2, 5.0)
    believed.keep("a", 1)
    believed.clear()
    assert believed.get("a") is None
