"""`kaa up` stopped and killed under load: its data is there at the next start, no nats-server is left behind."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.stack import Stack

from .fleet import REQUEST_TIMEOUT, Fleet
from .logs import check_log

STOPPED_WITHIN = 10.0
"""Seconds: each stage of a stop has its own deadline, none of which a short request comes near."""


class LocalPlatform(Stack):
    """`kaa up` as devices and administrators see it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, {"KPC_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT)})

    def url_of(self, path: str) -> str:
        return f"{self.http_url}{path}"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPlatform]:
    """Running in the beginning; in the end it has to stop as it should, and to have logged as it may."""
    local = LocalPlatform(tmp_path)
    try:
        local.start()
        yield local
        assert local.stop() == 0
        check_log("kaa up", local.output())
    finally:
        local.kill()
        local.end_nats()


async def test_a_stop_under_load_is_in_order_and_the_next_start_has_the_data(local: LocalPlatform) -> None:
    async with httpx.AsyncClient(headers=local.headers, trust_env=False) as admin:
        fleet = await Fleet.registered(local, admin)
        async with fleet.updating():
            began = time.monotonic()
            assert await asyncio.to_thread(local.stop) == 0
            assert time.monotonic() - began < STOPPED_WITHIN
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", local.nats_port)) != 0, "nats-server was left behind"
            await asyncio.to_thread(local.start)
            await fleet.until_served()
        fleet.check_refusals()
        await fleet.check_register(local, admin)


async def test_the_start_after_a_kill_under_load_has_the_data(local: LocalPlatform) -> None:
    async with httpx.AsyncClient(headers=local.headers, trust_env=False) as admin:
        fleet = await Fleet.registered(local, admin)
        async with fleet.updating():
            await asyncio.to_thread(local.kill)
            orphan = local.nats_pid
            await asyncio.to_thread(local.start)
            assert local.nats_pid != orphan
            await fleet.until_served()
        fleet.check_refusals()
        await fleet.check_register(local, admin)
