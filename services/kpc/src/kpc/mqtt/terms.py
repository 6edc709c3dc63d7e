"""What client and server agree on with CONNECT and CONNACK (MQTT 5 §3.1.2.11, §3.2.2.3); before MQTT 5, little."""

from dataclasses import dataclass
from typing import Self

from kpc.mqtt.checks import MAX_UINT16
from kpc.mqtt.errors import RemoteProtocolError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connect
from kpc.mqtt.properties import Properties
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import Version
from kpc.mqtt.wire import MAX_VARIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of one session."""

    version: Version
    keep_alive: int
    receive_maximum: int
    maximum_packet_size: int
    explains: bool
    """Whether acknowledgements may carry reason strings (Request Problem Information)."""
    keeps_session: bool
    """Whether the client wanted its session to outlive the connection, which none does."""
    lacks_client_id: bool
    wanted_keep_alive: int

    @classmethod
    def of(cls, connect: Connect, limits: SessionLimits) -> Self:
        """The terms that *connect* asks for, as far as they are granted; RemoteProtocolError if it asks too much."""
        version, properties = connect.version, connect.properties
        if properties.authentication_method is not None:
            # [MQTT-4.12.0-1] "If the Server does not support the Authentication Method supplied by the Client, it MAY
            # send a CONNACK with a Reason Code of 0x8C (Bad authentication method)".
            reason_code = ReasonCode.BAD_AUTHENTICATION_METHOD
            raise RemoteProtocolError("no authentication method is supported", reason_code)
        if version.kept_session_needs_client_id and not connect.client_id and not connect.clean_session:
            # [MQTT-3.1.3-8] "the Server MUST respond to the CONNECT Packet with a CONNACK return code 0x02 (Identifier
            # rejected) and then close the Network Connection." 3.1 forbids empty identifiers altogether, yet its
            # clients send them.
            reason_code = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
            raise RemoteProtocolError("no client identifier, but a session to keep", reason_code)
        keep_alive = connect.keep_alive
        if version.has_properties and not 0 < keep_alive <= limits.max_keep_alive:
            keep_alive = limits.max_keep_alive
        return cls(
            version=version,
            keep_alive=keep_alive,
            receive_maximum=properties.receive_maximum or MAX_UINT16,
            maximum_packet_size=properties.maximum_packet_size or MAX_VARIABLE,
            explains=properties.request_problem_information != 0,
            keeps_session=bool(properties.session_expiry_interval),
            lacks_client_id=version.has_properties and not connect.client_id,
            wanted_keep_alive=connect.keep_alive,
        )

    def announced(self, limits: SessionLimits, client_id: str) -> Properties:
        """What CONNACK tells the client; *client_id* is the one it gets if it has none."""
        return Properties(
            # §3.2.2.3.2: "If the Session Expiry Interval is absent the value in the CONNECT Packet used."
            session_expiry_interval=0 if self.keeps_session else None,
            receive_maximum=limits.max_inflight,
            maximum_packet_size=limits.max_packet_size,
            topic_alias_maximum=limits.topic_alias_maximum,
            assigned_client_identifier=client_id if self.lacks_client_id else None,  # [MQTT-3.1.3-7]
            server_keep_alive=None if self.keep_alive == self.wanted_keep_alive else self.keep_alive,
            shared_subscription_available=0,
        )
