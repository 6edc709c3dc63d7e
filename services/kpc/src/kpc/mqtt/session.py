"""One client's MQTT session, seen from the server (MQTT 3.1.1 §3 and §4, MQTT 5 §3 and §4), without I/O and clock.

What may happen when is the table in states.py, and only `_step` moves along it. Bytes go in with `receive_data` and
`receive_eof`, `events` reads them and says what happened, `data_to_send` is what to write, `close_expected` says that
nothing more will follow. The commands below are what the owner may do. The time is always an argument.

A violation by the client becomes behaviour in one place, `events`. No session outlives its connection: CleanSession=0
is taken, and answered with "session present" 0; wills and RETAIN are taken and ignored.
"""

from collections.abc import Sequence
from dataclasses import replace

from kpc.mqtt.acknowledgements import Puback, Pubrec, Pubrel
from kpc.mqtt.deadlines import ENDS, Deadlines
from kpc.mqtt.errors import (
    LocalProtocolError,
    PacketTooLargeError,
    ProtocolError,
    QueueFullError,
    RemoteProtocolError,
)
from kpc.mqtt.events import Disconnected, DisconnectReason, Event
from kpc.mqtt.inbound import Inbound
from kpc.mqtt.last_words import last_words
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.outbound import Outbound
from kpc.mqtt.packets import (
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from kpc.mqtt.properties import NO_PROPERTIES, Properties, explanation
from kpc.mqtt.reader import PacketReader
from kpc.mqtt.reasons import DONE, PublishResult, ReasonCode
from kpc.mqtt.states import TRANSITIONS, Command, State, Step
from kpc.mqtt.subscriptions import Subscriptions
from kpc.mqtt.terms import Terms
from kpc.mqtt.topic_aliases import TopicAliases
from kpc.mqtt.versions import MQTT_3_1_1, Version


class ServerSession:
    """The protocol of one connection; *now* is when it was opened."""

    __slots__ = (
        "_aliases",
        "_deadlines",
        "_end",
        "_end_told",
        "_eof",
        "_has_unread",
        "_inbound",
        "_limits",
        "_outbound",
        "_reader",
        "_state",
        "_subscriptions",
        "_terms",
    )

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self._limits = limits
        self._reader = PacketReader(limits)
        self._state = State.AWAITING_CONNECT
        self._deadlines = Deadlines(limits, now)
        self._eof = self._has_unread = False
        self._end: Disconnected | None = None
        self._end_told = False
        self._terms: Terms | None = None
        self._inbound = Inbound()
        self._outbound = Outbound(limits)
        self._subscriptions = Subscriptions(limits)
        self._aliases = TopicAliases(limits.topic_alias_maximum)

    # What goes in and what comes out

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take bytes of the client; `events` reads them."""
        if self._state is not State.CLOSED:
            self._reader.feed(data)
            self._deadlines.data_came(now)

    def receive_eof(self) -> None:
        """The client will send no more; what it has sent is still read."""
        self._eof = True

    def events(self, limit: int) -> list[Event]:
        """What happened, in order, with the next *limit* packets; what came behind them stays unread.

        A packet counts as one, and as many as it has topic filters: that is what it costs.
        """
        events: list[Event] = []
        try:
            while limit > 0 and self._state in (State.AWAITING_CONNECT, State.CONNECTED) and not self.is_full:
                packet = self._reader.next_packet()
                self._has_unread = packet is not None and (self._eof or self._reader.size > 0)
                if packet is None:
                    if self._eof:
                        self._close(DisconnectReason.EOF)
                    break
                limit -= _weight(packet)
                self._deadlines.packet_came()
                if isinstance(packet, Disconnect):
                    self._check_goodbye(packet)
                self._step(type(packet), RemoteProtocolError)
                events += self._receive(packet)
        except RemoteProtocolError as exc:
            # [MQTT-4.8.0-1] "it MUST close the Network Connection on which it received that Control Packet".
            self._end_with(DisconnectReason.PROTOCOL_ERROR, str(exc), exc.reason_code)
        if self._end is not None and not self._end_told:
            self._end_told = True
            events.append(self._end)
        return events

    def data_to_send(self) -> bytes:
        """Everything that is to be written now, in one piece."""
        return self._outbound.take()

    def close_expected(self) -> bool:
        """Whether the session is over: write what is left, then close the connection."""
        return self._state is State.CLOSED

    @property
    def has_input(self) -> bool:
        """Whether there is anything for `events` to look at: bytes, or the end of them."""
        return self._eof or self._reader.size > 0

    @property
    def has_unread(self) -> bool:
        """Whether `events` stopped at its limit: there may be packets, or an end, that it has not come to."""
        return self._has_unread and self._state is not State.CLOSED

    @property
    def unread_size(self) -> int:
        """Bytes that were received and are not read: packets that wait, and the beginning of one."""
        return self._reader.size

    @property
    def is_full(self) -> bool:
        """Whether the client's messages wait for each other and no more are read: before MQTT 5 it knows no limit."""
        if self._inbound.unsettled < self._limits.max_inflight:
            return False
        return not self._agreed.version.has_properties

    # The time

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next."""
        deadline = self._deadlines.next(self._state, self._inbound.withheld_since)
        return None if deadline is None else deadline[0]

    def tick(self, now: float) -> None:
        """End the session if its deadline has passed."""
        deadline = self._deadlines.next(self._state, self._inbound.withheld_since)
        if deadline is not None and now >= deadline[0]:
            self._end_with(*ENDS[deadline[1]])

    def excuse_silence(self, now: float) -> None:
        """Start the keep alive anew: the client was not listened to, so its silence says nothing."""
        self._deadlines.start_silence(now)

    # What the owner may do; LocalProtocolError if it may not

    def accept(self, now: float, client_id: str = "") -> None:
        """Let the client in; *client_id* becomes its own if its version lets it have none."""
        self._step(Command.ACCEPT, LocalProtocolError)
        terms = self._agreed
        properties = terms.announced(self._limits, client_id) if terms.version.has_properties else NO_PROPERTIES
        self._send(Connack(reason_code=ReasonCode.SUCCESS, properties=properties))
        self._deadlines.start_silence(now)

    def refuse(self, reason_code: ReasonCode) -> None:
        """Tell the client why not; the session is over."""
        words = last_words(self._state, self.version, reason_code)
        self._step(Command.REFUSE, LocalProtocolError)
        if words is not None:
            self._send(words)
        self._close(DisconnectReason.REFUSED, reason_code.name)

    def publish(self, topic: str, payload: bytes, qos: int = 0, properties: Properties = NO_PROPERTIES) -> None:
        """Send a message, whether or not the client subscribed; QoS 1 waits while the client's window is full.

        Ends the session if too many wait already. Raises PacketTooLargeError if the client takes none as large.
        """
        self._step(Command.PUBLISH, LocalProtocolError)
        identifiers = self._subscriptions.identifiers(topic)
        if identifiers:
            properties = replace(properties, subscription_identifiers=identifiers)
        try:
            self._outbound.publish(topic, payload, qos, properties)
        except QueueFullError as exc:
            self.give_up(str(exc))

    def acknowledge(self, packet_id: int, result: PublishResult = DONE) -> None:
        """It is known what became of a received QoS 1 or 2 message: say so, as soon as all before it are settled."""
        self._step(Command.SETTLE, LocalProtocolError)
        properties = explanation(result.reason_string) if self._agreed.explains else NO_PROPERTIES
        self._inbound.settle(packet_id, result.reason_code, properties)
        self._send_due_answers()

    def withhold(self, packet_id: int, now: float) -> None:
        """A received QoS 1 or 2 message is not safe with us: it stays with the client, which is to send it again."""
        self._step(Command.SETTLE, LocalProtocolError)
        self._inbound.withhold(packet_id, now)
        self._send_due_answers()

    def close(self, detail: str, reason_code: ReasonCode) -> None:
        """End the session; the client is told why, as far as its version of MQTT has words for it."""
        self._end_with(DisconnectReason.CLOSED_BY_SERVER, detail, reason_code)

    def give_up(self, detail: str) -> None:
        """End the session of a client that does not take what it is sent."""
        self._end_with(DisconnectReason.TOO_SLOW, detail, ReasonCode.QUOTA_EXCEEDED)

    # How it is done

    @property
    def version(self) -> Version | None:
        """What the client speaks, once its CONNECT is read."""
        return self._reader.version

    @property
    def _agreed(self) -> Terms:
        assert self._terms is not None, "there are terms from CONNECT on"
        return self._terms

    def _step(self, step: Step, blame: type[ProtocolError]) -> None:
        state = TRANSITIONS[self._state].get(step)
        if state is None:
            name = step.name if isinstance(step, Command) else step.__name__.upper()
            raise blame(f"{name} while {self._state.name}")
        self._state = state

    def _end_with(self, reason: DisconnectReason, detail: str, reason_code: ReasonCode) -> None:
        """End the session with what there is to say about it."""
        packet = last_words(self._state, self.version, reason_code, detail)
        if packet is not None:
            self._send(packet)
        self._close(reason, detail)

    def _close(self, reason: DisconnectReason, detail: str = "") -> None:
        if self._end is None:
            self._state = State.CLOSED
            self._reader.clear()
            self._end = Disconnected(reason=reason, detail=detail)

    def _send(self, packet: ServerPacket) -> None:
        try:
            self._outbound.send(packet, self.version or MQTT_3_1_1)
        except PacketTooLargeError as exc:
            self._close(DisconnectReason.PROTOCOL_ERROR, str(exc))

    def _receive(self, packet: ClientPacket) -> Sequence[Event]:
        match packet:
            case Publish():
                return self._receive_publish(packet)
            case Puback():
                self._outbound.acknowledged(packet.packet_id)
            case Pubrel():
                self._send(self._inbound.release(packet))
            case Pingreq():
                self._send(Pingresp())  # [MQTT-3.12.4-1]
            case Connect():
                self._terms = Terms.of(packet, self._limits)
                self._outbound.agree(self._terms)
                self._deadlines.keep_alive = self._terms.keep_alive
                return (packet,)
            case Subscribe():
                reason_codes = self._subscriptions.subscribe(packet, self._agreed.version)
                self._send(Suback(packet_id=packet.packet_id, reason_codes=reason_codes))  # [MQTT-3.8.4-1]
                return (packet,)
            case Unsubscribe():
                # [MQTT-3.10.4-5] "Even where no Topic Subscriptions are deleted, the Server MUST respond with an
                # UNSUBACK."
                reason_codes = self._subscriptions.unsubscribe(packet)
                self._send(Unsuback(packet_id=packet.packet_id, reason_codes=reason_codes))
                return (packet,)
            case Disconnect():
                is_plain = packet.reason_code is ReasonCode.SUCCESS
                self._close(DisconnectReason.CLEAN, "" if is_plain else packet.reason_code.name)
        return ()

    def _receive_publish(self, packet: Publish) -> Sequence[Event]:
        if packet.properties.topic_alias is not None:
            packet = self._aliases.resolve(packet)
        if packet.packet_id is None:
            return (packet,)
        taken = self._inbound.receive(packet)
        if self._inbound.unfinished > self._limits.max_inflight:
            # MQTT 5 §3.3.4: "it uses a DISCONNECT packet with Reason Code 0x93 (Receive Maximum exceeded)".
            message = f"more than {self._limits.max_inflight} unfinished messages"
            raise RemoteProtocolError(message, ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
        if isinstance(taken, Pubrec):
            self._send(taken)
        return (packet,) if taken is True else ()

    def _check_goodbye(self, packet: Disconnect) -> None:
        # MQTT 5 §3.14.2.2.2: "If the Session Expiry Interval in the CONNECT packet was zero, then it is a Protocol
        # Error to set a non-zero Session Expiry Interval in the DISCONNECT packet sent by the Client."
        if packet.properties.session_expiry_interval and not self._agreed.keeps_session:
            raise RemoteProtocolError("DISCONNECT asks for a session to be kept, CONNECT did not")

    def _send_due_answers(self) -> None:
        for answer in self._inbound.due():
            self._send(answer)


def _weight(packet: ClientPacket) -> int:
    match packet:
        case Subscribe():
            return len(packet.subscriptions)
        case Unsubscribe():
            return len(packet.topic_filters)
    return 1
