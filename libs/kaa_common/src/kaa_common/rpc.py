"""Typed requests, answers and events over the bus (3/ISM).

A request names this replica's subject as its reply subject; the answer is matched by its correlation id. When nobody
serves the requested subject, nats-server says so at once ("no responders"; since 2.12 with the subject in
`Nats-Subject`, with an older one the deadline decides).
A request that arrives expired is dropped: nobody waits for its answer any more.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from cachetools import LRUCache, TTLCache

from kaa_common import log
from kaa_common.avro import DecodeError, decode, encode, leading_string
from kaa_common.bus import NO_HEADERS, Bus, BusMessage, Handler
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import DeadlineExceeded, PayloadTooLarge, TooManyRequests, Unavailable, status_of
from kaa_common.messages.declared import (
    Answer,
    Endpoint,
    Event,
    EventHeader,
    EventRecord,
    Message,
    MessageHeader,
    Request,
    Response,
)
from kaa_common.subjects import InvalidName, replica_subject, replica_subjects

logger = logging.getLogger(__name__)

MAX_PENDING_CALLS = 50_000
"""Requests of one replica that may wait for an answer: more than a replica's devices can have in flight."""
MAX_NOT_ANSWERING = 1000
"""Service instances and replicas remembered as not answering; far more than an installation has."""
LONGEST_HANDLING = 60.0
"""Seconds a request without a deadline of its own is worked on."""
MAX_GIVEN_UP, GIVEN_UP_FOR = 50_000, 60.0
"""Requests that nobody waits for any more, and seconds for which an answer to them is known as too late."""
SERVE_CONCURRENCY = 512
"""Requests of one endpoint that a replica handles at once: enough to fill the store's batches many times over."""

ResponseType = TypeVar("ResponseType", bound=Answer)


class Reply(NamedTuple, Generic[ResponseType]):
    """A response, and the headers to send with it: what the RFC's record cannot carry."""

    message: ResponseType
    headers: Mapping[str, str] = NO_HEADERS


@dataclass(slots=True)
class _PendingCall:
    endpoint: Endpoint[Any, Any]
    subject: str
    answer: asyncio.Future[Reply[Any]]


_PROCESS = secrets.token_hex(8)
_NUMBERS = count()


def new_correlation_id() -> str:
    """One that no other request has: 64 random bits of this process, and a number."""
    return f"{_PROCESS}{next(_NUMBERS):016x}"


def request_header(deadline: Deadline, correlation_id: str = "") -> MessageHeader:
    """The first fields of a request; the correlation id is the one given, else a new one.

    Raises DeadlineExceeded when there is no time left.
    """
    return {
        "correlation_id": correlation_id or new_correlation_id(),
        "timestamp": now_ms(),
        "timeout": deadline.remaining_ms(),
    }


def event_header() -> EventHeader:
    """The first fields of an event or a response to the request being handled."""
    return {"correlation_id": log.correlation_id.get() or new_correlation_id(), "timestamp": now_ms()}


def answer_header(request: Message) -> EventHeader:
    """The first fields of the response to a request."""
    return {"correlation_id": request.correlation_id, "timestamp": now_ms()}


class Rpc:
    """Requests and answers of one service replica. `start` before use."""

    def __init__(self, bus: Bus, replica_id: str) -> None:
        self.bus = bus
        self.replica_id = replica_id
        self._pending: dict[str, _PendingCall] = {}
        self._not_answering: LRUCache[str, bool] = LRUCache(MAX_NOT_ANSWERING)
        self._given_up: TTLCache[str, bool] = TTLCache(MAX_GIVEN_UP, GIVEN_UP_FOR)
        self._unasked: dict[str, Handler] = {}

    async def start(self) -> None:
        await self.bus.subscribe(replica_subjects(self.replica_id), self._receive_answer)

    async def call(
        self,
        endpoint: Endpoint[Request, Response],
        instance: str,
        request: Request,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply[Response]:
        """Send a request to a service instance and wait for its answer, whatever its status code.

        Raises Unavailable when nobody serves it or the bus is down, DeadlineExceeded when the request's own deadline
        passes, TooManyRequests when MAX_PENDING_CALLS are waiting already.
        """
        if len(self._pending) >= MAX_PENDING_CALLS:
            raise TooManyRequests("too many requests are in progress")
        if request.correlation_id in self._pending:
            raise ValueError("two requests with one correlation id")
        loop = asyncio.get_running_loop()
        call = _PendingCall(endpoint, endpoint.subject(instance), loop.create_future())
        self._pending[request.correlation_id] = call
        is_answered = False
        try:
            await self.bus.publish(
                call.subject,
                encode(request),
                reply=replica_subject(self.replica_id, endpoint.protocol, endpoint.response_type),
                headers=headers,
            )
            # A publish hands over and does not wait, so a timer of the answer's own does; a timeout of both costs more.
            timer = loop.call_later(request.timeout / 1000, _give_up, call.answer)
            try:
                answer = await call.answer
            finally:
                timer.cancel()
            is_answered = True
            self._answers(instance)
            return answer
        except TimeoutError as exc:
            self._does_not_answer(instance, "it is silent")
            raise DeadlineExceeded(f"{instance} did not answer in time") from exc
        except Unavailable as exc:
            self._does_not_answer(instance, str(exc))
            raise
        finally:
            del self._pending[request.correlation_id]
            if not is_answered:
                self._given_up[request.correlation_id] = True

    def take_unasked(self, endpoint: Endpoint[Any, Any], handler: Handler) -> None:
        """Hand over what looks like this endpoint's response and answers no request of this replica, one at a time.

        The late answer to a request that was given up is none of it.
        """
        self._unasked[replica_subject(self.replica_id, endpoint.protocol, endpoint.response_type)] = handler

    def _does_not_answer(self, instance: str, reason: str) -> None:
        """Say so once, not for each request."""
        if instance not in self._not_answering:
            self._not_answering[instance] = True
            logger.warning("%s does not answer: %s", instance, reason)

    def _answers(self, instance: str) -> None:
        if self._not_answering and self._not_answering.pop(instance, False):
            logger.info("%s answers again", instance)

    async def serve(
        self,
        endpoint: Endpoint[Request, Response],
        instance: str,
        handler: Callable[[Request], Awaitable[Reply[Response]]],
        *,
        concurrency: int = SERVE_CONCURRENCY,
    ) -> None:
        """Answer the requests to a service instance, shared with its other replicas.

        An error of the handler becomes a response with its status code (`errors.status_of`).
        """

        async def handle(message: BusMessage) -> None:
            try:
                request = decode(endpoint.request, message.data)
            except DecodeError as exc:
                logger.warning("ignored a message on %s: %s", message.subject, exc)
                return
            log.correlation_id.set(request.correlation_id)
            deadline = Deadline.of(request.timestamp, request.timeout, longest=LONGEST_HANDLING)
            if deadline.expired:
                logger.debug("dropped an expired request on %s", message.subject)
                return
            answer, headers = await self._handle(endpoint, handler, request, deadline)
            if message.reply:
                try:
                    await self.bus.publish(message.reply, answer, headers=headers)
                except PayloadTooLarge as exc:
                    await self.bus.publish(message.reply, _failed(endpoint, request, exc))

        await self.bus.subscribe(endpoint.subject(instance), handle, queue=instance, concurrency=concurrency)

    async def emit(self, event: Event[EventRecord], instance: str, record: EventRecord, *names: str) -> None:
        """Publish an event of the service instance; `names` fill the `*` of its path. Raises Unavailable."""
        await self.bus.publish(event.subject(instance, *names), encode(record))

    async def listen(
        self,
        event: Event[EventRecord],
        instance: str,
        handler: Callable[[EventRecord], Awaitable[None]],
        *,
        queue: str = "",
        concurrency: int = 1,
    ) -> None:
        """Handle the events of a service instance in their order; with a `concurrency` above 1 up to so many at once.

        With a `queue` only one of its replicas gets each. One that is malformed, or has an id that the handler finds to
        be an InvalidName, is ignored.
        """

        async def handle(message: BusMessage) -> None:
            try:
                record = decode(event.record, message.data)
                log.correlation_id.set(record.correlation_id)
                logger.debug("heard an event on %s", message.subject)
                await handler(record)
            except (DecodeError, InvalidName) as exc:
                logger.warning("ignored an event on %s: %s", message.subject, exc)

        await self.bus.subscribe(event.wildcard(instance), handle, queue=queue, concurrency=concurrency)

    async def _handle(
        self,
        endpoint: Endpoint[Request, Response],
        handler: Callable[[Request], Awaitable[Reply[Response]]],
        request: Request,
        deadline: Deadline,
    ) -> tuple[bytes, Mapping[str, str]]:
        try:
            async with asyncio.timeout(deadline.remaining()) as limit:
                reply = await handler(request)
            encoded = encode(reply.message)
            logger.debug("answered %s: %d", endpoint.request_type, reply.message.status_code)
            return encoded, reply.headers
        except Exception as exc:
            error = DeadlineExceeded("not done in time") if limit.expired() else exc
            status_code, reason = status_of(error)
            if status_code == 500:
                logger.exception("a request on %s failed", endpoint.request_type)
            logger.debug("answered %s: %d %s", endpoint.request_type, status_code, reason)
            return _failed(endpoint, request, error), {}

    def _receive_answer(self, message: BusMessage) -> Awaitable[None] | None:
        if message.headers.get("Status") == "503":
            self._nobody_serves(message.headers.get("Nats-Subject", ""))
            return None
        try:
            correlation_id = leading_string(message.data)
            call = self._pending.get(correlation_id)
            if call is not None and not call.answer.done():
                call.answer.set_result(Reply(decode(call.endpoint.response, message.data), message.headers))
                return None
        except DecodeError as exc:
            logger.warning("ignored an answer on %s: %s", message.subject, exc)
            return None
        take = self._unasked.get(message.subject)
        if take is not None and correlation_id not in self._given_up:
            return take(message)
        logger.debug("nobody waits for an answer on %s", message.subject)
        return None

    def _nobody_serves(self, subject: str) -> None:
        """Fail the youngest call to the subject: those before it were taken by somebody who is gone by now."""
        for call in reversed(self._pending.values()):
            if call.subject == subject and not call.answer.done():
                call.answer.set_exception(Unavailable(f"nobody serves {subject.split('.')[3]}"))
                return


def _give_up(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def failure(
    endpoint: Endpoint[Request, Response], request: Request, status_code: int, reason_phrase: str | None
) -> Response:
    """The response that carries only a status: what it shares with the request is copied, the rest is empty."""
    shared, empty = _failure_fields(endpoint)
    values = empty | {name: getattr(request, name) for name in shared} | answer_header(request)
    return endpoint.response(**values | {"status_code": status_code, "reason_phrase": reason_phrase})


def _failed(endpoint: Endpoint[Any, Any], request: Any, error: Exception) -> bytes:
    return encode(failure(endpoint, request, *status_of(error)))


@cache
def _failure_fields(endpoint: Endpoint[Any, Any]) -> tuple[frozenset[str], dict[str, Any]]:
    own = {"correlation_id", "timestamp", "timeout", "payload", "status_code", "reason_phrase"}
    hints = get_type_hints(endpoint.response)
    shared = hints.keys() & get_type_hints(endpoint.request).keys() - own
    empty = {name: _empty_value(hint) for name, hint in hints.items() if name not in shared and name not in own}
    if "payload" in hints:
        empty["payload"] = None
    return frozenset(shared), empty


def _empty_value(hint: Any) -> Any:
    if type(None) in get_args(hint):
        return None
    if get_origin(hint) is Mapping:
        return {}
    empty: Callable[[], Any] = get_origin(hint) or hint  # tuple, int, str and the like are empty when called
    return empty()
