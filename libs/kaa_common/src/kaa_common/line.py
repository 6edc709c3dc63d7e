"""A line of those who have more to do than others should wait for.

One has its turn each time the event loop goes round: however many there are, whoever does little is served in between.
Threads are as well. While there is a line the event loop always has something to do, and it lets go of the interpreter
only for moments, at each of which Python begins anew to count how long a thread has been waiting for it.
"""

import asyncio
import sys
from typing import Protocol

PATIENCE_OF_THREADS = 50e-6
"""Seconds until a thread is given the interpreter, not Python's 5 ms: less than from one such moment to the next. With
it always, threads that all have much to do would spend half their time on taking it from each other."""
USUAL_PATIENCE = sys.getswitchinterval()
CALM_AFTER = 0.1
"""Seconds without a line until it is as usual again: where there was one there will be more."""


class Waiting(Protocol):
    """Whoever is in the line."""

    def take_turn(self) -> None:
        """Do some of it, and wait in line again for the rest."""


class Line:
    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}
        self._is_calm = True
        self._is_used = False

    def wait(self, waiting: Waiting) -> None:
        """It has its turn once all who wait already had theirs; whoever is in the line keeps its place."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._waiting[waiting] = None
        self._is_used = True
        if self._is_calm:
            self._is_calm = False
            self._see_to_threads()

    def _next_turn(self) -> None:
        first = next(iter(self._waiting))
        del self._waiting[first]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_turn)
        first.take_turn()

    def _see_to_threads(self) -> None:
        if self._is_used:
            self._is_used = bool(self._waiting)
            sys.setswitchinterval(PATIENCE_OF_THREADS)
            asyncio.get_running_loop().call_later(CALM_AFTER, self._see_to_threads)
        else:
            self._is_calm = True
            sys.setswitchinterval(USUAL_PATIENCE)
