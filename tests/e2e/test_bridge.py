"""The bridge of the running platform: devices of an MQTT broker are endpoints like all others."""

import asyncio
import json
from pathlib import Path

import gmqtt
import httpx

from support.mqtt_broker import running_rumqttd
from support.stack import running_stack

from .conftest import PATIENCE, Platform


async def test_a_device_of_a_broker_updates_and_reads(tmp_path: Path) -> None:
    with running_rumqttd(tmp_path) as port:
        environ = {"KPC_BRIDGE_URL": f"mqtt://127.0.0.1:{port}", "KPC_BRIDGE_SESSION_EXPIRY": "0"}
        with running_stack(tmp_path, environ) as stack:
            with httpx.Client(
                base_url=stack.http_url, headers=stack.headers, timeout=PATIENCE, trust_env=False
            ) as rest:
                platform = Platform(stack, rest)
                endpoint = platform.register()
                async with asyncio.timeout(PATIENCE):
                    assert await told(port, endpoint.path("/update/1"), b'{"a":1}') == ("status", b"")
                    assert await told(port, endpoint.path("/get/2"), b"") == ("status", b'{"a":1}')
                    suffix, error = await told(port, endpoint.path("/put/3"), b"")
                assert (suffix, json.loads(error)["statusCode"]) == ("error", 404)
                assert platform.metadata(endpoint) == b'{"a":1}'
                metrics = rest.get("/metrics").text
            assert 'kpc_requests_total{status="404",transport="bridge"} 1.0' in metrics
            assert stack.stop() == 0
        assert "Traceback" not in stack.output()
        assert endpoint.token not in stack.output()


async def told(port: int, topic: str, payload: bytes) -> tuple[str, bytes]:
    """What a client of the broker is answered: the last level of the topic, and the payload.

    It asks until it is answered, as the bridge connects when it can.
    """
    client, answers = gmqtt.Client(None), asyncio.Queue[tuple[str, bytes]]()

    async def on_message(client: object, answered: str, payload: bytes, qos: int, properties: object) -> int:
        answers.put_nowait((answered.removeprefix(f"{topic}/"), payload))
        return 0

    client.on_message = on_message
    await client.connect("127.0.0.1", port)
    client.subscribe(f"{topic}/+", qos=1)
    try:
        while True:
            client.publish(topic, payload, qos=1)
            try:
                async with asyncio.timeout(0.5):
                    return await answers.get()
            except TimeoutError:
                continue
    finally:
        await client.disconnect()
