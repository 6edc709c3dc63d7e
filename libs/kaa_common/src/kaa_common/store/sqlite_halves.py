"""A statement that looks at every row of a table, run on both halves of the rows at once.

SQLite works without Python's lock, so two connections in two threads need half the time on two processors. Each half is
a snapshot of its own, taken after the statement was asked for: every row counts as it was at some moment since.
"""
# ruff: noqa: S608 - the table was checked by Collection, and is quoted

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from time import monotonic
from typing import Any, Final

import apsw

_STEPS_BETWEEN_CLOCK_READINGS: Final = 5_000  # steps of SQLite's machine: some 500 documents of a scan
SMALL: Final = 5_000
"""Rows of a half that are looked at sooner than the other thread is woken."""

Rows = list[tuple[Any, ...]]  # Any: whatever SQLite has
Values = Mapping[str, Any]


def end_at(connection: apsw.Connection, until: float) -> None:
    """Have SQLite look at the clock while it works, so that a scan ends then."""
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS_BETWEEN_CLOCK_READINGS)


class Halves:
    """The two connections, of which the second is used in a thread of its own."""

    def __init__(self, first: apsw.Connection, second: apsw.Connection) -> None:
        self._first = first
        self._second = second
        self._thread = ThreadPoolExecutor(1, "sqlite-half")

    def close(self) -> None:
        self._thread.shutdown()

    def fetch(self, table: str, statement: Callable[[str], str], values: Values, until: float) -> Rows:
        """Return the rows of a statement, made for a condition on the row `d` of the table: those of both halves.

        Raises apsw.InterruptError when it takes until then.
        """
        middle = (self._first.execute(f"SELECT max(rowid) FROM {table}").get or 0) // 2
        if middle < SMALL:
            return self._first.execute(statement("1"), values).fetchall()
        values = {**values, "middle": middle}
        other = self._thread.submit(self._fetch_second, statement("d.rowid > :middle"), values, until)
        try:
            return self._first.execute(statement("d.rowid <= :middle"), values).fetchall() + other.result()
        finally:
            wait([other])

    def _fetch_second(self, statement: str, values: Values, until: float) -> Rows:
        end_at(self._second, until)
        return self._second.execute(statement, values).fetchall()
