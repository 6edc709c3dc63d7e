"""The parts start in any order: each waits for what it needs and says so; a device is served when all are there."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.mongo_server import MongoServer
from support.process import ChildProcess
from support.waiting import until

from .fleet import new_app_version, register
from .platform import Platform

SERVICES = ("tekton", "creds", "epr", "kpc")
PROBED_WITHIN = 1.0
"""Seconds after which Kubernetes gives a probe up."""
STARTED_WITHIN = 20.0


async def test_services_wait_for_nats(tmp_path: Path) -> None:
    with stopped_platform(tmp_path) as platform:
        await start(platform, random.sample(SERVICES, k=4))

        assert {name: problems_of(service) for name, service in platform.services.items()} == {
            name: {name: "waiting for NATS"} for name in SERVICES
        }
        await start(platform, ["nats"])
        await check_service(platform)


async def test_services_wait_for_the_database(tmp_path: Path) -> None:
    with stopped_platform(tmp_path, MongoServer(tmp_path)) as platform:
        await start(platform, random.sample(["nats", *SERVICES], k=5))

        for name in ("tekton", "creds", "epr"):
            waiting = {name: "waiting for the database"}
            await until(lambda: problems_of(platform.services[name]) == waiting)  # noqa: B023 # awaited here
        await start(platform, ["database"])
        await check_service(platform)


@contextmanager
def stopped_platform(directory: Path, database: MongoServer | None = None) -> Iterator[Platform]:
    """A platform of which no part runs yet; killed in the end."""
    platform = Platform(directory, database)
    try:
        yield platform
        platform.check_logs()
    finally:
        for part in platform.parts.values():
            part.kill()


async def start(platform: Platform, order: Sequence[str]) -> None:
    """Start these parts one after the other, each as soon as the one before it is up and perhaps waits for others."""
    for name in order:
        part = platform.parts[name]
        if isinstance(part, ChildProcess):
            part.start(wait=False)
            try:
                await until(lambda: is_alive(part), STARTED_WITHIN)  # noqa: B023 # awaited here
            except TimeoutError as exc:
                raise AssertionError(f"{name} does not start:\n{part.output()[-4000:]}") from exc
        else:
            await asyncio.to_thread(part.start)


async def check_service(platform: Platform) -> None:
    """Every service becomes ready by itself, and then a new device's first request is served."""
    for service in platform.services.values():
        await asyncio.to_thread(service.wait_ready)
    async with httpx.AsyncClient(headers=platform.stack.headers, trust_env=False) as admin:
        device = await register(platform, admin, await new_app_version(platform, admin))
    async with device.connected():
        assert (await device.ask("get")).status_code == 200


def is_alive(service: ChildProcess) -> bool:
    try:
        return probe(service, "/livez").is_success
    except httpx.ConnectError:
        return False


def problems_of(service: ChildProcess) -> Mapping[str, str]:
    answer = probe(service, "/readyz")
    problems: Mapping[str, str] = answer.json().get("problems", {})
    assert answer.status_code == (503 if problems else 200)
    return problems


def probe(service: ChildProcess, path: str) -> httpx.Response:
    """Ask a probe; fails when the answer takes its time."""
    began = time.monotonic()
    answer = httpx.get(f"{service.http_url}{path}", trust_env=False)
    assert time.monotonic() - began < PROBED_WITHIN
    return answer
