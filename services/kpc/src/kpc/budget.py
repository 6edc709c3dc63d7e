"""A budget that is spent and slowly comes back (token bucket): how guessing at endpoint tokens is kept slow [pure]."""

from collections.abc import Callable


class Budget:
    """At most `capacity` units, `per_second` of which come back each second of the clock."""

    def __init__(self, capacity: float, per_second: float, clock: Callable[[], float]) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._left = capacity
        self._counted_at = clock()

    @property
    def is_exhausted(self) -> bool:
        self._restore()
        return self._left < 1

    def spend(self) -> None:
        """Take one unit, down to zero."""
        self._restore()
        self._left = max(0.0, self._left - 1)

    def _restore(self) -> None:
        now = self._clock()
        self._left = min(self._capacity, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
