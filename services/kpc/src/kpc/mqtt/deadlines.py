"""When a session ends by itself, and why: pure arithmetic on the times of what happened.

CONNECT    it was not there, or not decided upon, in time (§3.1.4)
SILENCE    the client sent nothing for one and a half keep alives [MQTT-3.1.2-24]
WITHHELD   a message was not taken, and the client is to come back and send it again
"""

from collections.abc import Mapping
from enum import Enum, auto

from kpc.mqtt.events import DisconnectReason
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.states import State


class Deadline(Enum):
    """What was waited for in vain."""

    CONNECT = auto()
    SILENCE = auto()
    WITHHELD = auto()


ENDS: Mapping[Deadline, tuple[DisconnectReason, str, ReasonCode]] = {
    Deadline.CONNECT: (DisconnectReason.CONNECT_TIMEOUT, "", ReasonCode.SERVER_UNAVAILABLE),
    Deadline.SILENCE: (DisconnectReason.KEEP_ALIVE, "", ReasonCode.KEEP_ALIVE_TIMEOUT),
    Deadline.WITHHELD: (
        DisconnectReason.CLOSED_BY_SERVER,
        "messages were not taken, the client is to send them again",
        ReasonCode.SERVER_BUSY,
    ),
}
"""How the session ends then."""


class Deadlines:
    """The deadlines of one session."""

    __slots__ = ("_connect", "_last_data", "_last_packet", "_withheld_for", "keep_alive")

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self.keep_alive = 0
        self._connect = now + limits.connect_timeout
        self._withheld_for = limits.withheld_for
        self._last_data = self._last_packet = now

    def data_came(self, now: float) -> None:
        self._last_data = now

    def packet_came(self) -> None:
        """With the data that came last: an unfinished packet keeps nothing alive."""
        self._last_packet = self._last_data

    def start_silence(self, now: float) -> None:
        self._last_packet = now

    def next(self, state: State, withheld_since: float | None) -> tuple[float, Deadline] | None:
        """The next deadline of a session in that state."""
        if state is not State.CONNECTED:
            return None if state is State.CLOSED else (self._connect, Deadline.CONNECT)
        deadlines = []
        if withheld_since is not None:
            deadlines.append((withheld_since + self._withheld_for, Deadline.WITHHELD))
        if self.keep_alive:
            deadlines.append((self._last_packet + 1.5 * self.keep_alive, Deadline.SILENCE))
        return min(deadlines, default=None, key=lambda deadline: deadline[0])
