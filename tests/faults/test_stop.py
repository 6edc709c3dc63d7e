"""Each service stops on SIGTERM in the middle of its work, in order and in time, and is started again."""

import asyncio
import random
import time

import httpx

from .fleet import Fleet
from .listener import Listener
from .platform import Platform

STOPPED_WITHIN = 10.0
"""Seconds: each stage of a stop has its own deadline, none of which a short request comes near."""


async def test_a_service_after_the_other_stops_and_starts_under_load(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    async with fleet.updating():
        for name in random.sample(list(platform.services), k=len(platform.services)):
            await stop_in_order(platform, name)
            if name == "kpc":
                await listener.flush()
                assert {device.endpoint_id for device in fleet.devices} <= listener.disconnected()
            await platform.start(name, listener)
            await fleet.until_served()
    fleet.check_refusals()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


async def stop_in_order(platform: Platform, name: str) -> None:
    service = platform.services[name]
    began = time.monotonic()
    assert await asyncio.to_thread(service.stop) == 0, name
    assert time.monotonic() - began < STOPPED_WITHIN, name
    assert service.output().endswith("kaa_common.service: stopped\n"), name
