"""Errors of the MQTT protocol core, told apart by who is to blame.

ProtocolError
 ├── InvalidPacketError    MQTT has no such packet; whoever wanted it says whose fault that is
 ├── RemoteProtocolError   the client broke the protocol: its connection must be closed
 └── LocalProtocolError    we asked for what the protocol forbids: nothing was sent
      ├── PacketTooLargeError   the client has announced that it takes nothing as large
      └── QueueFullError        the client does not acknowledge what it is sent
"""

from kpc.mqtt.reasons import ReasonCode


class ProtocolError(Exception):
    """Something is not as MQTT wants it."""


class InvalidPacketError(ProtocolError):
    """A packet, or a part of one, that MQTT does not know."""

    def __init__(self, message: str, reason_code: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class RemoteProtocolError(ProtocolError):
    """The client broke the protocol; the reason code is for CONNACK or DISCONNECT, if the version has a word for it."""

    def __init__(self, message: str, reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class LocalProtocolError(ProtocolError):
    """We asked for something the protocol forbids."""


class PacketTooLargeError(LocalProtocolError):
    """The packet is larger than the client's Maximum Packet Size."""


class QueueFullError(LocalProtocolError):
    """Too many messages wait for the client to acknowledge those before them."""
