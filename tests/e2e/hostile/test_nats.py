"""Garbage on NATS, wherever services, replicas and listeners subscribe: it stops nobody."""

import random
from collections.abc import Iterator

import nats
import pytest
from nats.aio.client import Client

from kaa_common.messages.protocols import PROTOCOLS, Protocol

from .attacks import PATIENCE, Platform

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

INSTANCES = {"extension": ["epmx"], "creds": ["cm", "ccm"], "epr": ["epr"], "tekton": ["tekton"], "kpc": ["kpc"]}


def subjects(protocol: Protocol) -> Iterator[str]:
    """All that services and listeners subscribe to."""
    for endpoint in protocol.endpoints:
        yield from map(endpoint.subject, INSTANCES[endpoint.owner])
    for event in protocol.events:
        yield from (event.wildcard(instance).replace("*", "filter") for instance in INSTANCES[event.owner])


SUBJECTS = {subject for protocol in PROTOCOLS for subject in subjects(protocol)} | {
    "kaa.v1.service.kpc.scmp.configuration.upsert",
    "kaa.v1.service.epmx.scmp.configuration.delete",
}

NO_DATUMS = [
    b"",
    b"\x00",
    b"\x02",
    b"{}",
    b"\xff" * 20,
    b"\x80" * 50,
    b"\x10too short",
    b"\x02\xff" + bytes(50),
    # An endpoint id and then an array of 2**62 items.
    b"\x02x\x00\x00\x02e" + b"\xfe" + b"\xff" * 7 + b"\x7f" + bytes(50),
    bytes(1024 * 1024),
]


async def test_garbage_on_nats_stops_no_service(platform: Platform) -> None:
    noise = random.Random(7)
    payloads = NO_DATUMS + [noise.randbytes(noise.randrange(1, 300)) for _ in range(20)]
    client = await nats.connect(platform.stack.nats_url)
    try:
        for subject in sorted(SUBJECTS | await replica_subjects(client, platform)):
            for payload in payloads:
                await client.publish(subject, payload)
                await client.publish(subject, payload, reply="hostile.reply")
            await client.flush()
    finally:
        await client.close()
    endpoint = platform.register(metadata=b'{"a":1}')
    answer = platform.rest.post(f"/{endpoint.path('/get')}")
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


async def replica_subjects(client: Client, platform: Platform) -> set[str]:
    """Where replicas of the platform expect answers, learned from what they ask for a new endpoint."""
    requests = await client.subscribe("kaa.v1.service.>")
    await client.flush()
    endpoint = platform.register()
    assert platform.rest.post(f"/{endpoint.path('/get')}").status_code == 200
    found = set()
    while True:
        request = await requests.next_msg(PATIENCE)
        found.add(request.reply)
        if request.subject.endswith(".esp.ClientData"):
            break
    await requests.unsubscribe()
    assert all(subject.startswith("kaa.v1.replica.") for subject in found)
    return found
