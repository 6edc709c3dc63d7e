"""Errors of the MQTT protocol core, told apart by who is to blame.

ProtocolError
 ├── InvalidPacketError    MQTT has no such packet; whoever wanted it says whose fault that is
 ├── RemoteProtocolError   the client broke the protocol: its connection must be closed
 └── LocalProtocolError    we asked for what the protocol forbids: nothing was sent
      └── InflightLimitError   too many of our publishes wait for their PUBACK
"""

from kpc.mqtt.reasons import ReasonCode


class ProtocolError(Exception):
    """Something is not as MQTT wants it."""


class InvalidPacketError(ProtocolError):
    """A packet, or a part of one, that MQTT does not know."""


class RemoteProtocolError(ProtocolError):
    """The client broke the protocol; with a reason code, CONNACK tells it so before the connection is closed."""

    def __init__(self, message: str, *, reason_code: ReasonCode | None = None) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class LocalProtocolError(ProtocolError):
    """We asked for something the protocol forbids."""


class InflightLimitError(LocalProtocolError):
    """The client has not acknowledged what it was sent already."""
