"""Many writers at once against a model: over REST, as services and as devices, through two replicas on one store.

The events are the history: replayed, they give the metadata of every revision. Each write has a value of its own, so it
can be found there, and each answer has to be true of the history.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from epr.register import REVISION_HEADER
from kaa_common.avro import decode
from kaa_common.bus import BusMessage
from kaa_common.messages.eme import METADATA_UPDATED, MetadataUpdatedEvent
from kaa_common.rest import etag_of
from support.waiting import until

from .conftest import Device, Events
from .rest_calls import registered
from .test_bus_api import Service, service

__all__ = ["service"]  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

REFUSED: Final = 412
ENDPOINTS: Final = 2

Metadata = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Something that a writer does to an endpoint."""

    way: str
    number: int
    key: str
    at_known_revision: bool
    """Only if the endpoint still has the revision that the writer knows."""


WRITES = st.builds(
    Write,
    way=st.sampled_from(["put key", "replace", "patch", "delete key", "service key", "service patch", "device"]),
    number=st.integers(0, ENDPOINTS - 1),
    key=st.sampled_from("abc"),
    at_known_revision=st.booleans(),
)
CONDITIONAL = ("put key", "replace", "patch", "delete key", "service patch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a writer was told."""

    write: Write
    value: int
    """What it set the key to, which nobody else did."""
    if_match: int | None
    status_code: int
    revision: int | None
    """As the answer says; devices are not told."""

    @property
    def is_acknowledged(self) -> bool:
        return self.status_code in (200, 204)

    def applied(self, metadata: Metadata) -> Metadata:
        """What the write makes of metadata."""
        match self.write.way:
            case "replace":
                return {self.write.key: self.value}
            case "delete key":
                return {key: value for key, value in metadata.items() if key != self.write.key}
        return {**metadata, self.write.key: self.value}


@dataclass(slots=True)
class World:
    clients: Sequence[httpx.AsyncClient]
    service: Service
    device: Device
    endpoint_ids: Sequence[str]
    values: "count[int]" = field(default_factory=lambda: count(1))

    async def write_all(self, writer: int, writes: Sequence[Write]) -> list[Answer]:
        """Do one after the other, as one writer."""
        client, answers = self.clients[writer % len(self.clients)], []
        known: dict[int, int] = {}
        for write in writes:
            if write.number not in known:
                url = f"/endpoints/{self.endpoint_ids[write.number]}/metadata"
                known[write.number] = _revision_in(await client.get(url))
            is_conditional = write.at_known_revision and write.way in CONDITIONAL
            answer = await self._write(client, write, known[write.number] if is_conditional else None)
            answers.append(answer)
            known.pop(write.number)
            if answer.revision is not None:
                known[write.number] = answer.revision
        return answers

    async def _write(self, client: httpx.AsyncClient, write: Write, if_match: int | None) -> Answer:
        endpoint_id, value = self.endpoint_ids[write.number], next(self.values)
        url = f"/endpoints/{endpoint_id}/metadata"
        headers = {} if if_match is None else {"If-Match": etag_of(if_match)}
        patch = json.dumps([{"op": "add", "path": f"/{write.key}", "value": value}]).encode()
        told: httpx.Response | None = None
        revision: int | None = None
        match write.way:
            case "put key":
                told = await client.put(f"{url}/{write.key}", json=value, headers=headers)
            case "replace":
                told = await client.put(url, json={write.key: value}, headers=headers)
            case "patch":
                told = await client.patch(url, content=patch, headers=headers)
            case "delete key":
                told = await client.delete(f"{url}/{write.key}", headers=headers)
            case "service key":
                status_code = await self.service.update_key(endpoint_id, write.key, b"%d" % value)
            case "service patch":
                reply = await self.service.patch(endpoint_id, patch, headers.get("If-Match"))
                status_code = reply.message.status_code
                revision = int(reply.headers[REVISION_HEADER]) if status_code == 200 else None
            case "device":
                asked = await self.device.ask(endpoint_id, "/update/keys", json.dumps({write.key: value}).encode())
                status_code = asked.status_code
        if told is not None:
            status_code, revision = told.status_code, _revision_in(told) if told.is_success else None
        return Answer(write=write, value=value, if_match=if_match, status_code=status_code, revision=revision)


def _revision_in(answer: httpx.Response) -> int:
    return int(answer.headers["ETag"].strip('"'))


def history_of(events: Events, endpoint_id: str, registered_at: int) -> dict[int, Metadata]:
    """The metadata of each revision."""
    revision, metadata = registered_at, dict[str, Any]()
    history: dict[int, Metadata] = {revision: {}}
    first_copies: dict[str, BusMessage] = {}
    for message in events.messages:
        first_copies.setdefault(message.headers["Nats-Msg-Id"], message)
    for message in first_copies.values():
        if not message.subject.endswith(".".join(METADATA_UPDATED.path)):
            continue
        event = decode(MetadataUpdatedEvent, message.data)
        if event.endpoint_id != endpoint_id:
            continue
        assert int(message.headers[REVISION_HEADER]) == revision + 1, "revisions come in order, without a gap"
        revision += 1
        assert {key: str(metadata[key]) for key in event.removed} == event.removed
        assert {key: str(metadata[key]) for key in event.updated} == {k: v.old_value for k, v in event.updated.items()}
        new = {**event.added} | {key: update.new_value for key, update in event.updated.items()}
        metadata = {key: value for key, value in metadata.items() if key not in event.removed}
        metadata |= {key: int(str(value)) for key, value in new.items()}
        history[revision] = dict(metadata)
    return history


def check(history: Mapping[int, Metadata], answers: Sequence[Answer]) -> None:
    """Hold the answers that were given for an endpoint against its history."""
    changes = {
        revision: [answer for answer in answers if answer.is_acknowledged and _made(answer, history, revision)]
        for revision in list(history)[1:]
    }
    for revision, made_by in changes.items():
        assert made_by, f"nobody was told of revision {revision}"
    for answer in answers:
        made = [revision for revision, made_by in changes.items() if answer in made_by]
        if answer.write.way != "delete key":
            assert len(made) == answer.is_acknowledged, "what is acknowledged is done, once; what is refused is not"
        if answer.revision is not None:
            assert answer.applied(history[answer.revision]) == history[answer.revision]
            assert answer.write.way == "delete key" or made == [answer.revision]
        if answer.if_match is None:
            assert answer.status_code != REFUSED
        elif answer.status_code == REFUSED:
            assert max(history) > answer.if_match, "the revision was another one"
        elif answer.is_acknowledged:
            assert answer.revision == answer.if_match + 1


def _made(answer: Answer, history: Mapping[int, Metadata], revision: int) -> bool:
    """Whether it can have been this write that made the revision: what it sets the key to was not there before."""
    before, after, key = history[revision - 1], history[revision], answer.write.key
    return before.get(key) != after.get(key) and answer.applied(before) == after


@pytest.mark.timeout(120)
@settings(
    max_examples=10,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(writers=st.lists(st.lists(WRITES, min_size=3, max_size=8), min_size=2, max_size=8))
async def test_no_update_is_lost_and_every_answer_is_true(
    writers: Sequence[Sequence[Write]],
    client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    service: Service,  # the fixture
    device: Device,
    events: Events,
) -> None:
    endpoint_ids = [await registered(client) for _ in range(ENDPOINTS)]
    registered_at = [_revision_in(await client.get(f"/endpoints/{name}")) for name in endpoint_ids]
    world = World((client, other_client), service, device, endpoint_ids)
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(world.write_all(number, writes)) for number, writes in enumerate(writers)]
    answers = [answer for written in writing for answer in written.result()]

    for number, endpoint_id in enumerate(endpoint_ids):
        found = await other_client.get(f"/endpoints/{endpoint_id}/metadata")
        last = f"{endpoint_id}:{_revision_in(found)}:"
        await until(lambda: any(name.startswith(last) for name in reversed(events.ids)))  # noqa: B023 # awaited
        history = history_of(events, endpoint_id, registered_at[number])
        assert history[max(history)] == found.json()
        check(history, [answer for answer in answers if answer.write.number == number])
