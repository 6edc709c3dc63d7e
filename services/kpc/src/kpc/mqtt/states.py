"""What may happen when, in a session, as a table (MQTT 3.1.1 §3.1, §4.3).

Packets of the client and commands of the session's owner lead from state to state; what is missing is a violation, by
the one or the other. Closing, from whichever side, is possible everywhere.
"""

from collections.abc import Mapping
from enum import IntEnum, auto

from kpc.mqtt.acknowledgements import Puback, Pubrel
from kpc.mqtt.packets import (
    ClientPacket,
    Connect,
    Disconnect,
    Pingreq,
    Publish,
    Subscribe,
    Unsubscribe,
)


class State(IntEnum):
    """Where a session stands."""

    AWAITING_CONNECT = auto()
    DECIDING = auto()
    CONNECTED = auto()
    CLOSED = auto()


class Command(IntEnum):
    """What the owner of a session may do."""

    ACCEPT = auto()
    REFUSE = auto()
    PUBLISH = auto()
    SETTLE = auto()


Step = type[ClientPacket] | Command

TRANSITIONS: Mapping[State, Mapping[Step, State]] = {
    State.AWAITING_CONNECT: {
        Connect: State.DECIDING,  # [MQTT-3.1.0-1]
    },
    # Nothing is read meanwhile: [MQTT-3.1.4-5] "If the Server rejects the CONNECT, it MUST NOT process any data sent by
    # the Client after the CONNECT Packet."
    State.DECIDING: {
        Command.ACCEPT: State.CONNECTED,
        Command.REFUSE: State.CLOSED,
    },
    # [MQTT-3.1.0-2] "The Server MUST process a second CONNECT Packet sent from a Client as a protocol violation and
    # disconnect the Client." PUBREC and PUBCOMP would answer a QoS 2 message, of which we send none.
    State.CONNECTED: {
        Publish: State.CONNECTED,
        Puback: State.CONNECTED,
        Pubrel: State.CONNECTED,
        Subscribe: State.CONNECTED,
        Unsubscribe: State.CONNECTED,
        Pingreq: State.CONNECTED,
        Disconnect: State.CLOSED,
        Command.PUBLISH: State.CONNECTED,
        Command.SETTLE: State.CONNECTED,
    },
    State.CLOSED: {},
}
