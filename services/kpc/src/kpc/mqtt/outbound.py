"""What is sent to the client at QoS 1: at most as many messages as it takes at once, the others wait (MQTT 5 §4.9).

A message is never sent again, as no session outlives its connection: of those on their way only the identifiers are
kept, and of those that wait the bytes that will be sent.
"""

from kpc.mqtt.checks import MAX_UINT16
from kpc.mqtt.errors import QueueFullError
from kpc.mqtt.limits import SessionLimits


class Outbound:
    """The window of QoS 1 messages that the client has not acknowledged, and the queue in front of it."""

    __slots__ = ("_inflight", "_last_packet_id", "_limits", "_queue", "_queued_bytes", "_window")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        self._window = limits.max_inflight
        # Dicts as ordered sets: an empty one takes a quarter of the memory of an empty set.
        self._inflight: dict[int, None] = {}
        self._queue: dict[int, bytes] = {}
        self._queued_bytes = 0
        self._last_packet_id = 0

    def restrict(self, receive_maximum: int) -> None:
        """The client takes no more at once than this [MQTT-3.3.4-9]."""
        self._window = min(self._window, receive_maximum)

    def free_packet_id(self) -> int:
        """An identifier for the next message."""
        packet_id = self._last_packet_id % MAX_UINT16 + 1
        while packet_id in self._inflight or packet_id in self._queue:
            packet_id = packet_id % MAX_UINT16 + 1
        return packet_id

    def send(self, packet_id: int, data: bytes) -> bytes:
        """Send a message as soon as the client takes it: what is to be sent now is returned.

        Raises QueueFullError when too much waits already.
        """
        self._last_packet_id = packet_id
        if len(self._inflight) < self._window:
            self._inflight[packet_id] = None
            return data
        limits, size = self._limits, self._queued_bytes + len(data)
        if len(self._queue) == limits.max_queued or (self._queue and size > limits.max_queued_bytes):
            raise QueueFullError(f"leaves {len(self._inflight)} messages unacknowledged, {len(self._queue)} more wait")
        self._queue[packet_id] = data
        self._queued_bytes = size
        return b""

    def acknowledged(self, packet_id: int) -> bytes:
        """The client has a message; what is to be sent next is returned."""
        if packet_id not in self._inflight:
            return b""
        del self._inflight[packet_id]
        if not self._queue:
            return b""
        next_id, data = next(iter(self._queue.items()))
        del self._queue[next_id]
        self._queued_bytes -= len(data)
        self._inflight[next_id] = None
        return data
