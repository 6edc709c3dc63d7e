"""Errors of the MQTT protocol core, told apart by who is to blame.

ProtocolError
 ├── InvalidPacketError    MQTT has no such packet; whoever wanted it says whose fault that is
 ├── RemoteProtocolError   the client broke the protocol: its connection must be closed
 └── LocalProtocolError    we asked for what the protocol forbids: nothing was sent
      └── InflightLimitError   too many of our publishes wait for their PUBACK
"""

from enum import IntEnum


class ConnectReturnCode(IntEnum):
    """The server's answer to CONNECT (MQTT 3.1.1, table 3.1)."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USERNAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


class ProtocolError(Exception):
    """Something is not as MQTT wants it."""


class InvalidPacketError(ProtocolError):
    """A packet, or a part of one, that MQTT does not know."""


class RemoteProtocolError(ProtocolError):
    """The client broke the protocol; with a return code, CONNACK tells it so before the connection is closed."""

    def __init__(self, message: str, *, return_code: ConnectReturnCode | None = None) -> None:
        super().__init__(message)
        self.return_code = return_code


class LocalProtocolError(ProtocolError):
    """We asked for something the protocol forbids."""


class InflightLimitError(LocalProtocolError):
    """The client has not acknowledged what it was sent already."""
