"""The service as a process runs it, asked over NATS as KPC asks it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from kaa_common import jsontext
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import BadRequest, Unavailable
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Rpc, request_header
from kaa_common.service import run
from support.nats_server import NatsServer
from tsx.app import SERVICE, offset_at

WINTER_OF_EASTER_ISLAND = 1_530_464_400_000
"""2018-07-01, of which Kaa's own documentation says that the offset is six hours."""


@pytest.fixture
async def instance(nats_server: NatsServer, rpc: Rpc) -> AsyncIterator[str]:
    """The name of a service that runs, and that nats-server knows."""
    name, ready, stop = f"tsx-{secrets.token_hex(4)}", asyncio.Event(), asyncio.Event()
    environ = {"NATS_URL": nats_server.url, "KAA_HTTP_PORT": "0", "TSX_INSTANCE": name}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set))
        async with asyncio.timeout(20):
            await ready.wait()
            while not await is_served(rpc, name):
                pass
        yield name
        stop.set()


async def ask(rpc: Rpc, instance: str, payload: bytes, path: str = "/time") -> ExtensionData:
    request = ClientData(
        **request_header(Deadline.after(10)),
        app_version_name="weather-v1",
        endpoint_id=None,
        resource_path=path,
        request_id=7,
        payload=payload,
    )
    return (await rpc.call(CLIENT_DATA, instance, request)).message


async def is_served(rpc: Rpc, instance: str) -> bool:
    try:
        return (await ask(rpc, instance, b"")).status_code == 200
    except Unavailable:
        return False


async def test_a_device_learns_the_time_whatever_resource_it_names(rpc: Rpc, instance: str) -> None:
    for payload, path in ((b"", "/time"), (b"{}", "/time"), (b"", "/any/other"), (b'{"timezone":"UTC"}', "/time")):
        before = now_ms()
        answer = await ask(rpc, instance, payload, path)
        told = jsontext.parse(answer.payload or b"")
        assert told.keys() == {"timestamp"}
        assert before <= told["timestamp"] <= now_ms()
        assert (answer.status_code, answer.app_version_name, answer.resource_path) == (200, "weather-v1", path)
        assert (answer.extension_instance_name, answer.endpoint_id, answer.request_id) == (instance, None, 7)


async def test_a_device_learns_how_far_its_time_zone_is_ahead_of_utc(rpc: Rpc, instance: str) -> None:
    told = jsontext.parse((await ask(rpc, instance, b'{"timezone":"Asia/Kolkata"}')).payload or b"")
    assert told.keys() == {"timestamp", "offset"}
    assert told["offset"] == 19_800


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"timezone":"Nowhere/Land"}', "unknown timezone"),
        (b'{"timezone":"../../etc/passwd"}', "unknown timezone"),
        (b'{"timezone":""}', "unknown timezone"),
        (b'{"timezone":5}', "timezone is not a string"),
        (b"[]", "payload is not a JSON object"),
        (b"null", "payload is not a JSON object"),
    ],
)
async def test_what_cannot_be_understood_is_a_400(rpc: Rpc, instance: str, payload: bytes, reason: str) -> None:
    answer = await ask(rpc, instance, payload)
    assert (answer.status_code, answer.reason_phrase, answer.payload) == (400, reason, None)


async def test_what_is_not_json_is_a_400(rpc: Rpc, instance: str) -> None:
    assert (await ask(rpc, instance, b"{timezone}")).status_code == 400


@pytest.mark.parametrize(
    ("timestamp", "zone", "offset"),
    [
        (WINTER_OF_EASTER_ISLAND, "Pacific/Easter", -21_600),
        (WINTER_OF_EASTER_ISLAND, "Europe/Berlin", 7200),
        (int(datetime(2018, 1, 1, tzinfo=UTC).timestamp() * 1000), "Europe/Berlin", 3600),
        (int(datetime(2018, 1, 1, tzinfo=UTC).timestamp() * 1000), "Europe/London", 0),
        (WINTER_OF_EASTER_ISLAND, "Etc/UTC", 0),
    ],
)
def test_the_offset_is_that_of_the_moment(timestamp: int, zone: str, offset: int) -> None:
    assert offset_at(timestamp, {"timezone": zone, "ignored": True}) == offset


@pytest.mark.parametrize("zone", ["America", "zone.tab", "/etc/passwd", "a\0b", "x" * 5000, "\N{SNOWMAN}"])
def test_nothing_but_a_time_zone_is_one(zone: str) -> None:
    with pytest.raises(BadRequest):
        offset_at(WINTER_OF_EASTER_ISLAND, {"timezone": zone})
