"""What was withdrawn lately, so that an answer which a withdrawal has overtaken is told from a newer one [pure].

Withdrawals are numbered. Who asks for something notes the number of the latest one before; the answer is out of date
when what it speaks of was withdrawn after that. Withdrawals that may have been missed count as those of everything.
"""

from cachetools import TTLCache


class Withdrawals:
    """The withdrawals of things with an id, remembered for as long as an answer or what is kept of it may be used."""

    def __init__(self, max_ids: int, seconds: float) -> None:
        self.latest = 0
        self._of_everything = 0
        self._by_id: TTLCache[str, int] = TTLCache(max_ids, seconds)

    def add(self, one: str) -> None:
        """This was withdrawn."""
        if len(self._by_id) >= self._by_id.maxsize:
            self.add_everything()
        self.latest += 1
        self._by_id[one] = self.latest

    def add_everything(self) -> None:
        """Anything may have been withdrawn."""
        self.latest += 1
        self._of_everything = self.latest
        self._by_id.clear()

    def are_later(self, one: str, asked_at: int) -> bool:
        """Whether this was withdrawn after the one that was the latest when somebody asked for it."""
        return asked_at < self.latest and max(self._by_id.get(one, 0), self._of_everything) > asked_at
