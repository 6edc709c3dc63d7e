"""QoS 1 means stored: a client library keeps what is not acknowledged and sends it again, until it is in the register.

Devices made with paho-mqtt keep publishing while parts are killed, with many messages in flight. In the end every
message that they ever published is acknowledged, and every update is there.
"""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from support.waiting import until

from .fleet import new_app_version, read_metadata, register
from .listener import Listener
from .logs import PAYLOAD
from .platform import Platform

PAUSE = 0.02
UPDATES_BETWEEN_FAULTS = 15
MAX_UNACKNOWLEDGED = 60
"""Messages that a device has at most: several times what paho sends at once, and when it is back it sends them all."""
DELIVERED_WITHIN = 30.0
"""Seconds: a message that KPC could not pass on is handed back after ten, by closing the connection."""


class PahoDevice:
    """Sets one key after the other, and knows which of them were acknowledged."""

    def __init__(self, protocol: MQTTProtocolVersion, port: int, topic: str, endpoint_id: str) -> None:
        self.endpoint_id = endpoint_id
        self.published: dict[int, str] = {}
        self.acknowledged: set[str] = set()
        self.connections = 0
        self._acknowledgements: list[tuple[int, ReasonCode]] = []
        self._topic = topic
        self._port = port
        self._client = paho.Client(CallbackAPIVersion.VERSION2, endpoint_id, protocol=protocol)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    @asynccontextmanager
    async def updating(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> AsyncIterator[None]:
        """It keeps publishing until told to stop, and stays connected while this is entered."""
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self._port)
        self._client.loop_start()
        try:
            tasks.create_task(self._keep_publishing(stop), name=self.endpoint_id)
            yield
        finally:
            self._client.disconnect()
            await asyncio.to_thread(self._client.loop_stop)

    async def _keep_publishing(self, stop: asyncio.Event) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            await until(lambda: self.unacknowledged < MAX_UNACKNOWLEDGED, DELIVERED_WITHIN)
            key = f"key_{number}"
            sent = self._client.publish(f"{self._topic}/{number}", json.dumps({key: PAYLOAD}), qos=1)
            self.published[sent.mid] = key
            await asyncio.sleep(PAUSE)

    def settle(self) -> None:
        """Count what was acknowledged; in the thread of the test, as a PUBACK may overtake the end of publish()."""
        for packet_id, reason in self._acknowledgements[:]:
            self._acknowledgements.pop(0)
            assert not reason.is_failure, f"refused for good: {reason}"
            self.acknowledged.add(self.published[packet_id])

    @property
    def unacknowledged(self) -> int:
        self.settle()
        return len(self.published) - len(self.acknowledged)

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.connections += 1

    def _on_publish(
        self, client: paho.Client, userdata: object, packet_id: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._acknowledgements.append((packet_id, reason))


@asynccontextmanager
async def updating(platform: Platform, admin: httpx.AsyncClient) -> AsyncIterator[list[PahoDevice]]:
    """Devices of both versions that keep publishing, until all that they published is acknowledged."""
    app_version = await new_app_version(platform, admin)
    devices = []
    for protocol in (MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5) * 2:
        endpoint = await register(platform, admin, app_version)
        topic = f"kp1/{app_version}/epmx/{endpoint.token}/update/keys"
        devices.append(PahoDevice(protocol, platform.mqtt_port, topic, endpoint.endpoint_id))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        contexts = [device.updating(tasks, stop) for device in devices]
        async with contexts[0], contexts[1], contexts[2], contexts[3]:
            try:
                await until(served_again(devices))
                yield devices
            finally:
                stop.set()
            await until(lambda: not any(device.unacknowledged for device in devices), DELIVERED_WITHIN)


def served_again(devices: list[PahoDevice]) -> Callable[[], bool]:
    """Whether each device has had so many updates done since now."""
    for device in devices:
        device.settle()
    before = [len(device.acknowledged) for device in devices]

    def is_served() -> bool:
        for device in devices:
            device.settle()
        return all(
            len(device.acknowledged) >= known + UPDATES_BETWEEN_FAULTS
            for device, known in zip(devices, before, strict=True)
        )

    return is_served


async def check_register(devices: list[PahoDevice], platform: Platform, admin: httpx.AsyncClient) -> None:
    for device in devices:
        metadata, _ = await read_metadata(platform, admin, device.endpoint_id)
        assert metadata == dict.fromkeys(device.published.values(), PAYLOAD)


async def test_every_update_of_a_client_that_retransmits_is_stored_whatever_is_killed(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    behind_kpc = [part for part in ("epr", "nats", "database") if part in platform.parts]
    random.shuffle(behind_kpc)
    async with updating(platform, admin) as devices:
        for part in behind_kpc:
            await platform.kill(part)
            await platform.start(part, listener)
        # Last, as this hands back at once what the others have kept from being done.
        await platform.kill("kpc")
        await platform.start("kpc", listener)
        await until(served_again(devices), DELIVERED_WITHIN)
    assert all(device.connections >= 2 for device in devices)
    await check_register(devices, platform, admin)


@pytest.mark.parametrize("platform", ["sqlite"], indirect=True)  # it has no part in this
async def test_every_update_is_stored_however_often_kpc_is_killed(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    async with updating(platform, admin) as devices:
        for _ in range(2):
            await platform.kill("kpc")
            await platform.start("kpc", listener)
            await until(served_again(devices), DELIVERED_WITHIN)
    await check_register(devices, platform, admin)
