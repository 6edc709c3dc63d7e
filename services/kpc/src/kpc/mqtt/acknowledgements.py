"""The four packets that carry a QoS 1 or QoS 2 message on its way (MQTT 3.1.1 §3.4 to §3.7, MQTT 5 §3.4 to §3.7)."""

from dataclasses import dataclass
from typing import ClassVar

from kpc.mqtt.checks import check_packet_id, check_reason
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.properties import NO_PROPERTIES, Properties, check_properties
from kpc.mqtt.reasons import ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Acknowledgement:
    packet_type: ClassVar[PacketType]
    packet_id: int
    reason_code: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES

    def __post_init__(self) -> None:
        check_packet_id(self.packet_id)
        check_reason(self.packet_type, self.reason_code)
        check_properties(self.properties, self.packet_type)


class Puback(_Acknowledgement):
    """A QoS 1 message is taken over, or refused."""

    __slots__ = ()
    packet_type = PacketType.PUBACK


class Pubrec(_Acknowledgement):
    """A QoS 2 message is taken over, or refused."""

    __slots__ = ()
    packet_type = PacketType.PUBREC


class Pubrel(_Acknowledgement):
    """The sender of a QoS 2 message will not send it again."""

    __slots__ = ()
    packet_type = PacketType.PUBREL


class Pubcomp(_Acknowledgement):
    """The receiver of a QoS 2 message has forgotten its identifier."""

    __slots__ = ()
    packet_type = PacketType.PUBCOMP
