"""The bridge: 1/KP requests taken from an MQTT broker that devices are connected to, answers published back to it.

Each replica has a part of the shared subscription `$share/<group>/kp1/#`. The broker sends our own answers back to us,
which nothing in MQTT can exclude, so what ends in `/status` or `/error` is taken for an answer. As on a connection of
our own, a QoS 1 message is acknowledged when its fate is known. One that a part out of reach has kept from being done
is not: after a while the bridge connects again, and the broker sends it again. Who is connected only the broker knows.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gmqtt.mqtt.handler import MQTTConnectError

from kaa_common.budget import Budget
from kpc.bridge_connection import BridgeConnection, Requests
from kpc.bridge_settings import BridgeSettings, Broker
from kpc.tokens import Guesser

logger = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""Seconds until the next attempt to connect, doubled after each that fails."""
GUESSES, GUESSES_PER_SECOND = 1000, 50.0
"""Wrong tokens over the bridge before tokens that are not known yet have to wait: it may carry a whole fleet."""


class Bridge:
    """Works while `bridging`."""

    def __init__(self, edge: Requests, settings: BridgeSettings, broker: Broker, max_payload: int) -> None:
        self._edge = edge
        self._settings = settings
        self._broker = broker
        # What is over the limit, but not much, is answered with 413; a broker drops the rest without a word.
        self._max_packet = 2 * max_payload + 65_536
        self._guesser = Guesser(Budget(burst=GUESSES, per_second=GUESSES_PER_SECOND, max_names=1), "bridge")
        self._connection: BridgeConnection | None = None

    async def run(self) -> None:
        """Be connected, forever."""
        where, delay = f"{self._broker.host}:{self._broker.port}", FIRST_DELAY
        while True:
            began = time.monotonic()
            connection = BridgeConnection(self._edge, self._guesser, self._settings, self._broker, self._max_packet)
            self._connection = connection
            try:
                await connection.last()
                logger.warning("the bridge connects to %s again: %s", where, connection.reason)
            except (OSError, TimeoutError, MQTTConnectError) as exc:
                logger.warning("the bridge is not connected to %s: %s", where, exc or "no answer in time")
            finally:
                await connection.close()
            if time.monotonic() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def finish(self) -> None:
        """Take no more messages, and answer those that were taken."""
        if self._connection is not None:
            await self._connection.finish()


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
