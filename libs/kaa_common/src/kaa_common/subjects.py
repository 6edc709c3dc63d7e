"""NATS subjects of 3/ISM, built and parsed in this one place.

    kaa.v1.service.<service instance>.<protocol>.<message type>     one replica of the service handles it
    kaa.v1.replica.<replica id>.<protocol>.<message type>           that replica handles it
    kaa.v1.events.<service instance>.<entity>...<event type>        whoever listens
    open.kaa.v1.events.<service instance>...                        the same, for events that no RFC knows

Names arrive from topics, URLs and messages of others. Only `[A-Za-z0-9_-]+` becomes a token of a subject, so nobody can
inject a separator or a wildcard.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from kaa_common.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_PREFIX = "kaa.v1"

MAX_REMEMBERED = 1000
"""Subjects remembered once built: a process asks few instances, answers few replicas, and has few events of its own."""


class InvalidName(BadRequest):
    """The name cannot be part of a subject."""


def checked_name(name: str) -> str:
    """The name itself. Raises InvalidName unless it is 1 to 128 characters of `A-Za-z0-9_-`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidName("a name may hold only letters, digits, _ and -")
    return name


@lru_cache(MAX_REMEMBERED)
def service_subject(instance: str, protocol: str, message_type: str) -> str:
    return f"{_PREFIX}.service.{checked_name(instance)}.{protocol}.{message_type}"


@lru_cache(MAX_REMEMBERED)
def replica_subject(replica_id: str, protocol: str, message_type: str) -> str:
    return f"{_PREFIX}.replica.{checked_name(replica_id)}.{protocol}.{message_type}"


def replica_subjects(replica_id: str) -> str:
    """Wildcard of everything addressed to the replica."""
    return f"{_PREFIX}.replica.{checked_name(replica_id)}.>"


@lru_cache(MAX_REMEMBERED)
def event_subject(instance: str, *path: str, of_rfc: bool = True) -> str:
    """Whoever listens to `kaa.v1.events.>` knows the schemas of the RFCs, so other events stay out of it."""
    return ".".join((_prefix(of_rfc), "events", *map(checked_name, (instance, *path))))


def events_subject(instance: str, *path: str, of_rfc: bool = True) -> str:
    """As `event_subject`, where `*` stands for any one name: what a listener subscribes to."""
    names = (name if name == "*" else checked_name(name) for name in (instance, *path))
    return ".".join((_prefix(of_rfc), "events", *names))


def _prefix(of_rfc: bool) -> str:
    return _PREFIX if of_rfc else f"open.{_PREFIX}"


@dataclass(frozen=True, slots=True)
class ServiceSubject:
    """The parts of a `kaa.v1.service.` or `kaa.v1.replica.` subject; `owner` is the instance or the replica."""

    owner: str
    protocol: str
    message_type: str


@dataclass(frozen=True, slots=True)
class EventSubject:
    """The parts of a `kaa.v1.events.` or `open.kaa.v1.events.` subject."""

    instance: str
    path: tuple[str, ...]


def parse(subject: str) -> ServiceSubject | EventSubject:
    """Raises InvalidName when the subject is not one of 3/ISM's."""
    parts = subject.split(".")
    for part in parts:
        checked_name(part)
    match parts:
        case ["kaa", "v1", "service" | "replica", owner, protocol, *message_type] if message_type:
            return ServiceSubject(owner, protocol, ".".join(message_type))
        case ["kaa", "v1", "events", instance, *path] | ["open", "kaa", "v1", "events", instance, *path] if path:
            return EventSubject(instance, tuple(path))
    raise InvalidName("not a subject of 3/ISM")
