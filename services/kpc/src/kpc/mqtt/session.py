"""One client's MQTT session, seen from the server (MQTT 3.1.1 §3 and §4), without I/O and without a clock.

What may happen when is the table in states.py, and only `_step` moves along it. Bytes go in with `receive_data` and
`receive_eof`, `events` reads them and says what happened, `data_to_send` is what to write, `close_expected` says that
nothing more will follow. The commands below are what the owner may do. The time is always an argument.

A violation by the client becomes behaviour in one place, `events`. No session outlives its connection: CleanSession=0
is taken, and answered with "session present" 0; wills and RETAIN are taken and ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kpc.mqtt.codec import encode
from kpc.mqtt.errors import (
    InflightLimitError,
    InvalidPacketError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
from kpc.mqtt.events import Disconnected, DisconnectReason, Event
from kpc.mqtt.packets import (
    MAX_UINT16,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    ServerPacket,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)
from kpc.mqtt.reader import PacketReader
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.states import TRANSITIONS, Command, State, Step

MAX_QOS = 1
"""The highest QoS of what we send. Devices know no better: PubSubClient, the most common one, has no QoS 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """How much one client may ask for."""

    max_packet_size: int = 1024 * 1024
    """What NATS carries by default; a larger message could not be passed on."""
    connect_timeout: float = 10.0
    """Seconds for CONNECT to arrive and be decided upon: a slow mobile network, not an idle port scanner."""
    withheld_for: float = 10.0
    """Seconds that a message may stay withheld. Then the session ends: before MQTT 5 a client sends it again only on a
    new connection, and until then has one place less for others in its own window, of 20 in paho, of 1 in others."""
    max_inflight: int = 1024
    """Unfinished QoS 1 and QoS 2 exchanges in each direction: clients finish each at once, so this many means never."""


@dataclass(slots=True)
class _Receipt:
    """The acknowledgement that a QoS 1 or 2 message will get, and whether it is due."""

    answer: Puback | Pubrec
    due: bool = False


class ServerSession:
    """The protocol of one connection; *now* is when it was opened."""

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self._limits = limits
        self._reader = PacketReader(limits.max_packet_size)
        self._state = State.AWAITING_CONNECT
        self._outgoing: list[bytes] = []
        self._connect_deadline = now + limits.connect_timeout
        self._silence_allowed = 0.0
        self._last_data = self._last_packet = now
        self._eof = False
        self._end: Disconnected | None = None
        self._end_told = False
        self._unacknowledged: dict[int, _Receipt] = {}
        self._unreleased: set[int] = set()
        self._withheld: dict[int, float] = {}
        self._inflight: set[int] = set()
        self._last_packet_id = 0

    # What goes in and what comes out

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take bytes of the client; `events` reads them."""
        if self._state is not State.CLOSED:
            self._reader.feed(data)
            self._last_data = now

    def receive_eof(self) -> None:
        """The client will send no more; what it has sent is still read."""
        self._eof = True

    def events(self, limit: int) -> list[Event]:
        """What happened, in order, at most *limit* events and then perhaps Disconnected; the rest stays unread."""
        events: list[Event] = []
        try:
            while len(events) < limit and self._state in (State.AWAITING_CONNECT, State.CONNECTED):
                packet = self._reader.next_packet()
                if packet is None:
                    if self._eof:
                        self._close(DisconnectReason.EOF)
                    break
                self._last_packet = self._last_data
                self._step(type(packet), RemoteProtocolError)
                events += self._receive(packet)
        except RemoteProtocolError as exc:
            # [MQTT-4.8.0-1] "it MUST close the Network Connection on which it received that Control Packet".
            if exc.reason_code is not None and self._state is not State.CONNECTED:
                self._send(Connack(reason_code=exc.reason_code))
            self._close(DisconnectReason.PROTOCOL_ERROR, str(exc))
        if self._end is not None and not self._end_told:
            self._end_told = True
            events.append(self._end)
        return events

    def data_to_send(self) -> bytes:
        """Everything that is to be written now, in one piece."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def close_expected(self) -> bool:
        """Whether the session is over: write what is left, then close the connection."""
        return self._state is State.CLOSED

    # The time

    def next_deadline(self) -> float | None:
        """When `tick` is to be called next."""
        if self._state is State.CONNECTED:
            deadlines = (self._silence_deadline(), self._withheld_deadline())
            return min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if self._state is State.CLOSED else self._connect_deadline

    def tick(self, now: float) -> None:
        """End the session if its deadline has passed."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self._state is State.CONNECTED and deadline == self._withheld_deadline():
            self._close(DisconnectReason.CLOSED_BY_SERVER, "messages were not taken, the client is to send them again")
            return
        if self._state is State.CONNECTED:
            # [MQTT-3.1.2-24] "If the Keep Alive value is non-zero and the Server does not receive a Control Packet from
            # the Client within one and a half times the Keep Alive time period, it MUST disconnect".
            self._close(DisconnectReason.KEEP_ALIVE)
            return
        if self._state is State.DECIDING:
            self._send(Connack(reason_code=ReasonCode.SERVER_UNAVAILABLE))
        # §3.1.4: "If the Server does not receive a CONNECT Packet within a reasonable amount of time [...], the Server
        # SHOULD close the connection."
        self._close(DisconnectReason.CONNECT_TIMEOUT)

    def excuse_silence(self, now: float) -> None:
        """Start the keep alive anew: the client was not listened to, so its silence says nothing."""
        self._last_packet = now

    # What the owner may do; LocalProtocolError if it may not

    def accept(self, now: float) -> None:
        """Let the client in."""
        self._step(Command.ACCEPT, LocalProtocolError)
        self._send(Connack(reason_code=ReasonCode.SUCCESS))
        self._last_packet = now

    def refuse(self, reason_code: ReasonCode) -> None:
        """Tell the client why not; the session is over."""
        self._step(Command.REFUSE, LocalProtocolError)
        self._send(Connack(reason_code=reason_code))
        self._close(DisconnectReason.REFUSED, reason_code.name)

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> None:
        """Send a message, whether or not the client subscribed.

        Raises InflightLimitError when the client leaves too many QoS 1 messages unacknowledged.
        """
        self._step(Command.PUBLISH, LocalProtocolError)
        if qos > MAX_QOS:
            raise LocalProtocolError(f"QoS {qos} is not sent, only 0 to {MAX_QOS}")
        packet_id = self._free_packet_id() if qos else None
        try:
            packet = Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id)
        except InvalidPacketError as exc:
            raise LocalProtocolError(str(exc)) from exc
        if packet_id is not None:
            self._inflight.add(packet_id)
            self._last_packet_id = packet_id
        self._send(packet)

    def acknowledge(self, packet_id: int) -> None:
        """A received QoS 1 or 2 message is safe with us: say so, as soon as all before it are settled.

        [MQTT-4.6.0-2] "It MUST send PUBACK packets in the order in which the corresponding PUBLISH packets were
        received"; [MQTT-4.6.0-3] says the same of PUBREC.
        """
        self._unsettled(packet_id).due = True
        self._send_due_answers()

    def withhold(self, packet_id: int, now: float) -> None:
        """A received QoS 1 or 2 message is not safe with us: it stays with the client, which is to send it again."""
        self._unsettled(packet_id)
        del self._unacknowledged[packet_id]
        self._withheld[packet_id] = now
        self._send_due_answers()

    def close(self, detail: str, reason_code: ReasonCode) -> None:
        """End the session; MQTT before version 5 has no packet to tell the client why."""
        self._close(DisconnectReason.CLOSED_BY_SERVER, detail)

    # How it is done

    def _silence_deadline(self) -> float | None:
        return self._last_packet + self._silence_allowed if self._silence_allowed else None

    def _withheld_deadline(self) -> float | None:
        return next(iter(self._withheld.values())) + self._limits.withheld_for if self._withheld else None

    def _step(self, step: Step, blame: type[ProtocolError]) -> None:
        state = TRANSITIONS[self._state].get(step)
        if state is None:
            name = step.name if isinstance(step, Command) else step.__name__.upper()
            raise blame(f"{name} while {self._state.name}")
        self._state = state

    def _close(self, reason: DisconnectReason, detail: str = "") -> None:
        if self._end is None:
            self._state = State.CLOSED
            self._end = Disconnected(reason=reason, detail=detail)

    def _send(self, packet: ServerPacket) -> None:
        self._outgoing.append(encode(packet))

    def _receive(self, packet: ClientPacket) -> Sequence[Event]:
        match packet:
            case Publish():
                return self._receive_publish(packet)
            case Puback():
                self._inflight.discard(packet.packet_id)
            case Pubrel():
                self._receive_pubrel(packet)
            case Pingreq():
                self._send(Pingresp())  # [MQTT-3.12.4-1]
            case Connect():
                self._receive_connect(packet)
                return (packet,)
            case Subscribe():
                granted = tuple(min(subscription.qos, MAX_QOS) for subscription in packet.subscriptions)
                self._send(Suback(packet_id=packet.packet_id, granted=granted))  # [MQTT-3.8.4-1]
                return (packet,)
            case Unsubscribe():
                # [MQTT-3.10.4-5] "Even where no Topic Subscriptions are deleted, the Server MUST respond with an
                # UNSUBACK."
                self._send(Unsuback(packet_id=packet.packet_id))
                return (packet,)
            case Disconnect():
                self._close(DisconnectReason.CLEAN)
        return ()

    def _receive_connect(self, packet: Connect) -> None:
        if packet.client_id == "" and not packet.clean_session:
            # [MQTT-3.1.3-8] "the Server MUST respond to the CONNECT Packet with a CONNACK return code 0x02 (Identifier
            # rejected) and then close the Network Connection." 3.1 forbids empty identifiers altogether, yet its
            # clients send them.
            code = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
            raise RemoteProtocolError("no client identifier, but a session to keep", reason_code=code)
        self._silence_allowed = 1.5 * packet.keep_alive  # [MQTT-3.1.2-24]

    def _receive_publish(self, packet: Publish) -> Sequence[Event]:
        packet_id = packet.packet_id
        if packet_id is None:
            return (packet,)
        if packet.qos == 2 and packet_id in self._unreleased:
            # [MQTT-4.3.3-2] "Until it has received the corresponding PUBREL packet, the Receiver MUST acknowledge any
            # subsequent PUBLISH packet with the same Packet Identifier by sending a PUBREC. It MUST NOT cause duplicate
            # messages to be delivered".
            self._send(Pubrec(packet_id=packet_id))
            return ()
        if packet_id in self._unacknowledged:
            # [MQTT-2.3.1-2] "it MUST assign it a currently unused Packet Identifier", unless this is a repetition,
            # which the acknowledgement to come answers too.
            if not packet.dup:
                raise RemoteProtocolError(f"packet identifier {packet_id} is in use")
            return ()
        if len(self._unacknowledged) + len(self._unreleased) >= self._limits.max_inflight:
            raise RemoteProtocolError(f"more than {self._limits.max_inflight} unfinished messages")
        self._withheld.pop(packet_id, None)
        answer = Puback(packet_id=packet_id) if packet.qos == 1 else Pubrec(packet_id=packet_id)
        self._unacknowledged[packet_id] = _Receipt(answer)
        return (packet,)

    def _receive_pubrel(self, packet: Pubrel) -> None:
        # PUBREL answers PUBREC. PUBCOMP now would say that a message is safe which may not be.
        if packet.packet_id in self._unacknowledged:
            raise RemoteProtocolError(f"PUBREL before PUBREC of packet identifier {packet.packet_id}")
        self._unreleased.discard(packet.packet_id)
        # [MQTT-4.3.3-2] "MUST respond to a PUBREL packet by sending a PUBCOMP packet", known or not.
        self._send(Pubcomp(packet_id=packet.packet_id))

    def _unsettled(self, packet_id: int) -> _Receipt:
        self._step(Command.SETTLE, LocalProtocolError)
        receipt = self._unacknowledged.get(packet_id)
        if receipt is None or receipt.due:
            raise LocalProtocolError(f"packet identifier {packet_id} awaits no acknowledgement")
        return receipt

    def _send_due_answers(self) -> None:
        receipts = self._unacknowledged
        while receipts and (earliest := next(iter(receipts.values()))).due:
            del receipts[earliest.answer.packet_id]
            if isinstance(earliest.answer, Pubrec):
                self._unreleased.add(earliest.answer.packet_id)
            self._send(earliest.answer)

    def _free_packet_id(self) -> int:
        if len(self._inflight) >= min(self._limits.max_inflight, MAX_UINT16):
            raise InflightLimitError(f"{len(self._inflight)} messages await their PUBACK")
        packet_id = self._last_packet_id % MAX_UINT16 + 1
        while packet_id in self._inflight:
            packet_id = packet_id % MAX_UINT16 + 1
        return packet_id
