from kaa_common.budget import Budget


def budget(max_names: int = 10) -> Budget:
    return Budget(burst=3, per_second=0.5, max_names=max_names)


def test_a_burst_is_followed_by_what_comes_back() -> None:
    failures = budget()
    assert [failures.take("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [failures.take("a", 101.9), failures.take("a", 102.0), failures.take("a", 102.0)] == [False, True, False]


def test_no_more_than_the_burst_comes_back() -> None:
    failures = budget()
    failures.take("a", 0.0)
    assert [failures.take("a", 1_000_000.0) for _ in range(4)] == [True, True, True, False]


def test_names_do_not_share_a_budget() -> None:
    failures = budget()
    assert not [failures.take("a", 0.0) for _ in range(4)][-1]
    assert failures.take("b", 0.0)


def test_what_is_given_back_can_be_taken_again_and_never_exceeds_the_burst() -> None:
    failures = budget()
    for _ in range(3):
        failures.take("a", 0.0)
    failures.give_back("a", 0.0)
    assert [failures.take("a", 0.0), failures.take("a", 0.0)] == [True, False]
    for _ in range(9):
        failures.give_back("a", 0.0)
    assert [failures.take("a", 0.0) for _ in range(4)] == [True, True, True, False]


def test_only_so_many_names_are_kept_the_latest_ones() -> None:
    failures = budget(max_names=2)
    for name in ("old", "old", "old", "a", "b"):
        failures.take(name, 0.0)
    assert len(failures) == 2
    assert failures.take("old", 0.0)
    assert len(failures) == 2


def test_failures_at_the_same_time_beyond_what_was_left_are_a_debt() -> None:
    failures = budget()
    for _ in range(5):
        failures.spend("a", 0.0)
    assert failures.is_exhausted("a", 5.9)
    assert not failures.is_exhausted("a", 6.0)
    assert not failures.is_exhausted("b", 0.0)
