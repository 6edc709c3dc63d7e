from collections.abc import Iterator

import pytest

from kaa_common.store import sqlite_halves


@pytest.fixture(scope="package", autouse=True)
def every_scan_in_halves() -> Iterator[None]:
    """However few rows a test has: what many have is looked at so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_halves, "SMALL", 0)
        yield
