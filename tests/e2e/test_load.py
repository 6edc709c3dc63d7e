"""Many devices at once: whatever was acknowledged is in the register afterwards, and nothing was done twice.

What is not acknowledged a device sends again, as QoS 1 has it; where the store is slow, that happens here.
"""

import asyncio
import json
import logging
import time

import pytest

from .conftest import PUBACK, Endpoint, MqttDevice, Platform, mqtt_device, publish_packet

logger = logging.getLogger(__name__)

DEVICES, UPDATES = 200, 50
FOR = 15.0
"""Seconds after which a device begins no more updates. All are done in 10 on SQLite when nothing else runs; the
stand-in for MongoDB, which replaces some 500 documents a second, may take 60 on a busy machine."""
AT_LEAST = 5
"""Updates of each device, however slow the store."""
DUP = 0x08


async def update_one_by_one(device: MqttDevice, endpoint: Endpoint, until: float) -> tuple[int, int]:
    """Send updates, each when the one before is acknowledged: how many are, and how often one had to be repeated."""
    repeated = 0
    for number in range(UPDATES):
        if time.monotonic() > until:
            return number, repeated
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
    return UPDATES, repeated


@pytest.mark.timeout(120)
async def test_every_acknowledged_update_of_200_devices_is_in_the_register(platform: Platform) -> None:
    endpoints = [platform.register() for _ in range(DEVICES)]
    revisions = [platform.metadata_and_revision(endpoint)[1] for endpoint in endpoints]
    start, connected = asyncio.Event(), asyncio.Semaphore(0)

    async def run(endpoint: Endpoint) -> tuple[int, int]:
        async with mqtt_device(platform) as device:
            connected.release()
            await start.wait()
            outcome = await update_one_by_one(device, endpoint, began + FOR)
            assert await device.settle() == []
            return outcome

    async with asyncio.TaskGroup() as devices:
        running = [devices.create_task(run(endpoint)) for endpoint in endpoints]
        for _ in endpoints:
            await connected.acquire()
        began = time.monotonic()
        start.set()
    seconds = time.monotonic() - began
    acknowledged, repeated = zip(*(device.result() for device in running), strict=True)
    logger.info("%d updates in %.1f s, %d repeated", sum(acknowledged), seconds, sum(repeated))

    for endpoint, revision, count in zip(endpoints, revisions, acknowledged, strict=True):
        metadata, revision_after = platform.metadata_and_revision(endpoint)
        assert json.loads(metadata) == {f"k{number}": number for number in range(count)}
        assert revision_after == revision + count
        assert count >= AT_LEAST
