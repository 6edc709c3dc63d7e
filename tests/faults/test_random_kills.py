"""Any part is killed at any moment, again and again, while REST clients, services and devices change endpoints.

They do so through two replicas of the register. Whoever writes keeps a ledger; in the end the register and the stream
are held against it.

Longer on demand, and the same again: FAULTS_SECONDS=600 FAULTS_SEED=7 pytest tests/faults/test_random_kills.py
"""

import asyncio
import logging
import os
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError

from kaa_common import jsontext
from kaa_common.avro import decode
from kaa_common.bus import connect
from kaa_common.clock import Deadline
from kaa_common.errors import KaaError
from kaa_common.messages.elce import REGISTERED
from kaa_common.messages.eme import METADATA_UPDATED, MetadataUpdatedEvent
from kaa_common.messages.epmmp import UPDATE_METADATA_KEY, EndpointMetadataKeyUpdateRequest
from kaa_common.rpc import Rpc, request_header
from support.mongo_server import MongoServer, mongo_server
from support.nats_server import NatsServer
from support.process import ChildProcess
from support.stack import SeparateStack

from .device import Device
from .logs import TOKEN, check_log

logger = logging.getLogger(__name__)

SECONDS = float(os.environ.get("FAULTS_SECONDS", "10"))
SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(1, 10**6)
ENDPOINTS = 3
PATIENCE = 4.0
"""Seconds a writer waits for its answer; what it then does not know it does not count."""
PAUSE = 0.02
"""Seconds between two writes of a writer."""
DOWN, UP = 1.0, 2.0
"""Seconds that a part stays killed, and that all parts run, at most."""
SETTLED_WITHIN = 30.0


class Part(Protocol):
    def kill(self) -> None: ...

    def start(self) -> None: ...


@dataclass(slots=True)
class Writer:
    """Sets a key of its own to 1, 2, 3 ... in an endpoint; the ledger has what was acknowledged."""

    endpoint_id: str
    key: str
    write: Callable[[int], Awaitable[bool]]
    acknowledged: list[int] = field(default_factory=list)
    written: int = 0

    async def keep_writing(self, stop: asyncio.Event) -> None:
        for number in count(1):
            if stop.is_set():
                return
            self.written = number
            with suppress(KaaError, OSError, EOFError, httpx.TransportError):
                if await self.write(number):
                    self.acknowledged.append(number)
            await asyncio.sleep(PAUSE)


@dataclass(slots=True)
class Registrar:
    """Registers one endpoint after the other; the ledger has those that were acknowledged."""

    register: Callable[[str], Awaitable[bool]]
    acknowledged: list[str] = field(default_factory=list)

    async def keep_registering(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            endpoint_id = f"new-{uuid4()}"
            with suppress(httpx.TransportError):
                if await self.register(endpoint_id):
                    self.acknowledged.append(endpoint_id)
            await asyncio.sleep(10 * PAUSE)


class Platform:
    """Two replicas of the register, one of each other service, a nats-server that keeps events, perhaps a database."""

    def __init__(self, directory: Path, database: MongoServer | None) -> None:
        environ = {"EPR_TOKEN_TIMEOUT": "1", "KPC_REQUEST_TIMEOUT": str(PATIENCE - 1)}
        if database is not None:
            environ["MONGODB_URI"] = database.uri
        self.stack = SeparateStack(directory, environ)
        self.stack.nats = NatsServer(
            directory, f"jetstream: {{store_dir: {jsontext.dump(str(directory)).decode()}}}", self.stack.nats.port
        )
        self.replicas: Sequence[ChildProcess] = (self.stack.services["epr"], self.stack.process_of("epr"))
        self.killable: list[Part] = [*self.replicas, self.stack.nats, *([] if database is None else [database])]

    def url(self, number: int) -> str:
        """The register's, through one replica or the other."""
        return f"{self.replicas[number % 2].http_url}/epr/api/v1"

    def start(self) -> None:
        self.stack.start()
        self.replicas[1].start()

    def stop(self) -> None:
        """As an operator does; every service has logged as it may."""
        services = {**self.stack.services, "epr, the other one": self.replicas[1]}
        for name, service in services.items():
            assert service.stop() == 0, name
            check_log(name, service.output(), self.stack.api_key)

    def kill(self) -> None:
        self.replicas[1].kill()
        self.stack.kill()


@pytest.fixture(params=["sqlite", "mongodb"])
def own_platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    """Started and ended by the test."""
    database = None
    if request.param == "mongodb":
        (tmp_path / "database").mkdir()
        database = request.getfixturevalue("own_database")
    return Platform(tmp_path, database)


@pytest.fixture
def own_database(tmp_path: Path) -> Iterator[MongoServer]:
    with mongo_server(tmp_path / "database") as database:
        yield database


async def keep_killing(parts: Sequence[Part], moments: random.Random, stop: asyncio.Event) -> int:
    """Kill any part at any moment and start it again; how often."""
    for kills in count(1):
        await asyncio.sleep(moments.uniform(0, UP))
        part = moments.choice(parts)
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(moments.uniform(0, DOWN))
        await asyncio.to_thread(part.start)
        if stop.is_set():
            return kills
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Kept:
    """An event of an endpoint as the stream has it."""

    revision: int
    event: str
    data: bytes


async def kept_events(nats_url: str) -> Mapping[str, Sequence[Kept]]:
    """What the stream has, by endpoint, in its order."""
    found: dict[str, list[Kept]] = defaultdict(list)
    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info("kaa-epr-events")).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            with suppress(NotFoundError):
                message = await jetstream.get_msg("kaa-epr-events", sequence)
                headers = message.headers or {}
                revision = headers["Kaa-Endpoint-Revision"]
                endpoint_id, _, event = headers["Nats-Msg-Id"].rpartition(f":{revision}:")
                found[endpoint_id].append(Kept(int(revision), event, message.data or b""))
    finally:
        await client.close()
    return found


def rest_writer(platform: Platform, client: httpx.AsyncClient, endpoint_id: str) -> Writer:
    async def write(number: int) -> bool:
        url = f"{platform.url(number)}/endpoints/{endpoint_id}/metadata/rest"
        return (await client.put(url, json=number)).status_code == 204

    return Writer(endpoint_id, "rest", write)


def service_writer(rpc: Rpc, endpoint_id: str) -> Writer:
    async def write(number: int) -> bool:
        request = EndpointMetadataKeyUpdateRequest(
            **request_header(Deadline.after(PATIENCE)),
            endpoint_id=endpoint_id,
            metadata_key="service",
            metadata_value=b"%d" % number,
        )
        return (await rpc.call(UPDATE_METADATA_KEY, "epr", request)).message.status_code == 200

    return Writer(endpoint_id, "service", write)


def device_writer(device: Device) -> Writer:
    async def write(number: int) -> bool:
        async with device.connected():
            return (await device.ask("update/keys", f'{{"device":{number}}}')).status_code == 200

    return Writer(device.endpoint_id, "device", write)


@pytest.mark.timeout(SECONDS + 180)
async def test_what_was_acknowledged_is_there_with_its_events_whatever_is_killed_when(own_platform: Platform) -> None:
    platform, moments = own_platform, random.Random(SEED)
    logger.warning("FAULTS_SEED=%d", SEED)  # shown when the test fails
    await asyncio.to_thread(platform.start)
    try:
        async with (
            httpx.AsyncClient(headers=platform.stack.headers, trust_env=False, timeout=PATIENCE) as client,
            connect(platform.stack.nats.url, "service") as bus,
        ):
            rpc = Rpc(bus, f"service-{uuid4().hex}")
            await rpc.start()
            app_version = await new_app_version(platform, client)
            devices = [await registered(platform, client, app_version, f"e{number}") for number in range(ENDPOINTS)]
            writers = [
                writer
                for device in devices
                for writer in (
                    rest_writer(platform, client, device.endpoint_id),
                    service_writer(rpc, device.endpoint_id),
                    device_writer(device),
                )
            ]
            numbers = count()

            async def register(endpoint_id: str) -> bool:
                body = {"appVersion": {"name": app_version}, "endpointId": endpoint_id}
                return (await client.post(f"{platform.url(next(numbers))}/endpoints", json=body)).status_code == 201

            registrar, stop = Registrar(register), asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                for writer in writers:
                    tasks.create_task(writer.keep_writing(stop), name=writer.key)
                tasks.create_task(registrar.keep_registering(stop), name="registrar")
                killing = tasks.create_task(keep_killing(platform.killable, moments, stop), name="killer")
                await asyncio.sleep(SECONDS)
                stop.set()
            acknowledged = sum(len(writer.acknowledged) for writer in writers)
            logger.warning("%d kills, %d acknowledged writes", killing.result(), acknowledged)
            await check(platform, client, writers, registrar.acknowledged)
        await asyncio.to_thread(platform.stop)
    finally:
        await asyncio.to_thread(platform.kill)


async def new_app_version(platform: Platform, client: httpx.AsyncClient) -> str:
    applications = f"{platform.stack.url_of('tekton')}/tekton/api/v1/applications"
    (await client.post(applications, json={"name": "app"})).raise_for_status()
    (await client.post(f"{applications}/app/app-versions", json={"nameSuffix": "v1"})).raise_for_status()
    return "app-v1"


async def registered(platform: Platform, client: httpx.AsyncClient, app_version: str, endpoint_id: str) -> Device:
    token = f"{TOKEN}{endpoint_id}"
    body = {"appVersion": {"name": app_version}, "endpointId": endpoint_id, "endpointToken": token}
    (await client.post(f"{platform.url(0)}/endpoints", json=body)).raise_for_status()
    return Device(platform.stack.mqtt_port, app_version, token, endpoint_id)


async def check(
    platform: Platform, client: httpx.AsyncClient, writers: Sequence[Writer], registered_ids: Sequence[str]
) -> None:
    endpoint_ids = list(dict.fromkeys(writer.endpoint_id for writer in writers)) + list(registered_ids)
    metadata: dict[str, dict[str, int]] = {}
    revisions: dict[str, int] = {}
    for number, endpoint_id in enumerate(endpoint_ids):
        answer = await client.get(f"{platform.url(number)}/endpoints/{endpoint_id}/metadata")
        assert answer.status_code == 200, f"{endpoint_id} was acknowledged"
        metadata[endpoint_id], revisions[endpoint_id] = answer.json(), int(answer.headers["ETag"].strip('"'))

    events: Mapping[str, Sequence[Kept]] = {}
    async with asyncio.timeout(SETTLED_WITHIN):
        while any(events.get(name, [Kept(0, "", b"")])[-1].revision < revisions[name] for name in endpoint_ids):
            events = await kept_events(platform.stack.nats.url)
            await asyncio.sleep(0.1)

    for endpoint_id in endpoint_ids:
        registration, *changes = events[endpoint_id]
        assert registration.event == ".".join(REGISTERED.path[1:])
        assert {change.event for change in changes} <= {".".join(METADATA_UPDATED.path[1:])}
        expected = list(range(registration.revision + 1, revisions[endpoint_id] + 1))
        assert [change.revision for change in changes] == expected, "each change has its event, in order, once"
    for writer in writers:
        told = [
            int(value)
            for change in events[writer.endpoint_id][1:]
            if (value := _new_value(decode(MetadataUpdatedEvent, change.data), writer.key)) is not None
        ]
        assert len(set(told)) == len(told), "a write was done twice"
        # What its writer gave up waiting for may still have been done, and later than what came next.
        known = set(writer.acknowledged)
        assert [number for number in told if number in known] == writer.acknowledged, "each has its event, in order"
        assert metadata[writer.endpoint_id].get(writer.key) == (told[-1] if told else None)
        assert writer.acknowledged, f"nothing was done, so that nothing is proved: {writer.endpoint_id}, {writer.key}"


def _new_value(event: MetadataUpdatedEvent, key: str) -> str | None:
    return event.updated[key].new_value if key in event.updated else event.added.get(key)
