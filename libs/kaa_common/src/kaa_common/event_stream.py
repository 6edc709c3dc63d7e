"""Events kept in a JetStream stream, where nats-server has JetStream; else they are published, and kept by nobody.

It takes the place of the bus behind an outbox: `flush` returns when the stream has acknowledged what was published
before, so that an event leaves its document only when the stream has it. Without JetStream it asks the server, as the
bus does. Every event is published once, on its own subject: who listens there notices no difference.

JetStream is spoken here as what it is, requests in JSON on subjects of NATS: three of them are all that is needed.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from kaa_common.bus import Bus, BusMessage
from kaa_common.errors import Unavailable
from kaa_common.subjects import checked_name

logger = logging.getLogger(__name__)

API_TIMEOUT: Final = 5.0
"""Seconds JetStream has to create or describe a stream."""
DUPLICATE_WINDOW: Final = 120.0
"""Seconds in which the stream drops an event with a `Nats-Msg-Id` it has: a sweep repeats much sooner."""
ABSENT_FOR: Final = 30.0
"""Seconds JetStream has to be away before it is believed to be gone: a server that starts is quicker than that."""

_API: Final = "$JS.API"
_NANOSECONDS: Final = 1_000_000_000
_NOT_FOUND: Final = 10059
"""JetStream's error code for a stream that does not exist."""
_EXISTS: Final = 10058
"""For one that exists, but with another configuration: another replica was quicker."""

Answer = Mapping[str, Any]  # Any: JSON of JetStream
_NOBODY: Final[Answer] = {"error": {"description": "nobody keeps them"}}
"""What the server's word that nobody listens is taken for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What a stream keeps; the oldest events go first."""

    max_age: float
    """Seconds."""
    max_bytes: int


class EventStream:
    """The stream of the events of a service instance, `kaa-<instance>-events`. `start` before use."""

    def __init__(self, bus: Bus, instance: str, limits: StreamLimits, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self._bus = bus
        self._name = f"kaa-{checked_name(instance)}-events"
        self._config = {
            "name": self._name,
            "subjects": [f"kaa.v1.events.{instance}.>"],
            "description": f"Events of the service instance {instance}",
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": round(limits.max_age * _NANOSECONDS),
            "max_bytes": limits.max_bytes,
            "duplicate_window": round(min(DUPLICATE_WINDOW, limits.max_age) * _NANOSECONDS),
        }
        self._clock = clock
        self._inbox = f"_INBOX.{uuid.uuid4().hex}"
        self._sent = 0
        self._unacknowledged: dict[int, None] = {}
        self._acknowledged = asyncio.Event()
        self._refusal = ""
        self._losses = 0
        self._keeps: bool | None = None
        """Whether there is a stream on this connection; None while nobody has looked."""
        self._was_kept = False
        self._absent_since: float | None = None
        self._looking = asyncio.Lock()
        self._answers: dict[str, asyncio.Future[Answer]] = {}

    async def start(self) -> None:
        """Hear the stream's answers; look for it, if the bus is connected."""
        self._bus.on_connection_lost(self._connection_lost)
        await self._bus.subscribe(f"{self._inbox}.*", self._receive)
        with contextlib.suppress(Unavailable):
            await self._is_kept()

    async def publish(self, subject: str, data: bytes, *, headers: Mapping[str, str]) -> None:
        """Hand an event to the bus. Raises Unavailable, PayloadTooLarge."""
        if self._keeps is False:
            await self._bus.publish(subject, data, headers=headers)
            return
        self._sent += 1
        number = self._sent
        # Before it is sent, as the answer may be quicker than the return.
        self._unacknowledged[number] = None
        try:
            await self._bus.publish(subject, data, reply=f"{self._inbox}.{number}", headers=headers)
        except BaseException:
            self._unacknowledged.pop(number, None)
            raise

    async def flush(self, timeout: float) -> None:
        """Return when what was published before is kept. Raises Unavailable when something is not."""
        losses, last = self._losses, self._sent
        try:
            async with asyncio.timeout(timeout):
                if await self._is_kept():
                    await self._wait_acknowledged(last)
                else:
                    await self._bus.flush(timeout)
        except TimeoutError as exc:
            self._connection_lost()
            raise Unavailable("the stream of events does not answer") from exc
        if losses != self._losses:
            raise Unavailable("the connection was lost meanwhile")
        if self._refusal:
            refusal = self._refusal
            self._connection_lost()
            raise Unavailable(f"the stream of events refuses: {refusal}")

    def on_connection_lost(self, callback: Callable[[], None]) -> None:
        """As of the bus."""
        self._bus.on_connection_lost(callback)

    async def _wait_acknowledged(self, last: int) -> None:
        # Numbers grow, and a dict keeps their order: the first is the oldest.
        while self._unacknowledged and next(iter(self._unacknowledged)) <= last:
            self._acknowledged.clear()
            await self._acknowledged.wait()

    async def _receive(self, message: BusMessage) -> None:
        name = message.subject.rpartition(".")[2]
        answer: Answer = _NOBODY if message.headers.get("Status") == "503" else orjson.loads(message.data)
        if name in self._answers:
            self._answers.pop(name).set_result(answer)
        elif name.isdigit() and int(name) in self._unacknowledged:
            del self._unacknowledged[int(name)]
            if "error" in answer:
                self._refusal = str(answer["error"].get("description"))
            self._acknowledged.set()

    def _connection_lost(self) -> None:
        """What is not acknowledged may be lost, and perhaps the stream as well: look for it again."""
        self._losses += 1
        self._keeps = None
        self._unacknowledged.clear()
        self._refusal = ""
        self._acknowledged.set()
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()

    async def _is_kept(self) -> bool:
        """Whether there is a stream; it is made, if it can be. Raises Unavailable when that cannot be told now."""
        async with self._looking:
            if self._keeps is None:
                losses = self._losses
                keeps = await self._ensure()
                if losses != self._losses:
                    raise Unavailable("the connection was lost meanwhile")
                self._check_absence(keeps)
                self._keeps = keeps
                if not keeps:
                    self._unacknowledged.clear()
                    self._refusal = ""
            return self._keeps

    def _check_absence(self, keeps: bool) -> None:
        """A stream that was there may be coming back. Raises Unavailable."""
        if keeps:
            self._was_kept, self._absent_since = True, None
        elif self._was_kept:
            if self._absent_since is None:
                self._absent_since = self._clock()
            if self._clock() - self._absent_since < ABSENT_FOR:
                raise Unavailable("the stream of events is away")

    async def _ensure(self) -> bool:
        info = await self._ask(f"STREAM.INFO.{self._name}")
        if info is _NOBODY:
            logger.info("this NATS has no JetStream: events are published and not kept")
            return False
        config = info.get("config")
        if _code(info) == _NOT_FOUND:
            answer = await self._ask(f"STREAM.CREATE.{self._name}", self._config)
        elif config is not None and any(config.get(name) != value for name, value in self._config.items()):
            # What else an operator has set, as the number of replicas, stays.
            answer = await self._ask(f"STREAM.UPDATE.{self._name}", {**config, **self._config})
        else:
            answer = info
        if "error" in answer:
            logger.error("cannot keep events in the stream %s: %s", self._name, answer["error"].get("description"))
        # One that has other limits than it should is still a stream.
        return config is not None or "error" not in answer or _code(answer) == _EXISTS

    async def _ask(self, request: str, body: Any = None) -> Answer:
        name = f"api-{uuid.uuid4().hex}"
        self._answers[name] = asyncio.get_running_loop().create_future()
        answer = self._answers[name]
        try:
            async with asyncio.timeout(API_TIMEOUT):
                data = b"" if body is None else orjson.dumps(body)
                await self._bus.publish(f"{_API}.{request}", data, reply=f"{self._inbox}.{name}")
                # Not the future itself: that it is cancelled must not look as if this task was.
                await asyncio.wait([answer])
        except TimeoutError as exc:
            raise Unavailable("JetStream does not answer") from exc
        finally:
            self._answers.pop(name, None)
        if answer.cancelled():
            raise Unavailable("the connection was lost meanwhile")
        return answer.result()


def _code(answer: Answer) -> Any:
    return answer.get("error", {}).get("err_code")
