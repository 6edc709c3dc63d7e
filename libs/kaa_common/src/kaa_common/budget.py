"""How often somebody may fail: a token bucket for each name, in bounded memory [pure].

A bucket holds `burst` failures and is refilled steadily. Buckets that nobody touched for the longest time make room for
new ones: they have been refilled the most.
"""

from collections import OrderedDict


class Budget:
    """The buckets of many names. Time is given in seconds of any clock that never goes back."""

    def __init__(self, *, burst: int, per_second: float, max_names: int) -> None:
        self._burst = burst
        self._per_second = per_second
        self._max_names = max_names
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What was left, and when."""

    def is_exhausted(self, name: str, now: float) -> bool:
        """Whether no failure is left."""
        return self._level(name, now) < 1

    def spend(self, name: str, now: float) -> None:
        """Count a failure. Those of attempts at the same time may be more than were left: a debt, refilled first."""
        self._set(name, self._level(name, now) - 1, now)

    def take(self, name: str, now: float) -> bool:
        """Whether one more failure was left; it is spent then, to be given back if it was none."""
        level = self._level(name, now)
        if level < 1:
            return False
        self._set(name, level - 1, now)
        return True

    def give_back(self, name: str, now: float) -> None:
        """It was no failure."""
        self._set(name, min(self._burst, self._level(name, now) + 1), now)

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, name: str, now: float) -> float:
        level, since = self._levels.get(name, (self._burst, now))
        return min(self._burst, level + (now - since) * self._per_second)

    def _set(self, name: str, level: float, now: float) -> None:
        self._levels[name] = (level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > self._max_names:
            self._levels.popitem(last=False)
