"""One connection of the bridge to its broker. What it leaves unacknowledged the broker sends on the next one.

gmqtt acknowledges by packet id on whatever connection its client has, so every connection has a client of its own: a
late acknowledgement then goes nowhere, and hits no message of the next connection.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import gmqtt
from gmqtt.storage import PersistentStorage
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from kpc.bridge_settings import BridgeSettings, Broker
from kpc.edge import Outcome
from kpc.kp1 import ERROR, STATUS, error_payload
from kpc.mqtt.properties import readable
from kpc.tokens import Guesser

logger = logging.getLogger(__name__)

CONNECTED = Gauge("kpc_bridge_connected", "Whether the bridge is connected to its broker")
REFUSED = Metric("kpc_bridge_refused", "QoS 0 messages of the bridge refused as too many were in progress")

MAX_REPLY_QOS = 1
MAX_ANSWERED_TOPIC = 65_535 - len(STATUS)
"""Bytes: there is no topic for the answer to a longer one."""
KEEP_ALIVE = 20
CONNECT_TIMEOUT = 10.0
"""Seconds until CONNACK and SUBACK are there."""
CLOSE_TIMEOUT = 2.0
FINISH_TIMEOUT = 10.0
"""Seconds that requests in progress get when the process stops: more than one takes."""
WITHHELD_FOR = 10.0
"""Seconds that a message stays unacknowledged before we connect again, which is how it is sent again."""
LOOK_EVERY = 5.0
"""Seconds after which a connection is looked at, should gmqtt not have told its end."""
RETRY_SENDING = 0.05
"""Seconds until another try, when all that the broker may have unacknowledged from us is no answer."""
NEVER_RECONNECT = -2
"""gmqtt tries again by itself while 0 or more failures are at most this; -1 means always."""
SUBSCRIPTION_REFUSED = 0x80
ACKNOWLEDGED = 0

Properties = Mapping[str, Any]  # Any: what gmqtt makes of each property


class Requests(Protocol):
    """What carries a request to its extension: `edge.Edge`."""

    async def request(self, transport: str, path: str, payload: bytes, *, guesser: Guesser) -> Outcome: ...

    def sent(self, outcome: Outcome, size: int) -> None: ...


class BridgeConnection:
    """Made for one `last`."""

    def __init__(
        self, edge: Requests, guesser: Guesser, settings: BridgeSettings, broker: Broker, max_packet: int
    ) -> None:
        """`max_packet` bytes are what the broker may send at once; it keeps larger messages from us."""
        self._edge = edge
        self._guesser = guesser
        self._settings = settings
        self._broker = broker
        self._subscribed = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        """Set when it has ended, or a message is withheld."""
        self._refused = False
        self.reason = "the connection was lost"
        """Why it has ended."""
        self._turns = asyncio.Semaphore(settings.max_in_flight)
        self._in_progress = Counter[bool]()
        """Of those that are acknowledged (True), and those that need not be."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers = PersistentStorage()
        """Those that the broker has not acknowledged; kept here to know when it has."""
        self._client = gmqtt.Client(
            settings.client_id,
            clean_session=False,
            optimistic_acknowledgement=False,
            persistent_storage=self._answers,
            session_expiry_interval=settings.session_expiry,
            receive_maximum=settings.max_in_flight,
            maximum_packet_size=max_packet,
        )
        self._client.reconnect_retries = NEVER_RECONNECT
        if broker.username is not None:
            self._client.set_auth_credentials(broker.username, broker.password)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    async def last(self) -> None:
        """Connect, and return when the connection has ended or is to be. Raises when there is none."""
        broker = self._broker
        tls = ssl.create_default_context() if broker.tls else False
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await self._client.connect(broker.host, broker.port, ssl=tls, keepalive=KEEP_ALIVE)
            self._client.subscribe(self._topic_filter, qos=1)
            await self._subscribed.wait()
        if self._refused:
            raise ConnectionError("the broker refuses the shared subscription")
        logger.info("the bridge is connected to %s:%d", broker.host, broker.port)
        CONNECTED.set(1)
        while not self._changed.is_set() and self._client.is_connected:
            await _wait(self._changed, LOOK_EVERY)
        if not self._ended.is_set() and self._client.is_connected:
            self.reason = "a message could not be passed on"
            await _wait(self._ended, WITHHELD_FOR)

    async def finish(self) -> None:
        await self._send(lambda: self._client.unsubscribe(self._topic_filter))
        await _wait(self._idle, FINISH_TIMEOUT)

    async def close(self) -> None:
        """Return when nothing of it is left."""
        CONNECTED.set(0)
        self._ended.set()
        self._changed.set()
        self._answers.clear()  # whoever waits for the window goes on
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._client.disconnect()
        except (OSError, TimeoutError):
            logger.debug("the connection to the broker did not close in order")

    @property
    def _topic_filter(self) -> str:
        return f"$share/{self._settings.group}/kp1/#"

    # What gmqtt calls

    def _on_subscribe(
        self, client: gmqtt.Client, packet_id: int, granted: Sequence[int], properties: Properties
    ) -> None:
        self._refused = any(code >= SUBSCRIPTION_REFUSED for code in granted)
        self._subscribed.set()

    def _on_disconnect(self, client: gmqtt.Client, packet: object, exc: object = None) -> None:
        self._ended.set()
        self._changed.set()
        self._answers.clear()

    async def _on_message(
        self, client: gmqtt.Client, topic: str | bytes, payload: bytes, qos: int, properties: Properties
    ) -> int:
        """Acknowledges when it returns."""
        if isinstance(topic, bytes) or topic.endswith((STATUS, ERROR)):
            return ACKNOWLEDGED
        self._in_progress[bool(qos)] += 1
        self._idle.clear()
        try:
            outcome = await self._outcome(topic, payload, qos)
            await self._answer(topic, outcome, min(qos, MAX_REPLY_QOS), properties)
            is_done = outcome.status_code < 500
        except Exception:
            logger.exception("a message of the bridge failed")
            is_done = False
        finally:
            self._in_progress[bool(qos)] -= 1
            if not self._in_progress.total():
                self._idle.set()
        if qos and not is_done:
            self._changed.set()
            # It would be taken for done otherwise. When the connection has ended, what we return goes nowhere.
            await self._ended.wait()
        return ACKNOWLEDGED

    async def _outcome(self, topic: str, payload: bytes, qos: int) -> Outcome:
        request = self._edge.request
        if qos:
            async with self._turns:  # in case the broker does not keep to our receive maximum
                return await request("bridge", topic, payload, guesser=self._guesser)
        if self._in_progress[False] > self._settings.max_in_flight:
            REFUSED.inc()
            return Outcome(status_code=429, reason_phrase="too many requests are in progress")
        return await request("bridge", topic, payload, guesser=self._guesser)

    async def _answer(self, topic: str, outcome: Outcome, qos: int, asked: Properties) -> None:
        is_wanted = not outcome.is_success or outcome.has_request_id or outcome.payload
        if not is_wanted or len(topic.encode()) > MAX_ANSWERED_TOPIC:
            return
        payload = outcome.payload
        if not outcome.is_success:
            payload = error_payload(outcome.status_code, outcome.reason_phrase)
        answered = topic + (STATUS if outcome.is_success else ERROR)
        said = [("statusCode", str(outcome.status_code)), ("reasonPhrase", readable(outcome.reason_phrase))]
        properties: dict[str, object] = {"user_property": [(name, value) for name, value in said if value]}
        if "correlation_data" in asked:
            properties["correlation_data"] = asked["correlation_data"][0]
        await self._send(lambda: self._client.publish(answered, payload, qos, **properties))
        self._edge.sent(outcome, len(payload))

    async def _send(self, send: Callable[[], object]) -> None:
        """Send when the broker's receive maximum allows it; nothing when the connection has ended."""
        while not self._ended.is_set() and self._client.is_connected:
            try:
                send()
                return
            except OverflowError:  # all packet ids that gmqtt may use are in use
                if self._answers.is_empty:
                    await _wait(self._ended, RETRY_SENDING)
                await self._answers.wait_empty()


async def _wait(event: asyncio.Event, timeout: float) -> None:
    """Return when the event is set, or after the timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await event.wait()
