"""A platform for all tests of faults, on each store: who breaks a part of it puts it back."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from support.mongo_server import mongo_server

from .listener import Listener, listening
from .platform import Platform, running_platform


@pytest.fixture(scope="session", params=["sqlite", "mongodb"])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if request.param == "sqlite":
        with running_platform(tmp_path_factory.mktemp("sqlite")) as platform:
            yield platform
    else:
        # Of our own in any case, as it is killed.
        with (
            mongo_server(tmp_path_factory.mktemp("database")) as database,
            running_platform(tmp_path_factory.mktemp("mongodb"), database) as platform,
        ):
            yield platform


@pytest.fixture
async def listener(platform: Platform) -> AsyncIterator[Listener]:
    async with listening(platform.listener_url) as listener:
        yield listener


@pytest.fixture
async def admin(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """Who manages the platform over REST."""
    async with httpx.AsyncClient(headers=platform.stack.headers, trust_env=False, timeout=15) as client:
        yield client
