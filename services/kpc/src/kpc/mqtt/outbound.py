"""What is sent to the client: encoded, within what it takes, in one piece (MQTT 5 §3.1.2.11.3, §3.1.2.11.4, §4.9).

Of QoS 1 messages at most as many are on their way as the client takes at once, the others wait. None is ever sent
again, as no session outlives its connection: of those on their way only the identifiers are kept.
"""

from dataclasses import replace

from kpc.mqtt.checks import MAX_UINT16
from kpc.mqtt.encoder import encode
from kpc.mqtt.errors import InvalidPacketError, LocalProtocolError, PacketTooLargeError, QueueFullError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Pingresp, Publish, ServerPacket
from kpc.mqtt.properties import NO_PROPERTIES, Properties
from kpc.mqtt.subscriptions import MAX_QOS
from kpc.mqtt.terms import Terms
from kpc.mqtt.versions import MQTT_3_1_1, Version
from kpc.mqtt.wire import MAX_VARIABLE


class Outbound:
    """The bytes to be written now, the window of QoS 1 messages, and the queue in front of it."""

    __slots__ = (
        "_data",
        "_inflight",
        "_last_packet_id",
        "_limits",
        "_maximum_packet_size",
        "_queue",
        "_queued_bytes",
        "_version",
        "_window",
    )

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._version = MQTT_3_1_1
        self._maximum_packet_size = MAX_VARIABLE
        self._window = limits.max_inflight
        self._data: list[bytes] = []
        # Dicts as ordered sets: an empty one takes a quarter of the memory of an empty set.
        self._inflight: dict[int, None] = {}
        self._queue: dict[int, bytes] = {}
        self._queued_bytes = 0
        self._last_packet_id = 0

    def agree(self, terms: Terms) -> None:
        """Keep to what the client takes [MQTT-3.3.4-9]."""
        self._version = terms.version
        self._maximum_packet_size = terms.maximum_packet_size
        self._window = min(self._window, terms.receive_maximum)

    def take(self) -> bytes:
        """Everything that is to be written now, in one piece."""
        data = b"".join(self._data)
        self._data.clear()
        return data

    def send(self, packet: ServerPacket, version: Version) -> None:
        """Send a packet, without its explanation if there is no room; PacketTooLargeError if there is still none."""
        data, most = encode(packet, version), self._maximum_packet_size
        if len(data) > most and not isinstance(packet, Pingresp) and packet.properties.reason_string:
            # [MQTT-3.4.2-2] "The sender MUST NOT send this property if it would increase the size of the PUBACK packet
            # beyond the Maximum Packet Size specified by the receiver"; the same goes for all others.
            data = encode(replace(packet, properties=NO_PROPERTIES), version)
        self._check_size(data)
        self._data.append(data)

    def publish(self, topic: str, payload: bytes, qos: int, properties: Properties) -> None:
        """Send a message, at QoS 1 as soon as the client takes it.

        Raises QueueFullError when too much waits already, and LocalProtocolError for what cannot be sent.
        """
        if qos > MAX_QOS:
            raise LocalProtocolError(f"QoS {qos} is not sent, only 0 to {MAX_QOS}")
        packet_id = self._free_packet_id() if qos else None
        try:
            packet = Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id, properties=properties)
        except InvalidPacketError as exc:
            raise LocalProtocolError(str(exc)) from exc
        data = encode(packet, self._version)
        self._check_size(data)
        if packet_id is None:
            self._data.append(data)
            return
        self._last_packet_id = packet_id
        if len(self._inflight) < self._window:
            self._inflight[packet_id] = None
            self._data.append(data)
        else:
            self._enqueue(packet_id, data)

    def acknowledged(self, packet_id: int) -> None:
        """The client has a message: the next may go."""
        if packet_id not in self._inflight:
            return
        del self._inflight[packet_id]
        if self._queue:
            next_id, data = next(iter(self._queue.items()))
            del self._queue[next_id]
            self._queued_bytes -= len(data)
            self._inflight[next_id] = None
            self._data.append(data)

    def _check_size(self, data: bytes) -> None:
        most = self._maximum_packet_size
        if len(data) > most:
            raise PacketTooLargeError(f"a packet of {len(data)} bytes for a client that takes {most}")

    def _free_packet_id(self) -> int:
        packet_id = self._last_packet_id % MAX_UINT16 + 1
        while packet_id in self._inflight or packet_id in self._queue:
            packet_id = packet_id % MAX_UINT16 + 1
        return packet_id

    def _enqueue(self, packet_id: int, data: bytes) -> None:
        limits, size = self._limits, self._queued_bytes + len(data)
        if len(self._queue) == limits.max_queued or (self._queue and size > limits.max_queued_bytes):
            raise QueueFullError(f"leaves {len(self._inflight)} messages unacknowledged, {len(self._queue)} more wait")
        self._queue[packet_id] = data
        self._queued_bytes = size
