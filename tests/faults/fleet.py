"""Devices that keep updating their metadata, and the audit of what they were told."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, Self
from uuid import uuid4

import httpx

from support.waiting import until

from .device import Answer, Device
from .listener import Listener
from .logs import PAYLOAD, TOKEN

REQUEST_TIMEOUT = 3.0
"""Seconds a device waits at most: more than the 2 for which the MongoDB driver looks for its server."""
SIZE = 8
RESUMED_WITHIN = 10.0
"""Seconds from a part's return until every device is served: they take one or two, more on a busy machine."""
ANSWERED_WITHIN = REQUEST_TIMEOUT + 1
OUT_OF_REACH = (503, 504)


class Platform(Protocol):
    """Where to reach it."""

    @property
    def mqtt_port(self) -> int: ...

    def url_of(self, path: str) -> str:
        """The URL of a path of the REST interfaces."""
        ...


class Fleet:
    """Made by `registered`."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = devices

    @classmethod
    async def registered(cls, platform: Platform, admin: httpx.AsyncClient) -> Self:
        app_version = await new_app_version(platform, admin)
        return cls([await register(platform, admin, app_version) for _ in range(SIZE)])

    @asynccontextmanager
    async def updating(self) -> AsyncIterator[None]:
        """All devices keep updating meanwhile, and have been served when it begins."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for device in self.devices:
                tasks.create_task(device.keep_updating(PAYLOAD, stop), name=device.endpoint_id)
            try:
                await self.until_served()
                yield
            finally:
                stop.set()

    async def until_served(self) -> None:
        """Return when each device has got something done from now on."""
        before = [len(device.acknowledged) for device in self.devices]
        await until(
            lambda: all(
                len(device.acknowledged) > known + 1 for device, known in zip(self.devices, before, strict=True)
            ),
            RESUMED_WITHIN,
        )

    async def until_refused(self) -> None:
        """Return when a device has been told that something is out of reach."""
        await until(lambda: bool(self.refusals), ANSWERED_WITHIN)

    @property
    def refusals(self) -> list[Answer]:
        return [refusal for device in self.devices for refusal in device.refusals]

    def check_refusals(self) -> None:
        """What was refused was so in time, and with words that say why."""
        for refusal in self.refusals:
            assert refusal.status_code in OUT_OF_REACH, refusal
            assert refusal.reason_phrase
            assert refusal.seconds < ANSWERED_WITHIN, refusal

    def check_connections(self) -> None:
        assert [device.connections for device in self.devices] == [1] * len(self.devices)

    async def check_register(self, platform: Platform, admin: httpx.AsyncClient) -> None:
        """All that was acknowledged is there."""
        for device in self.devices:
            metadata, _ = await read_metadata(platform, admin, device.endpoint_id)
            assert device.acknowledged.items() <= metadata.items()

    async def check_events(self, platform: Platform, admin: httpx.AsyncClient, listener: Listener) -> None:
        """Every change was heard, in the order of the revisions."""
        for device in self.devices:
            metadata, revision = await read_metadata(platform, admin, device.endpoint_id)
            await until(lambda: listener.changes_of(device.endpoint_id)[-1].revision >= revision)  # noqa: B023 # awaited
            registered, *changes = listener.changes_of(device.endpoint_id)
            assert [change.revision for change in changes] == list(range(registered.revision + 1, revision + 1))
            assert [key for change in changes for key in change.record.added] == list(metadata)


async def read_metadata(
    platform: Platform, admin: httpx.AsyncClient, endpoint_id: str
) -> tuple[Mapping[str, str], int]:
    """Metadata and revision of an endpoint, as the register has them."""
    answer = await admin.get(platform.url_of(f"/epr/api/v1/endpoints/{endpoint_id}/metadata"))
    return answer.raise_for_status().json(), int(answer.headers["ETag"].strip('"'))


async def register(platform: Platform, admin: httpx.AsyncClient, app_version: str) -> Device:
    """A registered endpoint's device."""
    endpoint_id, token = f"endpoint-{uuid4()}", f"{TOKEN}-{uuid4()}"
    body = {"appVersion": {"name": app_version}, "endpointId": endpoint_id, "endpointToken": token}
    (await admin.post(platform.url_of("/epr/api/v1/endpoints"), json=body)).raise_for_status()
    return Device(platform.mqtt_port, app_version, token, endpoint_id)


async def new_app_version(platform: Platform, admin: httpx.AsyncClient) -> str:
    """An application version that nobody has used yet, in an application of its own."""
    name = f"app-{uuid4()}"
    applications = platform.url_of("/tekton/api/v1/applications")
    (await admin.post(applications, json={"name": name})).raise_for_status()
    (await admin.post(f"{applications}/{name}/app-versions", json={"nameSuffix": "v1"})).raise_for_status()
    return f"{name}-v1"
