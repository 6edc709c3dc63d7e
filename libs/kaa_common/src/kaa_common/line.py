"""A line of those who have more to do than others should wait for.

One has its turn each time the event loop goes round: however many there are, whoever does little is served in between.
"""

import asyncio
from typing import Protocol


class Waiting(Protocol):
    """Whoever is in the line."""

    def take_turn(self) -> None:
        """Do some of it, and wait in line again for the rest."""


class Line:
    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}

    def wait(self, waiting: Waiting) -> None:
        """It has its turn once all who wait already had theirs; whoever is in the line keeps its place."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._waiting[waiting] = None

    def _next_turn(self) -> None:
        first = next(iter(self._waiting))
        del self._waiting[first]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_turn)
        first.take_turn()
