"""What somebody was asked, believed for a while: looked up for each message, so without the cost of a general cache."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Believed(Generic[Value]):
    """Answers by name. What was kept first makes room for what is too much."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Up to `most` answers, each for so many seconds of the clock."""
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._answers: dict[str, tuple[Value, float]] = {}

    def get(self, name: str) -> Value | None:
        """The answer, while it is believed."""
        answer = self._answers.get(name)
        return None if answer is None or answer[1] <= self._clock() else answer[0]

    def keep(self, name: str, value: Value) -> None:
        self._answers.pop(name, None)
        if len(self._answers) >= self._most:
            del self._answers[next(iter(self._answers))]
        self._answers[name] = (value, self._clock() + self._seconds)

    def clear(self) -> None:
        """Believe nothing any more."""
        self._answers.clear()
