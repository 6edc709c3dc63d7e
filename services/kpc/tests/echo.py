"""A handler that answers every message on its topic + `/status`, for tests of the transports; and MQTT as bytes."""

import asyncio

from kpc.mqtt.events import Disconnected
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.reasons import DONE, PublishResult, ReasonCode
from kpc.mqtt_connection import Connection

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
ACCEPTED = b"\x20\x02\x00\x00"
PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
PUBLISH = b"\x30\x04\x00\x01ax"
ECHO = b"\x30\x0b\x00\x08a/statusx"


class EchoHandler:
    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.ended: list[Disconnected] = []
        self.answer: bytes | None = None
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def connected(self, connection: Connection, connect: Connect) -> ReasonCode:
        self.connections.append(connection)
        return ReasonCode.SUCCESS

    async def published(self, connection: Connection, publish: Publish) -> PublishResult:
        self.running += 1
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        connection.publish(publish.topic + "/status", publish.payload if self.answer is None else self.answer)
        return DONE

    async def subscribed(self, connection: Connection, subscribe: Subscribe) -> None:
        pass

    async def disconnected(self, connection: Connection, disconnected: Disconnected) -> None:
        self.ended.append(disconnected)
