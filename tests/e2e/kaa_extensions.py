"""Kaa's extensions for commands, configuration, binary data and data collection, as far as devices can tell."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kaa_common import extension
from kaa_common.bus import connect
from kaa_common.errors import BadRequest, NotFound
from kaa_common.messages.elce import CONNECTED, ConnectedEvent
from kaa_common.messages.esp import ClientData
from kaa_common.rpc import Rpc

from .conftest import KAA_EXTENSIONS, PATIENCE, Endpoint

COMMANDS = b'[{"id":7,"payload":{"level":3}}]'
CONFIGURATION = b'{"configId":"7","config":{"level":3}}'
FIRMWARE = b'{"configId":"1.0.1","config":{"link":"https://example.org/1.0.1.bin"}}'
BINARY_TOKEN = b'{"token":"a-token-for-uploads"}'


@dataclass(frozen=True, slots=True)
class Received:
    """What an extension was told by a device."""

    extension: str
    endpoint_id: str | None
    resource_path: str
    request_id: int | None
    payload: bytes


@dataclass
class KaaExtensions:
    """All of them; `received` is what devices sent, `firmware_for` who is sent news of a firmware when it connects."""

    rpc: Rpc
    received: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    firmware_for: set[str] = field(default_factory=set)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to answer what was asked of `/silence`."""

    async def start(self) -> None:
        for name in KAA_EXTENSIONS:
            await self._serve(name)
        await self.rpc.listen(CONNECTED, "kpc", self._connected)
        await self.rpc.bus.flush(PATIENCE)

    async def push(self, endpoint: Endpoint, name: str, resource_path: str, payload: bytes) -> None:
        await extension.push(
            self.rpc,
            "kpc",
            instance=name,
            app_version_name=endpoint.app_version,
            endpoint_id=endpoint.id,
            resource_path=resource_path,
            payload=payload,
        )

    async def next_received(self) -> Received:
        async with asyncio.timeout(PATIENCE):
            return await self.received.get()

    async def _serve(self, name: str) -> None:
        async def handle(request: ClientData) -> bytes:
            path, payload = request.resource_path, request.payload
            self.received.put_nowait(Received(name, request.endpoint_id, path, request.request_id, payload))
            match name, path.strip("/").split("/"):
                case "cex", ["command", _]:
                    return COMMANDS
                case "cmx", ["config", "json"]:
                    return CONFIGURATION
                case "bcx", ["token"]:
                    return BINARY_TOKEN
                case ("cex", ["result", _]) | ("cmx" | "cmx_ota", ["applied", "json"]) | ("dcx", ["json"]):
                    if not isinstance(json.loads(payload), dict | list):
                        raise BadRequest("neither an object nor an array")
                    return b""
                case "dcx", ["silence"]:
                    await self.silent.wait()
                    return b""
            raise NotFound("unknown resource path")

        await extension.serve(self.rpc, name, handle)

    async def _connected(self, event: ConnectedEvent) -> None:
        for endpoint_id, app_version in event.endpoints.items():
            if endpoint_id in self.firmware_for:
                endpoint = Endpoint(id=endpoint_id, token="", app_version=app_version)
                await self.push(endpoint, "cmx_ota", "/config/json", FIRMWARE)


@asynccontextmanager
async def kaa_extensions(nats_url: str) -> AsyncIterator[KaaExtensions]:
    """They serve until the context is left."""
    async with connect(nats_url, "kaa-extensions") as bus:
        rpc = Rpc(bus, "kaa-extensions")
        await rpc.start()
        started = KaaExtensions(rpc)
        await started.start()
        yield started
        started.silent.set()
