"""A device as firmware has it: MQTT 3.1.1, QoS 1, one request at a time, back as soon as its connection is lost.

It keeps a ledger of what it was told: which updates were acknowledged, which refused and how, how often its connection
ended. Each update sets a key of its own, so that none hides another.
"""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

PAUSE = 0.03
"""Seconds between two requests or attempts: all devices share two processors with what is under test."""
SILENCE = 8.0
"""Seconds after which a request counts as not answered: twice what the platform may take."""

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
AT_LEAST_ONCE = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status_code: int
    reason_phrase: str = ""
    payload: bytes = field(default=b"", repr=False)
    seconds: float


class Device:
    """An endpoint's device. `ask` while `connected`; `keep_updating` sees to that itself."""

    def __init__(self, mqtt_port: int, app_version: str, token: str, endpoint_id: str) -> None:
        self.endpoint_id = endpoint_id
        self.token = token
        self.acknowledged: dict[str, str] = {}
        self.refusals: list[Answer] = []
        self.connections = 0
        self._port = mqtt_port
        self._app_version = app_version
        self._request_ids = count(1)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Raises OSError when nobody accepts, EOFError when the connection ends."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            client_id = self.endpoint_id.encode()
            clean_session, keep_alive = 0x02, 0
            self._send(CONNECT, b"\0\4MQTT\4" + struct.pack("!BH", clean_session, keep_alive) + text(client_id))
            async with _not_silent():
                assert await self._receive() == (CONNACK, b"\0\0")
            self.connections += 1
            yield
        finally:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def ask(self, resource: str, payload: str = "{}", *, token: str = "") -> Answer:
        """Publish a request; its answer. A success is told once the message is acknowledged, too.

        With another endpoint's token it is a gateway, which speaks for both.

        Raises OSError or EOFError when the connection ends.
        """
        request_id = next(self._request_ids)
        topic = f"kp1/{self._app_version}/epmx/{token or self.token}/{resource}/{request_id}"
        began = time.monotonic()
        self._send(PUBLISH | AT_LEAST_ONCE, text(topic.encode()) + struct.pack("!H", request_id) + payload.encode())
        async with _not_silent():
            answer, is_acknowledged = None, False
            while answer is None or (answer.status_code == 200 and not is_acknowledged):
                packet_type, body = await self._receive()
                if packet_type & 0xF0 == PUBACK:
                    is_acknowledged |= body == struct.pack("!H", request_id)
                elif packet_type & 0xF0 == PUBLISH:
                    answer = self._read_answer(body, topic, time.monotonic() - began) or answer
        return answer

    async def keep_updating(self, value: str, stop: asyncio.Event) -> None:
        """Set one key after the other to the value, whatever happens, until told to stop."""
        keys = (f"key_{number}" for number in count())
        while not stop.is_set():
            with suppress(OSError, EOFError):
                async with self.connected():
                    while not stop.is_set():
                        await self._update(next(keys), value)
                        await asyncio.sleep(PAUSE)
            await asyncio.sleep(PAUSE)

    async def _update(self, key: str, value: str) -> None:
        answer = await self.ask("update/keys", json.dumps({key: value}))
        if answer.status_code == 200:
            self.acknowledged[key] = value
        else:
            self.refusals.append(answer)

    def _read_answer(self, body: bytes, topic: str, seconds: float) -> Answer | None:
        """The answer to the topic; None for one that came too late for its own request."""
        (length,) = struct.unpack("!H", body[:2])
        answered, packet_id, payload = body[2 : 2 + length].decode(), body[2 + length : 4 + length], body[4 + length :]
        self._send(PUBACK, packet_id)
        if answered == f"{topic}/status":
            return Answer(status_code=200, payload=payload, seconds=seconds)
        if answered == f"{topic}/error":
            error: dict[str, Any] = json.loads(payload)
            return Answer(status_code=error["statusCode"], reason_phrase=error["reasonPhrase"], seconds=seconds)
        return None

    def _send(self, first_byte: int, body: bytes) -> None:
        length, size = bytearray(), len(body)
        while True:
            size, low = divmod(size, 128)
            length.append(low | (128 if size else 0))
            if not size:
                break
        self._writer.write(bytes([first_byte]) + length + body)

    async def _receive(self) -> tuple[int, bytes]:
        first_byte = (await self._reader.readexactly(1))[0]
        size = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first_byte, await self._reader.readexactly(size)


@asynccontextmanager
async def _not_silent() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SILENCE):
            yield
    except TimeoutError as exc:  # which is an OSError, as the end of a connection
        raise AssertionError("the platform does not answer a device") from exc


def text(encoded: bytes) -> bytes:
    return struct.pack("!H", len(encoded)) + encoded
