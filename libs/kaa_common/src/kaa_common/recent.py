"""What was put in lately, as much of it as a limit allows.

There are two generations. When the young one has half of the limit it becomes the old one, and what was the old one is
forgotten at once. So nothing has to be put in order for each use, as it has in a cache that drops one entry at a time;
that is why the two that every change of a document goes through are of this kind.
"""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    def __init__(self, limit: int) -> None:
        """`limit` is that of all sizes together; what is larger than half of it is not kept at all."""
        self._half = limit // 2
        self._young: dict[K, tuple[V, int]] = {}
        self._young_size = 0
        self._old: dict[K, tuple[V, int]] = {}

    def put(self, key: K, value: V, size: int = 1) -> None:
        """Keep it, in the place of what the key had."""
        self.pop(key)
        if size > self._half:
            return
        if self._young_size + size > self._half:
            self._old, self._young, self._young_size = self._young, {}, 0
        self._young[key] = (value, size)
        self._young_size += size

    def get(self, key: K) -> V | None:
        found = self._young.get(key) or self._old.get(key)
        return None if found is None else found[0]

    def pop(self, key: K) -> V | None:
        """Take it out, if it is still kept."""
        found = self._young.pop(key, None)
        if found is not None:
            self._young_size -= found[1]
            return found[0]
        found = self._old.pop(key, None)
        return None if found is None else found[0]

    def clear(self) -> None:
        self._young.clear()
        self._old.clear()
        self._young_size = 0
