"""Work that takes a processor for long, kept off the event loop: a few threads, and a bounded queue before them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple, Unpack

from kaa_common.errors import Unavailable

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class Workers:
    """A context manager: leaving it lets the threads end."""

    def __init__(self, name: str, concurrency: int, queue_length: int) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix=name)
        self._name = name
        self._room = concurrency + queue_length

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def run(self, function: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """What the function returns, called in a thread. Raises Unavailable when too many calls wait already."""
        if not self._room:
            raise Unavailable(f"too many requests wait for {self._name}; try again in a moment")
        self._room -= 1
        try:
            # When nobody waits any more and no thread has begun, the call is taken out of the queue.
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._room += 1
