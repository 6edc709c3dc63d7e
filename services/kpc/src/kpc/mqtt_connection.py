"""One MQTT connection: a socket, the protocol core of kpc.mqtt, and the calls to whoever handles the messages.

Protocol callbacks rather than streams: no task and no buffer per idle connection, and a fifth less CPU time per request
on uvloop. A request costs one read and one write: whatever a connection has to say in one turn of the event loop leaves
in one piece. Everything that happens ends in `pump`, which brings calls, reading, writing and closing up to date.
"""

import asyncio
import logging
import socket
import uuid
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from prometheus_client import Counter

from kpc.mqtt.errors import PacketTooLargeError
from kpc.mqtt.events import Disconnected, Event
from kpc.mqtt.packets import Connect, Publish, Subscribe
from kpc.mqtt.properties import NO_PROPERTIES, Properties
from kpc.mqtt.reasons import PublishResult, ReasonCode
from kpc.mqtt.session import ServerSession
from kpc.mqtt.versions import Version

if TYPE_CHECKING:
    from kpc.mqtt_server import MqttServer

logger = logging.getLogger(__name__)

ENDED = Counter("kpc_mqtt_ended", "MQTT sessions that have ended, by reason", ["reason"])
TOO_LARGE = Counter("kpc_mqtt_too_large", "Messages not sent, as they were larger than the client takes")

TransportName = Literal["tcp", "tls", "ws"]

READ_SIZE = 16 * 1024
"""Bytes read at once, into one buffer for all connections. It bounds what a paused connection holds unread."""
PACKETS_AT_ONCE = 8
"""Packets of one client that are taken in before others get their turn: half a millisecond."""


class ConnectionHandler(Protocol):
    """What the server needs from whoever handles the messages.

    `connected` comes first and `disconnected` last, after every other call of that connection has returned; it comes
    for every connection that was accepted. In between, calls of one connection run concurrently.
    """

    async def connected(self, connection: "Connection", connect: Connect) -> ReasonCode:
        """Accept (SUCCESS) or refuse, with one of REASONS[CONNACK]; nothing else of this client is read meanwhile."""

    async def published(self, connection: "Connection", publish: Publish) -> PublishResult:
        """Handle a message, and say what became of it."""

    async def subscribed(self, connection: "Connection", subscribe: Subscribe) -> None:
        """Take note of a subscription, which is answered already."""

    async def disconnected(self, connection: "Connection", disconnected: Disconnected) -> None:
        """The connection is gone."""


class Connection(asyncio.BufferedProtocol):
    """One client: what the handler holds, and what the event loop calls."""

    def __init__(self, server: "MqttServer", connection_id: int, transport_name: TransportName) -> None:
        self.id = connection_id
        self.transport_name = transport_name
        self.is_made = False
        self.client_id = ""
        self.peer = "unknown"
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._session = ServerSession(server.limits.session, self._loop.time())
        self._transport: asyncio.Transport
        self._admitted = self._deciding = self._accepted = self._finishing = self._closing = False
        self._reading = self._writable = self._is_new = True
        self._pump_scheduled = self._has_read_its_fill = False
        self._calls = self._bytes_in_calls = 0
        self._end: Disconnected | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"connection {self.id} of {self.peer}"

    # For the handler

    @property
    def certificate(self) -> bytes | None:
        """The client's (DER), verified by the TLS layer, if it has shown one."""
        connection = self._transport.get_extra_info("ssl_object")
        certificate: bytes | None = connection and connection.getpeercert(binary_form=True)
        return certificate

    @property
    def is_open(self) -> bool:
        """Whether messages still reach the client."""
        return self._accepted and not self._closing and not self._session.close_expected()

    @property
    def version(self) -> Version:
        """The version of MQTT that the client speaks."""
        version = self._session.version
        assert version is not None, "known before the handler hears of the connection"
        return version

    def publish(self, topic: str, payload: bytes, qos: int = 0, properties: Properties = NO_PROPERTIES) -> bool:
        """Send a message, without waiting; False if it goes nowhere: the connection is closed, or the client takes no
        message as large. Properties are for MQTT 5; other versions know none.

        Ends the connection if the client leaves too many QoS 1 messages unacknowledged.
        """
        if not self.is_open:
            return False
        try:
            self._session.publish(topic, payload, qos, properties)
        except PacketTooLargeError as exc:
            TOO_LARGE.inc()
            logger.debug("%s: %s", self, exc)
            return False
        if self._calls == 1 and not qos:
            self._flush()  # nothing else is to follow: no acknowledgement, and no answer of another call
        else:
            self._pump_soon()
        return self.is_open

    def close(self, detail: str, reason_code: ReasonCode = ReasonCode.UNSPECIFIED_ERROR) -> None:
        """End the connection; the client is told both, if its version of MQTT can."""
        self._session.close(detail, reason_code)
        self.pump()

    # For the server

    def finish(self) -> None:
        """Take no more messages, answer those that were taken, and end the connection."""
        if not self._finishing:
            self._finishing = True
            self._end_timer = self._loop.call_later(self._server.limits.stop_timeout, self._stop)
            self.pump()

    def held(self) -> int:
        """Bytes that were received but not read, or are not sent."""
        unsent = 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()
        return self._session.unread_size + unsent

    def let_go(self) -> None:
        """End the connection, as there is no memory left for what it holds."""
        detail = "holds too much for too long"
        if self._transport.get_write_buffer_size():
            self._drop(detail)
        else:
            self.close(detail, ReasonCode.SERVER_BUSY)

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is none, but does as one
        self.is_made = True
        peer = transport.get_extra_info("peername")
        if peer:
            self.peer = f"{peer[0]}:{peer[1]}"
        self._admitted = self._server.admit(self, peer[0] if peer else "")
        if not self._admitted:
            transport.abort()
            return
        # A client that wants no keep alive and vanishes would hold its connection for ever; the kernel will notice.
        if (its_socket := transport.get_extra_info("socket")) is not None:
            its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        transport.set_write_buffer_limits(high=self._server.limits.write_high_water)
        self._watch_deadline()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._session.close_expected():
            return
        self._session.receive_data(self._server.read_buffer[:nbytes], self._loop.time())
        # Where there is more, libuv would read up to 32 times before it looks at another client.
        self._has_read_its_fill = nbytes == READ_SIZE
        if self._is_new:  # as thousands may be at once
            self._is_new = False
            self._server.line.wait(self)
        else:
            self.pump()

    def eof_received(self) -> None:
        self._session.receive_eof()
        if self._calls or self._session.has_unread:
            self.pump()  # before the transport is closed: there may be something to say
        else:
            self._server.line.wait(self)  # as thousands may be who leave at once

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._admitted:
            return
        self._server.forget(self)
        for timer in (self._deadline_timer, self._write_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        self._closing = self._writable = True  # what is left to write is lost, what was received is not
        self._session.receive_eof()
        self._server.line.wait(self)

    def pause_writing(self) -> None:
        self._writable = False
        timeout = self._server.limits.write_timeout
        self._write_timer = self._loop.call_later(timeout, self._drop, f"did not read for {timeout} s")
        self._regulate_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if self._write_timer is not None:
            self._write_timer.cancel()
        self.pump()

    # How it is done

    def pump(self) -> None:
        """Turn what was received into calls of the handler, then see to reading, writing and closing.

        What is more than a turn's worth waits in line for the next.
        """
        self._pump_scheduled = False
        if self._finishing and self._calls == 0 and not self._session.close_expected():
            self._stop()  # which pumps
            return
        if not self._session.has_unread:
            self._take_in()
        if self._must_wait and self._may_start_calls():
            self._server.line.wait(self)
        if self._end is not None and self._calls == 0 and self._accepted:
            self._accepted = False
            self._server.start_farewell(self._say_goodbye(self._end))
        self._regulate_reading()
        self._flush()
        self._server.held.note(self)

    def take_turn(self) -> None:
        """Take in some of what waits to be read."""
        self._has_read_its_fill = False
        self._take_in()
        self.pump()

    @property
    def _must_wait(self) -> bool:
        """Whether there may be more of this client, and others come first."""
        return self._session.has_unread or self._has_read_its_fill

    def _take_in(self) -> None:
        if self._session.close_expected() or (self._session.has_input and self._may_start_calls()):
            for event in self._session.events(min(PACKETS_AT_ONCE, self._server.limits.max_calls - self._calls)):
                self._dispatch(event)

    def _may_start_calls(self) -> bool:
        limits = self._server.limits
        has_its_share = self._calls >= limits.max_calls or self._bytes_in_calls >= limits.max_bytes_in_calls
        may_not = has_its_share or self._session.is_full or self._deciding or self._finishing
        return self._writable and not may_not

    def _pump_soon(self) -> None:
        # Once per turn of the event loop: all that its calls have to say leaves in one write.
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self.pump)

    def _dispatch(self, event: Event) -> None:
        match event:
            case Publish():
                self._bytes_in_calls += len(event.payload)
                self._start_call(self._handle_publish(event))
            case Connect():
                # [MQTT-3.1.3-6] of MQTT 5: "It MUST assign a unique ClientID to that Client."
                is_assigned = event.version.has_properties and not event.client_id
                self.client_id = f"kpc-{uuid.uuid4().hex}" if is_assigned else event.client_id
                self._deciding = True
                self._start_call(self._decide(event))
            case Subscribe():
                self._start_call(self._server.handler.subscribed(self, event))
            case Disconnected():
                logger.info("%s ended: %s", self, ": ".join(filter(None, (event.reason, event.detail))))
                ENDED.labels(event.reason).inc()
                self._end = event
                self._server.connections.discard(self)

    def _start_call(self, call: Coroutine[Any, Any, None]) -> None:
        self._calls += 1
        self._server.start_call(self._run_call(call))

    async def _run_call(self, call: Coroutine[Any, Any, None]) -> None:
        try:
            await call
        except Exception:
            logger.exception("%s: a call of the handler failed", self)
            self._session.close("internal error", ReasonCode.UNSPECIFIED_ERROR)
        finally:
            self._calls -= 1
            self._pump_soon()

    async def _decide(self, connect: Connect) -> None:
        reason_code = await self._server.handler.connected(self, connect)
        self._deciding = False
        self._accepted = reason_code is ReasonCode.SUCCESS
        if self._session.close_expected():
            return
        if not self._accepted:
            self._session.refuse(reason_code)
            return
        self._session.accept(self._loop.time(), self.client_id)
        self._server.connections.add(self)
        self._watch_deadline()
        logger.info("%s established: MQTT %s, client id %r", self, connect.version.name, self.client_id)

    async def _handle_publish(self, publish: Publish) -> None:
        try:
            result = await self._server.handler.published(self, publish)
        finally:
            self._bytes_in_calls -= len(publish.payload)
        if publish.packet_id is None or self._session.close_expected():
            return
        if result.is_withheld:
            self._session.withhold(publish.packet_id, self._loop.time())
            self._watch_deadline()
        else:
            self._session.acknowledge(publish.packet_id, result)

    async def _say_goodbye(self, end: Disconnected) -> None:
        try:
            await self._server.handler.disconnected(self, end)
        except Exception:
            logger.exception("%s: the handler failed to take note of its end", self)

    def _watch_deadline(self) -> None:
        # One timer at a time, not one per packet: when it fires too early it is set again.
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        deadline = self._session.next_deadline()
        self._deadline_timer = None if deadline is None else self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        now = self._loop.time()
        if not self._reading:
            self._session.excuse_silence(now)
        self._session.tick(now)
        self._watch_deadline()
        self.pump()

    def _regulate_reading(self) -> None:
        wanted = self._closing or (self._may_start_calls() and not self._must_wait)
        if wanted is self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._session.excuse_silence(self._loop.time())
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if self._closing:
            return
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > self._server.limits.max_write_buffer:
                self._drop("does not read what it is sent")
        if self._session.close_expected():
            self._shut_down()

    def _shut_down(self) -> None:
        self._closing = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self._loop.call_later(self._server.limits.linger, self._transport.abort)
        if not self._transport.can_write_eof() or self._transport.is_closing():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone, which asyncio's own transport did not know yet
            self._transport.abort()
        else:
            self._regulate_reading()

    def _stop(self) -> None:
        self.close("the server stops", ReasonCode.SERVER_SHUTTING_DOWN)

    def _drop(self, detail: str) -> None:
        logger.warning("%s dropped: %s", self, detail)
        self._session.give_up(detail)
        self._transport.abort()
