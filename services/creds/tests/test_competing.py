import asyncio

import pytest

from creds import competing as module
from creds.competing import competing
from kaa_common.errors import Unavailable


async def test_a_change_does_not_compete_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHANGE_DEADLINE", 0.01)
    with pytest.raises(Unavailable, match="too many changes of this token at the same time"):
        async with competing("this token"):
            await asyncio.Event().wait()
