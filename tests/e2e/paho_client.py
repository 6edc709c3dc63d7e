"""A paho-mqtt client for tests that are coroutines: it has a thread of its own, and its events can be awaited."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .conftest import PATIENCE, Message

V31, V311, V5 = MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
Transport = Literal["tcp", "websockets"]


class PahoClient:
    """Messages come to it whether or not it subscribes; `messages` has them in their order."""

    def __init__(self, client_id: str | None, protocol: MQTTProtocolVersion, transport: Transport) -> None:
        self.paho = paho.Client(CallbackAPIVersion.VERSION2, client_id or "", protocol=protocol, transport=transport)
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.connected: asyncio.Queue[ReasonCode] = asyncio.Queue()
        self.ended: asyncio.Queue[ReasonCode] = asyncio.Queue()
        self._acknowledged: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.paho.on_message = self._on_message
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_subscribe = self._on_acknowledged
        self.paho.on_unsubscribe = self._on_acknowledged
        self.paho.reconnect_delay_set(60, 60)  # not by itself

    def publish(self, topic: str, payload: bytes | str | None = None, qos: int = 0, *, retain: bool = False) -> None:
        self.paho.publish(topic, payload, qos, retain)

    def subscribe_nowait(self, *topic_filters: str) -> int:
        """Return the packet id that SUBACK will have."""
        packet_id = self.paho.subscribe([(topic_filter, 0) for topic_filter in topic_filters])[1]
        assert packet_id is not None
        return packet_id

    async def subscribe(self, *topic_filters: str) -> None:
        await self.wait_acknowledged(self.subscribe_nowait(*topic_filters))

    async def unsubscribe(self, *topic_filters: str) -> None:
        packet_id = self.paho.unsubscribe(list(topic_filters))[1]
        assert packet_id is not None
        await self.wait_acknowledged(packet_id)

    async def wait_acknowledged(self, packet_id: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self._acknowledged.get() != packet_id:
                pass

    async def next_message(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await self.messages.get()

    async def ask(self, topic: str, payload: bytes | str | None = None, qos: int = 0) -> Message:
        """The next message after this one is published."""
        self.publish(topic, payload, qos)
        return await self.next_message()

    def _put(
        self, queue: asyncio.Queue[Message] | asyncio.Queue[ReasonCode] | asyncio.Queue[int], item: object
    ) -> None:
        self._loop.call_soon_threadsafe(queue.put_nowait, item)  # type: ignore[arg-type] # each has its own type

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self._put(self.messages, Message(message.topic, bytes(message.payload), message.qos))

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._put(self.connected, reason)

    def _on_disconnect(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._put(self.ended, reason)

    def _on_acknowledged(
        self, client: paho.Client, userdata: object, packet_id: int, reasons: object, properties: Properties | None
    ) -> None:
        self._put(self._acknowledged, packet_id)


@asynccontextmanager
async def paho_client(
    port: int,
    client_id: str | None = None,
    protocol: MQTTProtocolVersion = V311,
    transport: Transport = "tcp",
    prepare: Callable[[paho.Client], None] = lambda client: None,
) -> AsyncIterator[PahoClient]:
    """A client that is connected."""
    client = PahoClient(client_id, protocol, transport)
    prepare(client.paho)
    try:
        await asyncio.to_thread(client.paho.connect, "127.0.0.1", port, 60)
        client.paho.loop_start()
        async with asyncio.timeout(PATIENCE):
            assert not (await client.connected.get()).is_failure
        yield client
    finally:
        client.paho.disconnect()
        await asyncio.to_thread(client.paho.loop_stop)
