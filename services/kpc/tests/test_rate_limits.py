import pytest

from kaa_common.errors import status_of
from kpc.rate_limits import RateExceeded, RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_taken_and_then_the_rate_and_whoever_has_too_much_is_told_how_long_to_wait() -> None:
    clock = Clock()
    limit = RateLimit("connection", 0.25, 10, clock)
    limit.count("1")
    with pytest.raises(RateExceeded) as refused:
        limit.count("1")
    assert status_of(refused.value) == (429, "too many messages of this connection, wait 4 s")
    assert refused.value.retry_after == 4
    limit.count("2")
    clock.now += 4
    limit.count("1")


def test_two_seconds_of_the_rate_may_come_at_once() -> None:
    limit = RateLimit("endpoint", 50.0, 10, Clock())
    for _ in range(100):
        limit.count("1")
    with pytest.raises(RateExceeded):
        limit.count("1")
