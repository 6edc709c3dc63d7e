"""Many devices at once: whatever was acknowledged is in the register afterwards, and nothing was done twice.

What is not acknowledged a device sends again, as QoS 1 has it; where the store is slow, that happens here.
"""

import asyncio
import json
import logging
import os
import time

import pytest

from .conftest import PUBACK, Endpoint, MqttDevice, Platform, mqtt_device, publish_packet

logger = logging.getLogger(__name__)

DEVICES = 200
UPDATES = {"sqlite": 50, "mongodb": 50 if "MONGODB_URI" in os.environ else 10}
"""Of each device. The stand-in for MongoDB replaces only some 500 documents a second."""
DUP = 0x08


async def update_one_by_one(device: MqttDevice, endpoint: Endpoint, updates: int) -> int:
    """Send updates, each when the one before is acknowledged: how often one had to be repeated."""
    repeated = 0
    for number in range(updates):
        topic, packet_id = endpoint.path(f"/update/keys/{number}"), device.next_packet_id()
        payload, flags = b'{"k%d":%d}' % (number, number), 0
        is_acknowledged = False
        while not is_acknowledged:
            device.send(publish_packet(topic, payload, packet_id, flags))
            message = await device.next_message()
            if message.topic == f"{topic}/status":
                assert await device.receive() == (PUBACK, packet_id.to_bytes(2, "big"))
                is_acknowledged = True
            else:
                assert message.topic == f"{topic}/error"
                assert json.loads(message.payload)["statusCode"] in {503, 504}
                repeated, flags = repeated + 1, DUP
    return repeated


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("platform", "updates"), UPDATES.items(), indirect=["platform"], ids=UPDATES)
async def test_every_update_of_200_devices_at_once_is_in_the_register(platform: Platform, updates: int) -> None:
    endpoints = [platform.register() for _ in range(DEVICES)]
    revisions = [platform.metadata_and_revision(endpoint)[1] for endpoint in endpoints]
    start, connected = asyncio.Event(), asyncio.Semaphore(0)

    async def run(endpoint: Endpoint) -> int:
        async with mqtt_device(platform) as device:
            connected.release()
            await start.wait()
            repeated = await update_one_by_one(device, endpoint, updates)
            assert await device.settle() == []
            return repeated

    async with asyncio.TaskGroup() as devices:
        running = [devices.create_task(run(endpoint)) for endpoint in endpoints]
        for _ in endpoints:
            await connected.acquire()
        began = time.monotonic()
        start.set()
    seconds, repeated = time.monotonic() - began, sum(device.result() for device in running)
    logger.info("%d updates in %.1f s, %d repeated", DEVICES * updates, seconds, repeated)

    for endpoint, revision in zip(endpoints, revisions, strict=True):
        metadata, revision_after = platform.metadata_and_revision(endpoint)
        assert json.loads(metadata) == {f"k{number}": number for number in range(updates)}
        assert revision_after == revision + updates
