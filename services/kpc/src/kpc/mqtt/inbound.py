"""What is owed to the client for the QoS 1 and QoS 2 messages it sent (MQTT 3.1.1 §4.3, MQTT 5 §4.3 and §4.9).

Each is acknowledged when the owner of the session says what became of it, and in the order in which they came.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.errors import LocalProtocolError, RemoteProtocolError
from kpc.mqtt.packets import Publish
from kpc.mqtt.properties import Properties
from kpc.mqtt.reasons import ReasonCode

Acknowledgement = Puback | Pubrec


@dataclass(slots=True)
class _Receipt:
    """The acknowledgement that a message will get: its kind, and itself once it is due."""

    kind: type[Puback] | type[Pubrec]
    answer: Acknowledgement | None = None


class Inbound:
    """The exchanges that a client began and that are not finished."""

    __slots__ = ("_receipts", "_unreleased", "_withheld")

    def __init__(self) -> None:
        self._receipts: dict[int, _Receipt] = {}
        # Dicts as ordered sets: an empty one takes a quarter of the memory of an empty set.
        self._unreleased: dict[int, None] = {}
        self._withheld: dict[int, float] = {}

    @property
    def unsettled(self) -> int:
        """Messages of which it is not known yet what becomes of them, or that wait for one that is not."""
        return len(self._receipts)

    @property
    def unfinished(self) -> int:
        """What counts against the Receive Maximum that the client was told."""
        return len(self._receipts) + len(self._unreleased) + len(self._withheld)

    @property
    def withheld_since(self) -> float | None:
        """When the first of the messages that are withheld now was."""
        return next(iter(self._withheld.values()), None)

    def receive(self, publish: Publish) -> Pubrec | bool:
        """Take a message of QoS 1 or 2: True if it is a new one, False if it repeats one that will be acknowledged.

        PUBREC at once: [MQTT-4.3.3-2] "Until it has received the corresponding PUBREL packet, the Receiver MUST
        acknowledge any subsequent PUBLISH packet with the same Packet Identifier by sending a PUBREC. It MUST NOT cause
        duplicate messages to be delivered".
        """
        packet_id = publish.packet_id
        assert packet_id is not None
        if publish.qos == 2 and packet_id in self._unreleased:
            return Pubrec(packet_id=packet_id)
        if packet_id in self._receipts:
            # [MQTT-2.3.1-2] "it MUST assign it a currently unused Packet Identifier", unless this is a repetition,
            # which the acknowledgement to come answers too.
            if not publish.dup:
                raise RemoteProtocolError(f"packet identifier {packet_id} is in use")
            return False
        self._withheld.pop(packet_id, None)
        self._receipts[packet_id] = _Receipt(Puback if publish.qos == 1 else Pubrec)
        return True

    def settle(self, packet_id: int, reason_code: ReasonCode, properties: Properties) -> None:
        """It is known what became of a message; LocalProtocolError if that was known already."""
        receipt = self._open_receipt(packet_id)
        receipt.answer = receipt.kind(packet_id=packet_id, reason_code=reason_code, properties=properties)

    def withhold(self, packet_id: int, now: float) -> None:
        """A message stays with the client, which is to send it again."""
        self._open_receipt(packet_id)
        del self._receipts[packet_id]
        self._withheld[packet_id] = now

    def due(self) -> Iterator[Acknowledgement]:
        """The acknowledgements that are to be sent now.

        [MQTT-4.6.0-2] "It MUST send PUBACK packets in the order in which the corresponding PUBLISH packets were
        received"; [MQTT-4.6.0-3] says the same of PUBREC.
        """
        while self._receipts and (answer := next(iter(self._receipts.values())).answer) is not None:
            del self._receipts[answer.packet_id]
            # MQTT 5 §4.3.3: with a reason code of 0x80 or greater the exchange is over, and no PUBREL follows.
            if isinstance(answer, Pubrec) and not answer.reason_code.is_failure:
                self._unreleased[answer.packet_id] = None
            yield answer

    def release(self, pubrel: Pubrel) -> Pubcomp:
        """The client has PUBREC; [MQTT-4.3.3-2] "MUST respond to a PUBREL packet by sending a PUBCOMP packet"."""
        packet_id = pubrel.packet_id
        # PUBREL answers PUBREC. PUBCOMP now would say that a message is safe which may not be.
        if packet_id in self._receipts:
            raise RemoteProtocolError(f"PUBREL before PUBREC of packet identifier {packet_id}")
        known = packet_id in self._unreleased
        self._unreleased.pop(packet_id, None)
        reason_code = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        return Pubcomp(packet_id=packet_id, reason_code=reason_code)

    def _open_receipt(self, packet_id: int) -> _Receipt:
        receipt = self._receipts.get(packet_id)
        if receipt is None or receipt.answer is not None:
            raise LocalProtocolError(f"packet identifier {packet_id} awaits no acknowledgement")
        return receipt
