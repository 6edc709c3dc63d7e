from kaa_common.recent import Recent


def test_what_was_put_in_lately_is_kept() -> None:
    recent: Recent[int, str] = Recent(10)
    for number in range(100):
        recent.put(number, f"value {number}")
        kept = [recent.get(earlier) for earlier in range(max(0, number - 4), number + 1)]
        assert kept == [f"value {earlier}" for earlier in range(max(0, number - 4), number + 1)]
        assert sum(recent.get(earlier) is not None for earlier in range(number + 1)) <= 10


def test_sizes_together_stay_within_the_limit() -> None:
    sizes = [3, 1, 5, 5, 2, 4, 1, 1, 5, 3, 2]
    recent: Recent[int, int] = Recent(10)
    for number, size in enumerate(sizes):
        recent.put(number, size, size)
        assert sum(recent.get(earlier) or 0 for earlier in range(number + 1)) <= 10


def test_a_key_that_is_put_in_again_has_its_new_value_and_takes_one_place() -> None:
    recent: Recent[str, int] = Recent(4)
    recent.put("other", 0)
    for number in range(100):
        recent.put("key", number)
    assert (recent.get("key"), recent.get("other")) == (99, 0)


def test_what_is_taken_out_leaves_its_place() -> None:
    recent: Recent[str, int] = Recent(4)
    recent.put("other", 0)
    for number in range(100):
        recent.put("key", number)
        assert recent.pop("key") == number
    assert (recent.pop("key"), recent.get("key"), recent.get("other")) == (None, None, 0)


def test_what_has_grown_old_can_be_taken_out_and_put_in_again() -> None:
    recent: Recent[int, str] = Recent(4)
    for number in range(4):
        recent.put(number, "first")
    recent.put(0, "second")
    assert (recent.pop(0), recent.get(0)) == ("second", None)


def test_nothing_is_left_when_it_is_cleared() -> None:
    recent: Recent[int, str] = Recent(4)
    for number in range(4):
        recent.put(number, "value")
    recent.clear()
    assert [recent.get(number) for number in range(4)] == [None] * 4


def test_what_is_too_large_is_not_kept() -> None:
    recent: Recent[str, str] = Recent(10)
    recent.put("small", "value", 5)
    recent.put("large", "value", 6)
    assert (recent.get("small"), recent.get("large")) == ("value", None)
