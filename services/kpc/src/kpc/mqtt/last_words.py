"""What a client is told before its connection is closed (MQTT 3.1.1 §3.1.4 and §4.8, MQTT 5 §3.1.4 and §4.13)."""

from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import Connack, Disconnect
from kpc.mqtt.properties import explanation
from kpc.mqtt.reasons import REASONS, ReasonCode
from kpc.mqtt.states import State
from kpc.mqtt.versions import Version


def last_words(
    state: State, version: Version | None, reason_code: ReasonCode, detail: str = ""
) -> Connack | Disconnect | None:
    """The last packet for a client whose session is in *state*, or None: before MQTT 5 there are few words.

    A reason that the packet cannot carry becomes a more general one.
    """
    properties = explanation(detail)
    if state is State.CONNECTED and version is not None and version.has_properties:
        known = reason_code in REASONS[PacketType.DISCONNECT]
        return Disconnect(reason_code=reason_code if known else ReasonCode.UNSPECIFIED_ERROR, properties=properties)
    if state is State.DECIDING or (state is State.AWAITING_CONNECT and _answers_bad_connect(version, reason_code)):
        known = reason_code in REASONS[PacketType.CONNACK]
        return Connack(reason_code=reason_code if known else ReasonCode.SERVER_UNAVAILABLE, properties=properties)
    return None


def _answers_bad_connect(version: Version | None, reason_code: ReasonCode) -> bool:
    """[MQTT-3.1.4-1] "The Server MUST validate that the CONNECT Packet conforms to section 3.1 and close the Network
    Connection without sending a CONNACK if it does not conform." There it may be sent in MQTT 5; one of a version that
    is not spoken is always answered [MQTT-3.1.2-2]."""
    if version is None:
        return reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
    return version.has_properties
