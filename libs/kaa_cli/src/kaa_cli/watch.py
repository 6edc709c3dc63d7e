"""`kaa watch`: the events of all services as they are published, decoded.

A line for an event: its time, the service instance, the event, then the fields of its record; with `--json` an object
with the subject, the headers and the record under the names of its RFC. Signs of life, three a second of each
communication replica, are left out.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import uvloop

from kaa_cli.commands.versions import application_of
from kaa_cli.errors import CommandError
from kaa_cli.tables import printable
from kaa_common.avro import DecodeError, decode, schema_of
from kaa_common.bus import BusMessage, connect
from kaa_common.clock import iso_timestamp
from kaa_common.errors import StartError
from kaa_common.messages.cop import REPLICA_ALIVE
from kaa_common.messages.declared import Event
from kaa_common.messages.protocols import PROTOCOLS
from kaa_common.subjects import EventSubject, InvalidName, parse

ALL_EVENTS = ("kaa.v1.events.>", "open.kaa.v1.events.>")
FLUSH_TIMEOUT = 5.0
EVENTS = tuple(event for protocol in PROTOCOLS for event in protocol.events)
HIDDEN = ("correlationId", "timestamp", "timeout", "originatorReplicaId")
"""Fields that a line does not show: the time begins it, the others say little to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events are shown; None is any."""

    endpoint: str | None = None
    application: str | None = None

    def includes(self, record: Mapping[str, Any]) -> bool:
        """Whether a record, under its wire names, is about these."""
        return self.endpoint in (None, *_endpoints(record)) and self.application in (None, *_applications(record))


def watch(nats_url: str, wanted: Wanted, *, as_json: bool, count: int | None) -> int:
    """Print events until Ctrl-C, or until so many were printed; the exit code of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_watch(nats_url, wanted, as_json, count))
        except* StartError as group:
            raise CommandError(str(group.exceptions[0])) from None
    return 0


async def _watch(nats_url: str, wanted: Wanted, as_json: bool, count: int | None) -> None:
    enough = asyncio.Event()
    shown = 0

    async def show(message: BusMessage) -> None:
        nonlocal shown
        line = line_of(message, wanted, as_json=as_json)
        if line is None or enough.is_set():
            return
        shown += 1
        try:
            print(line, flush=True)
        except BrokenPipeError:  # whoever read it has seen enough
            enough.set()
        if count is not None and shown >= count:
            enough.set()

    async with connect(nats_url, "kaa watch") as bus:
        for subjects in ALL_EVENTS:
            await bus.subscribe(subjects, show)
        await bus.flush(FLUSH_TIMEOUT)
        print("watching events; Ctrl-C ends it", file=sys.stderr, flush=True)
        await enough.wait()


def line_of(message: BusMessage, wanted: Wanted, *, as_json: bool) -> str | None:
    """What is printed of an event; None when it is not to be shown."""
    try:
        subject = parse(message.subject)
    except InvalidName:
        return None
    event = _event_of(subject) if isinstance(subject, EventSubject) else None
    if event is None or event is REPLICA_ALIVE or not isinstance(subject, EventSubject):
        return None
    try:
        record = wire_form(decode(event.record, message.data))
    except DecodeError as exc:
        return printable(f"{message.subject}: {exc}")
    if not wanted.includes(record):
        return None
    if as_json:
        whole = {"subject": message.subject, "headers": dict(message.headers), "record": record}
        return json.dumps(whole, ensure_ascii=False)
    shown = [f"{name}={_text(value)}" for name, value in record.items() if name not in HIDDEN]
    if revision := message.headers.get("Kaa-Endpoint-Revision"):
        shown.append(f"revision={revision}")
    start = [iso_timestamp(record["timestamp"]), subject.instance, ".".join(subject.path)]
    return printable(" ".join([*start, *shown]))


def wire_form(value: Any) -> Any:
    """A record as JSON-like data under the names of its RFC."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [field["name"] for field in schema_of(type(value))["fields"]]
        return {name: wire_form(getattr(value, it.name)) for name, it in zip(names, fields(value), strict=True)}
    if isinstance(value, Mapping):
        return {name: wire_form(member) for name, member in value.items()}
    return [wire_form(member) for member in value] if isinstance(value, tuple) else value


def _event_of(subject: EventSubject) -> Event[Any] | None:
    for event in EVENTS:
        if len(event.path) == len(subject.path) and all(
            expected in ("*", part) for expected, part in zip(event.path, subject.path, strict=True)
        ):
            return event
    return None


def _endpoints(record: Mapping[str, Any]) -> Iterator[str]:
    if "endpointId" in record:
        yield record["endpointId"]
    yield from record.get("endpoints", ())
    yield from record.get("endpointIds", ())
    for _, endpoints in _traffic(record):
        yield from endpoints


def _applications(record: Mapping[str, Any]) -> Iterator[str]:
    for name in ("applicationName", "appName"):
        if record.get(name) is not None:
            yield record[name]
    versions = [record.get("appVersionName"), *record.get("endpoints", {}).values()]
    yield from (application_of(version) for version in versions if version is not None)
    for application, _ in _traffic(record):
        yield application


def _traffic(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Applications with their endpoints, of a traffic report."""
    for applications in record.get("tenantTrafficStats", {}).values():
        yield from applications.items()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
