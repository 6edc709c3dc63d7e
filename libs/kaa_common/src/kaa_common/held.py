"""How much memory many clients may take together for what they leave unfinished [pure].

Each holds little enough by itself, a packet that has not arrived in full or an answer that it does not read, but a
thousand of them hold more than the process has. What is too much ends whoever has held something for longest: that is
no client that is merely slow, unless there are many who are slower.
"""

from typing import Protocol

SMALL = 4096
"""Bytes that are not counted: most of the time everyone holds as much."""


class Holder(Protocol):
    """One of the many."""

    def held(self) -> int:
        """The bytes that it holds now."""

    def let_go(self) -> None:
        """Hold nothing any more, whatever that ends."""


class Held:
    """What all hold together."""

    def __init__(self, most: int) -> None:
        """`most` bytes."""
        self._most = most
        self._sizes: dict[Holder, int] = {}
        self._total = 0

    def note(self, holder: Holder) -> None:
        """It may hold more now, or less; those that have held something for longest let go while it is too much."""
        size = holder.held()
        if size <= SMALL and holder not in self._sizes:
            return
        self._set(holder, size)
        while self._total > self._most:
            oldest = next(iter(self._sizes))
            before, now = self._sizes[oldest], oldest.held()
            if now < before:  # not noted, as nothing happened on its side
                self._set(oldest, now)
            else:
                self._set(oldest, 0)
                oldest.let_go()

    def forget(self, holder: Holder) -> None:
        """It is gone."""
        self._set(holder, 0)

    def _set(self, holder: Holder, size: int) -> None:
        self._total += (size if size > SMALL else 0) - self._sizes.get(holder, 0)
        if size > SMALL:
            self._sizes[holder] = size
        else:
            self._sizes.pop(holder, None)
