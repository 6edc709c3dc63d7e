"""How many messages a second somebody may send: what is over it is refused with 429, and says for how long."""

import math
import time
from collections.abc import Callable

from prometheus_client import Counter

from kaa_common.budget import Budget
from kaa_common.errors import TooManyRequests

BURST_SECONDS = 2.0
"""Seconds of the allowed rate that may come at once: devices send what they gathered while they were offline."""

RATE_LIMITED = Counter("kpc_rate_limited", "Messages over the rate of their connection or endpoint", ["whose"])


class RateExceeded(TooManyRequests):
    """Too many messages; `retry_after` are the seconds until there may be another."""

    def __init__(self, whose: str, retry_after: int) -> None:
        super().__init__(f"too many messages of this {whose}, wait {retry_after} s")
        self.retry_after = retry_after


class RateLimit:
    """The rates of many of one kind, as connections or endpoints."""

    def __init__(
        self, whose: str, per_second: float, max_names: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The `max_names` that spoke last are remembered; `clock` tells seconds."""
        self._whose = whose
        self._retry_after = math.ceil(1 / per_second)
        self._budget = Budget(
            burst=max(1, round(BURST_SECONDS * per_second)), per_second=per_second, max_names=max_names
        )
        self._clock = clock

    def count(self, name: str) -> None:
        """Another message of the name. Raises RateExceeded when that is one too many."""
        if not self._budget.take(name, self._clock()):
            RATE_LIMITED.labels(self._whose).inc()
            raise RateExceeded(self._whose, self._retry_after)
