"""The bridge: 1/KP requests taken from an MQTT broker that devices are connected to, answers published back to it.

Each replica has a part of the shared subscription `$share/<group>/kp1/#`. The broker sends our own answers back to us,
which nothing in MQTT can exclude, so what ends in `/status` or `/error` is taken for an answer. As on a connection of
our own, a QoS 1 message is acknowledged when its fate is known. One that a part out of reach has kept from being done
is not: after a while the bridge connects again, and the broker sends it again. Who is connected only the broker knows.
"""

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from kaa_common.budget import Budget
from kpc.bridge_settings import BridgeSettings, Broker
from kpc.edge import Outcome
from kpc.kp1 import ERROR, STATUS, error_payload
from kpc.tokens import Guesser

logger = logging.getLogger(__name__)

CONNECTED = Gauge("kpc_bridge_connected", "Whether the bridge is connected to its broker")
REFUSED = Metric("kpc_bridge_refused", "QoS 0 messages of the bridge refused as too many were in progress")

MAX_REPLY_QOS = 1
KEEP_ALIVE = 20
CONNECT_TIMEOUT = 10.0
"""Seconds until CONNACK and SUBACK are there."""
CLOSE_TIMEOUT = 2.0
FINISH_TIMEOUT = 10.0
"""Seconds that requests in progress get when the process stops: more than one takes."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""Seconds until the next attempt to connect, doubled after each that fails."""
WITHHELD_FOR = 10.0
"""Seconds that a message stays unacknowledged before we connect again, which is how it is sent again."""
LOOK_EVERY = 5.0
RETRY_SENDING = 0.05
"""Seconds until another try, when all that the broker may have unacknowledged from us is no answer."""
GUESSES, GUESSES_PER_SECOND = 1000, 50.0
"""Wrong tokens over the bridge before tokens that are not known yet have to wait: it may carry a whole fleet."""
NEVER_RECONNECT = -2
"""gmqtt tries again by itself while 0 or more failures are at most this; -1 means always."""
SUBSCRIPTION_REFUSED = 0x80
ACKNOWLEDGED = 0

Properties = Mapping[str, Any]  # Any: what gmqtt makes of each property


class Requests(Protocol):
    """What carries a request to its extension: `edge.Edge`."""

    async def request(self, transport: str, path: str, payload: bytes, *, guesser: Guesser) -> Outcome: ...


class Bridge:
    """Works while `bridging`."""

    def __init__(self, edge: Requests, settings: BridgeSettings, broker: Broker, max_payload: int) -> None:
        self.edge = edge
        self.settings = settings
        self.broker = broker
        self.max_packet = 2 * max_payload + 65_536
        """Bytes: what is over the limit, but not much, is answered with 413; the broker keeps the rest from us."""
        self.guesser = Guesser(Budget(burst=GUESSES, per_second=GUESSES_PER_SECOND, max_names=1), "bridge")
        self._connection: _Connection | None = None

    async def run(self) -> None:
        """Be connected, forever."""
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            self._connection = _Connection(self)
            try:
                await self._connection.last()
            except (OSError, TimeoutError, MQTTConnectError) as exc:
                logger.warning("the bridge is not connected to %s: %s", self._where, exc or "no answer in time")
            finally:
                await self._connection.close()
            if time.monotonic() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def finish(self) -> None:
        """Take no more messages, and answer those that were taken."""
        if self._connection is not None:
            await self._connection.finish()

    @property
    def _where(self) -> str:
        return f"{self.broker.host}:{self.broker.port}"


@asynccontextmanager
async def bridging(edge: Requests, settings: BridgeSettings, max_payload: int) -> AsyncIterator[None]:
    """Take requests from the broker, if there is to be one, until the context is left, and finish what was begun."""
    if settings.url is None:
        yield
        return
    bridge = Bridge(edge, settings, Broker.of(settings.url), max_payload)
    # Its records have topics in them, and so tokens; what matters of them is said here.
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL + 1)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bridge.run(), name="bridge")
        try:
            yield
        finally:
            await bridge.finish()
            running.cancel()


class _Connection:
    """One connection to the broker. What it leaves unacknowledged the broker sends on the next one."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._subscribed = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        """Set when it has ended, or a message is withheld."""
        self._refused = False
        self._turns = asyncio.Semaphore(bridge.settings.max_in_flight)
        self._in_progress = Counter[bool]()
        """Of those that are acknowledged (True), and those that need not be."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers = PersistentStorage()
        """Those that the broker has not acknowledged; kept here to know when it has."""
        settings, broker = bridge.settings, bridge.broker
        self._client = gmqtt.Client(
            settings.client_id,
            clean_session=False,
            optimistic_acknowledgement=False,
            persistent_storage=self._answers,
            session_expiry_interval=settings.session_expiry,
            receive_maximum=settings.max_in_flight,
            maximum_packet_size=bridge.max_packet,
        )
        self._client.reconnect_retries = NEVER_RECONNECT
        if broker.username is not None:
            self._client.set_auth_credentials(broker.username, broker.password)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    async def last(self) -> None:
        """Connect, and return when the connection has ended or is to be. Raises when there is none."""
        broker = self._bridge.broker
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
        if not self._ended.is_set():
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
        return f"$share/{self._bridge.settings.group}/kp1/#"

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
            await self._answer(topic, outcome, min(qos, MAX_REPLY_QOS))
        finally:
            self._in_progress[bool(qos)] -= 1
            if not self._in_progress.total():
                self._idle.set()
        if qos and outcome.status_code >= 500:
            self._changed.set()
            # It would be taken for done otherwise. When the connection has ended, what we return goes nowhere.
            await self._ended.wait()
        return ACKNOWLEDGED

    async def _outcome(self, topic: str, payload: bytes, qos: int) -> Outcome:
        request = self._bridge.edge.request
        if qos:
            async with self._turns:  # in case the broker does not keep to our receive maximum
                return await request("bridge", topic, payload, guesser=self._bridge.guesser)
        if self._in_progress[False] > self._bridge.settings.max_in_flight:
            REFUSED.inc()
            return Outcome(status_code=429, reason_phrase="too many requests are in progress")
        return await request("bridge", topic, payload, guesser=self._bridge.guesser)

    async def _answer(self, topic: str, outcome: Outcome, qos: int) -> None:
        if not outcome.is_success:
            payload = error_payload(outcome.status_code, outcome.reason_phrase)
            await self._send(lambda: self._client.publish(topic + ERROR, payload, qos))
        elif outcome.has_request_id or outcome.payload:
            await self._send(lambda: self._client.publish(topic + STATUS, outcome.payload, qos))

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
