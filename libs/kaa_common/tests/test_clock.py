import time

import pytest

from kaa_common import clock
from kaa_common.clock import Deadline, iso_timestamp, now_ms
from kaa_common.errors import DeadlineExceeded

NOW = 1_700_000_000_000


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: NOW)


def test_now_is_the_time_of_the_machine() -> None:
    assert abs(now_ms() - time.time() * 1000) < 1000


@pytest.mark.parametrize(
    ("unix_ms", "text"),
    [
        (1489750202643, "2017-03-17T11:30:02.643Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_999, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_a_timestamp_is_shown_as_the_rest_interfaces_do(unix_ms: int, text: str) -> None:
    assert iso_timestamp(unix_ms) == text


def test_the_deadline_of_a_message_is_its_timestamp_plus_its_timeout() -> None:
    assert Deadline.of(NOW - 100, 500, longest=60) == Deadline(NOW + 400)


@pytest.mark.parametrize(("timestamp", "timeout"), [(NOW, 0), (NOW, -5), (NOW, 10**15), (NOW + 10**12, 1), (0, 0)])
def test_no_deadline_or_a_far_one_is_cut(timestamp: int, timeout: int) -> None:
    assert Deadline.of(timestamp, timeout, longest=60) == Deadline(NOW + 60_000)


def test_the_time_left_is_never_negative() -> None:
    assert Deadline.after(1.5).remaining() == 1.5
    assert Deadline(NOW - 1).remaining() == 0


def test_no_time_left_is_not_passed_on_as_a_message_that_never_expires() -> None:
    assert Deadline(NOW + 1).remaining_ms() == 1
    for past in (Deadline(NOW), Deadline(NOW - 1)):
        with pytest.raises(DeadlineExceeded):
            past.remaining_ms()


def test_a_deadline_is_expired_from_its_moment_on() -> None:
    assert not Deadline(NOW + 1).expired
    assert Deadline(NOW).expired
