"""A stolen device is cut off on every replica of kpc, and the receipt tells the truth also when one is frozen."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from support.ports import free_port
from support.process import ChildProcess

from .device import Device
from .fleet import new_app_version, register
from .platform import Platform

FROZEN_FOR = 1.0
"""Seconds that creds waits for a replica to confirm."""


class Replica:
    """One more replica of kpc."""

    def __init__(self, platform: Platform) -> None:
        self.port = free_port()
        self.process = platform.stack.process_of("kpc", environ={"KPC_MQTT_PORT": str(self.port)})


@pytest.fixture
def second(platform: Platform) -> Iterator[Replica]:
    replica = Replica(platform)
    replica.process.start()
    yield replica
    assert replica.process.stop() == 0


@contextmanager
def frozen(process: ChildProcess) -> Iterator[None]:
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)  # it may do something more until then
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def new_device(platform: Platform, admin: httpx.AsyncClient) -> tuple[Device, str]:
    """A device, and its application version."""
    app_version = await new_app_version(platform, admin)
    return await register(platform, admin, app_version), app_version


async def replicas_gone(platform: Platform, admin: httpx.AsyncClient) -> set[str]:
    """Those that other tests have killed: for a while they are named as pending, too."""
    device, _ = await new_device(platform, admin)
    async with device.connected():
        await device.ask("get")
        return set((await suspend(platform, admin, device))["pending"])


async def suspend(platform: Platform, admin: httpx.AsyncClient, device: Device) -> Any:
    """The receipt of it."""
    tokens = platform.url_of(f"/cm/api/v1/endpoints/{device.endpoint_id}/tokens")
    token_id = (await admin.get(tokens)).json()["content"][0]["endpointTokenId"]
    changed = await admin.put(f"{tokens}/{token_id}/status", json={"status": "Suspended"})
    return changed.raise_for_status().json()["cutOff"]


async def test_a_suspended_token_is_cut_off_on_every_replica(
    platform: Platform, admin: httpx.AsyncClient, second: Replica
) -> None:
    gone = await replicas_gone(platform, admin)
    device, app_version = await new_device(platform, admin)
    elsewhere = Device(second.port, app_version, device.token, device.endpoint_id)
    async with device.connected(), elsewhere.connected():
        assert (await device.ask("get")).status_code == 200
        assert (await elsewhere.ask("get")).status_code == 200
        receipt = await suspend(platform, admin, device)
        assert [confirmation["endedSessions"] for confirmation in receipt["confirmed"]] == [1, 1]
        assert set(receipt["pending"]) <= gone
        assert receipt["milliseconds"] < 1000
        assert (await device.ask("get")).status_code == 401
        assert (await elsewhere.ask("get")).status_code == 401


async def test_on_a_gateway_s_connection_only_that_endpoint_goes_silent(
    platform: Platform, admin: httpx.AsyncClient
) -> None:
    gateway, app_version = await new_device(platform, admin)
    stolen = await register(platform, admin, app_version)
    async with gateway.connected():
        assert (await gateway.ask("get", token=stolen.token)).status_code == 200
        assert (await gateway.ask("get")).status_code == 200
        await suspend(platform, admin, stolen)
        assert (await gateway.ask("get", token=stolen.token)).status_code == 401
        assert (await gateway.ask("get")).status_code == 200


async def test_a_frozen_replica_is_named_as_pending_and_does_not_let_the_token_in_when_it_goes_on(
    platform: Platform, admin: httpx.AsyncClient, second: Replica
) -> None:
    gone = await replicas_gone(platform, admin)
    device, app_version = await new_device(platform, admin)
    elsewhere = Device(second.port, app_version, device.token, device.endpoint_id)
    async with device.connected(), elsewhere.connected():
        assert (await device.ask("get")).status_code == 200
        assert (await elsewhere.ask("get")).status_code == 200
        with frozen(second.process):
            began = time.monotonic()
            receipt = await suspend(platform, admin, device)
            assert len(receipt["confirmed"]) == 1
            assert len(set(receipt["pending"]) - gone) == 1
            assert FROZEN_FOR <= time.monotonic() - began < FROZEN_FOR + 1
            assert (await device.ask("get")).status_code == 401
        assert (await elsewhere.ask("get")).status_code == 401
