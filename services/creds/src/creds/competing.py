"""Changes of one document at the same time: each starts over when another was faster, but not for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kaa_common.errors import Unavailable

CHANGE_DEADLINE = 10.0
"""Seconds that a change competes with others of the same document: hundreds of attempts."""

Check = Callable[[int], None]
"""Raises PreconditionFailed unless the revision is the one the caller wants to change."""


@asynccontextmanager
async def competing(what: str) -> AsyncIterator[None]:
    """Limit for how long a change is attempted again and again. Raises Unavailable."""
    try:
        async with asyncio.timeout(CHANGE_DEADLINE):
            yield
    except TimeoutError as exc:
        raise Unavailable(f"too many changes of {what} at the same time") from exc
