"""Withdrawn client credentials end their connections on every replica of kpc, one that was frozen included."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from support.ports import free_port
from support.process import ChildProcess

from .platform import Platform

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

PATIENCE = 10.0
TENANT = "default"


class Replica:
    """One more replica of kpc."""

    def __init__(self, platform: Platform) -> None:
        self.port = free_port()
        self.process: ChildProcess = platform.stack.process_of("kpc", environ={"KPC_MQTT_PORT": str(self.port)})


@pytest.fixture(scope="module")
def more(platform: Platform) -> Iterator[list[Replica]]:
    replicas = [Replica(platform), Replica(platform)]
    for replica in replicas:
        replica.process.start(wait=False)
    for replica in replicas:
        replica.process.wait_ready()
    yield replicas
    for replica in replicas:
        assert replica.process.stop() == 0


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


@asynccontextmanager
async def connection(port: int, credentials: dict[str, Any]) -> AsyncIterator[tuple[asyncio.StreamReader, bytes]]:
    """A connection made with the credentials, and how it was answered."""
    body = text("MQTT") + b"\x04\xc2\x00\x00" + text("")
    body += text(f"{credentials['username']}@{TENANT}") + text(credentials["password"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(bytes([0x10, len(body)]) + body)
        async with asyncio.timeout(PATIENCE):
            yield reader, await reader.readexactly(4)
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""


def url_of(platform: Platform, path: str) -> str:
    return f"{platform.stack.url_of('creds')}/ccm/api/v1/basic-credentials{path}"


async def new_credentials(platform: Platform, admin: httpx.AsyncClient) -> dict[str, Any]:
    created = await admin.post(url_of(platform, ""), json={})
    credentials: dict[str, Any] = created.raise_for_status().json()
    return credentials


async def suspend(platform: Platform, admin: httpx.AsyncClient, credentials: dict[str, Any]) -> dict[str, Any]:
    """The receipt of it."""
    path = url_of(platform, f"/{credentials['id']}/status")
    changed = await admin.put(path, json={"status": "Suspended"})
    receipt: dict[str, Any] = changed.raise_for_status().json()["cutOff"]
    return receipt


async def test_suspended_credentials_end_their_connections_on_three_replicas(
    platform: Platform, admin: httpx.AsyncClient, more: list[Replica]
) -> None:
    credentials, others = await new_credentials(platform, admin), await new_credentials(platform, admin)
    ports = [platform.mqtt_port, *(replica.port for replica in more)]
    async with AsyncExitStack() as stack:
        readers = []
        for port in ports:
            reader, answer = await stack.enter_async_context(connection(port, credentials))
            assert answer == b"\x20\x02\x00\x00"
            readers.append(reader)
        kept, answer = await stack.enter_async_context(connection(ports[0], others))
        assert answer == b"\x20\x02\x00\x00"
        receipt = await suspend(platform, admin, credentials)
        assert sorted(confirmation["endedSessions"] for confirmation in receipt["confirmed"])[-3:] == [1, 1, 1]
        for reader in readers:
            await ended(reader)
        assert not kept.at_eof()
    for port in ports:
        async with connection(port, credentials) as (_, answer):
            assert answer == b"\x20\x02\x00\x05"


async def test_a_frozen_replica_ends_them_when_it_goes_on(
    platform: Platform, admin: httpx.AsyncClient, more: list[Replica]
) -> None:
    credentials, frozen = await new_credentials(platform, admin), more[0]
    async with connection(frozen.port, credentials) as (reader, answer):
        assert answer == b"\x20\x02\x00\x00"
        os.kill(frozen.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, frozen.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            receipt = await suspend(platform, admin, credentials)
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        assert len(receipt["pending"]) >= 1
        await ended(reader)
