"""How a protocol is declared: endpoints and events as values (3/ISM)."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypedDict, TypeVar

from kaa_common.subjects import event_subject, events_subject, replica_subject, service_subject


class Message(Protocol):
    """What all records have in common."""

    @property
    def correlation_id(self) -> str: ...
    @property
    def timestamp(self) -> int: ...


class Expiring(Message, Protocol):
    """A record with a deadline: it expires `timeout` milliseconds after `timestamp`, or never when that is 0."""

    @property
    def timeout(self) -> int: ...


class Answer(Expiring, Protocol):
    """The answer to a request."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str | None: ...


class MessageHeader(TypedDict):
    """The fields that every request starts with, as keyword arguments."""

    correlation_id: str
    timestamp: int
    timeout: int


class EventHeader(TypedDict):
    """The fields that every event starts with, as keyword arguments."""

    correlation_id: str
    timestamp: int


Request = TypeVar("Request", bound=Expiring)
Response = TypeVar("Response", bound=Answer)
EventRecord = TypeVar("EventRecord", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Request, Response]):
    """A request to `kaa.v1.service.<instance>.<protocol>.<request_type>`, and its response, on the replica subject of
    the caller: `<protocol>.<response_type>`.
    """

    protocol: str
    request_type: str
    response_type: str
    request: type[Request]
    response: type[Response]
    owner: str
    of_replica: bool = False
    """Whether each replica is asked by itself: `kaa.v1.replica.<replica id>.<protocol>.<request_type>`."""

    def subject(self, whom: str) -> str:
        """Where the service instance (or replica) is asked."""
        build = replica_subject if self.of_replica else service_subject
        return build(whom, self.protocol, self.request_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[EventRecord]):
    """An event: `kaa.v1.events.<instance>.<path>`; a `*` in the path stands for one name given when it is sent."""

    path: tuple[str, ...]
    record: type[EventRecord]
    owner: str
    of_rfc: bool = True
    """Without an RFC it is `open.kaa.v1.events.<instance>.<path>`."""

    def subject(self, instance: str, *names: str) -> str:
        if len(names) != self.path.count("*"):
            raise ValueError(f"the subject of this event has {self.path.count('*')} names, not {len(names)}")
        if not names:
            return event_subject(instance, *self.path, of_rfc=self.of_rfc)
        remaining = iter(names)
        path = (next(remaining) if part == "*" else part for part in self.path)
        return event_subject(instance, *path, of_rfc=self.of_rfc)

    def wildcard(self, instance: str = "*") -> str:
        """What to subscribe to for every such event of the instance, or of all."""
        return events_subject(instance, *self.path, of_rfc=self.of_rfc)
