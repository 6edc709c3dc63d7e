"""Each service stops on SIGTERM in the middle of its work, in order and in time, and is started again."""

import asyncio
import json
import random
import struct
import time
from collections.abc import Sequence

import httpx

from support.waiting import until

from .device import PUBACK, PUBLISH, Device, text
from .fleet import Fleet, new_app_version, read_metadata, register
from .listener import Listener
from .platform import Platform

STOPPED_WITHIN = 10.0
"""Seconds: each stage of a stop has its own deadline, none of which a short request comes near."""
WINDOW = 20
"""Unacknowledged messages of a client, as paho has them."""
KEYS = 100


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


class Sender(Device):
    """Sends at QoS 1 without waiting for answers, and notes what is acknowledged: for each key the latest number."""

    def __init__(self, device: Device) -> None:
        super().__init__(device._port, device._app_version, device.token, device.endpoint_id)
        self.acknowledged_numbers: dict[str, int] = {}
        self._sent = 0

    async def flood(self) -> None:
        """Until the connection ends. What is not acknowledged then is not sent again."""
        waiting: dict[int, tuple[str, int]] = {}
        try:
            async with self.connected():
                while True:
                    while len(waiting) < WINDOW:
                        self._sent += 1
                        key = f"key_{self._sent % KEYS}"
                        waiting[self._sent % 0xFFFF + 1] = (key, self._sent)
                        topic = f"kp1/{self._app_version}/epmx/{self.token}/update/keys"
                        packet_id = struct.pack("!H", self._sent % 0xFFFF + 1)
                        self._send(
                            PUBLISH | 0x02, text(topic.encode()) + packet_id + json.dumps({key: self._sent}).encode()
                        )
                    packet_type, body = await self._receive()
                    assert packet_type == PUBACK, "an update is refused"
                    key, number = waiting.pop(struct.unpack("!H", body)[0])
                    self.acknowledged_numbers[key] = number
        except (OSError, EOFError):
            return


async def test_a_stop_under_a_flood_loses_nothing_that_was_acknowledged(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    app_version = await new_app_version(platform, admin)
    senders = [Sender(await register(platform, admin, app_version)) for _ in range(4)]
    for _ in range(2):
        await stop_under(platform, senders)
        await listener.flush()
        assert {sender.endpoint_id for sender in senders} <= listener.disconnected()
        listener.events.clear()
        await platform.start("kpc", listener)
    for sender in senders:
        metadata, _ = await read_metadata(platform, admin, sender.endpoint_id)
        for key, number in sender.acknowledged_numbers.items():
            assert int(metadata[key]) >= number, "an acknowledged update is lost"


async def stop_under(platform: Platform, senders: Sequence[Sender]) -> None:
    """Stop KPC while they all send; return when their connections have ended."""
    before = [sender._sent for sender in senders]
    async with asyncio.TaskGroup() as tasks:
        for sender in senders:
            tasks.create_task(sender.flood())
        await until(lambda: all(sender._sent > known + 50 for sender, known in zip(senders, before, strict=True)))
        await stop_in_order(platform, "kpc")
