"""Wait for what a test expects, no longer than it takes and with an end."""

import asyncio
from collections.abc import Callable

WITHIN = 10.0
"""Seconds: far more than anything here takes, so that only a defect runs into it."""
POLL = 0.01


async def until(condition: Callable[[], bool], within: float = WITHIN) -> None:
    """Return as soon as the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(POLL)
