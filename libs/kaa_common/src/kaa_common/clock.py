"""Wall-clock time in the units of the wire, and the deadline that every request carries (3/ISM)."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from kaa_common.errors import DeadlineExceeded


def now_ms() -> int:
    """UNIX time in milliseconds."""
    return time.time_ns() // 1_000_000


def iso_timestamp(unix_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as the REST interfaces show time: `2017-03-17T11:30:02.643Z`."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """The moment, in UNIX milliseconds, after which nobody waits for the result any more."""

    at_ms: int

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(now_ms() + round(seconds * 1000))

    @classmethod
    def of(cls, timestamp: int, timeout: int, *, longest: float) -> "Deadline":
        """The deadline of a received message; none (`timeout` 0) and far ones are cut to `longest` seconds."""
        latest = cls.after(longest)
        return latest if timeout <= 0 else min(cls(timestamp + timeout), latest)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, (self.at_ms - now_ms()) / 1000)

    def remaining_ms(self) -> int:
        """Milliseconds left as a message's `timeout`: at least 1, as 0 means that a message never expires.

        Raises DeadlineExceeded when none are left.
        """
        left = self.at_ms - now_ms()
        if left <= 0:
            raise DeadlineExceeded("no time left to ask another service")
        return left

    @property
    def expired(self) -> bool:
        return now_ms() >= self.at_ms
