"""The edge's own cost, measured: `make bench-edge`.

One device on one connection asks an extension that echoes, one request after the other: MQTT to a process of KPC, 4/ESP
over NATS to a process of the extension, and back. A bare NATS request goes to such a process, too. Both take turns in
one run; at the median the device should wait at most twice as long.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
import uvloop

from kaa_cli.bench import Exchange, mqtt_exchange
from support.stack import SeparateStack, running_separate_stack

TURNS = 10
EXCHANGES = 500
"""In a turn."""
AIM = 2.0

EXTENSION = """
import asyncio, sys, nats, uvloop
from kaa_common.avro import decode, encode
from kaa_common.messages.esp import ClientData, ExtensionData
from kaa_common.rpc import answer_header

async def main():
    async def bare(message):
        await message.respond(message.data)

    async def echo(message):
        request = decode(ClientData, message.data)
        await message.respond(encode(ExtensionData(
            **answer_header(request), app_version_name=request.app_version_name, extension_instance_name="echo",
            endpoint_id=request.endpoint_id, resource_path=request.resource_path, request_id=request.request_id,
            payload=request.payload, status_code=200)))

    client = await nats.connect(sys.argv[1])
    await client.subscribe("bare", cb=bare)
    await client.subscribe("kaa.v1.service.echo.esp.ClientData", queue="echo", cb=echo)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""
"""Nothing but what an echo takes: what the device waits longer for is the edge's own."""


@asynccontextmanager
async def extension(nats_url: str) -> AsyncIterator[None]:
    """The extension, and what answers a bare request, as a process."""
    process = subprocess.Popen([sys.executable, "-c", EXTENSION, nats_url], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        yield
    finally:
        process.terminate()
        process.wait()


async def topic_of(stack: SeparateStack) -> str:
    """The 1/KP path of a registered endpoint's requests to the extension."""

    async def post(service: str, path: str, body: object) -> Any:
        async with httpx.AsyncClient(base_url=stack.url_of(service), headers=dict(stack.headers), timeout=30) as rest:
            return (await rest.post(f"/{service}/api/v1/{path}", json=body)).raise_for_status().json()

    await post("tekton", "applications", {"name": "bench"})
    await post("tekton", "applications/bench/app-versions", {"nameSuffix": "v1"})
    token = (await post("epr", "endpoints", {"appVersion": {"name": "bench-v1"}}))["token"]
    return f"kp1/bench-v1/echo/{token}/json/1"


async def times_of(exchange: Callable[[], Awaitable[object]]) -> list[float]:
    """Seconds that exchanges take, one after the other."""
    times = []
    for _ in range(EXCHANGES):
        started = time.perf_counter()
        await exchange()
        times.append(time.perf_counter() - started)
    return times


async def compare(bare: Exchange, device: Exchange) -> None:
    await times_of(device)  # connections, caches
    bare_times: list[float] = []
    device_times: list[float] = []
    for _ in range(TURNS):
        bare_times += await times_of(bare)
        device_times += await times_of(device)
    bare_p50, device_p50 = statistics.median(bare_times), statistics.median(device_times)
    print(f"{TURNS * EXCHANGES} exchanges each, one at a time; median")
    print(f"  {'NATS request and reply':32}{bare_p50 * 1000:8.3f} ms")
    ratio = f"ratio {device_p50 / bare_p50:.2f} (at most {AIM:g} is aimed at)"
    print(f"  {'device over MQTT, to an echo':32}{device_p50 * 1000:8.3f} ms, {ratio}")


async def main() -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        running_separate_stack(Path(name), {"KPC_EXTENSIONS": "epmx,echo"}) as stack,
    ):
        topic = await topic_of(stack)
        client = await nats.connect(stack.nats_url)

        async def bare() -> None:
            await client.request("bare", b"{}", timeout=5)

        try:
            async with extension(stack.nats_url), mqtt_exchange("127.0.0.1", stack.mqtt_port, topic) as device:
                await compare(bare, device)
        finally:
            await client.close()


if __name__ == "__main__":
    uvloop.run(main())
