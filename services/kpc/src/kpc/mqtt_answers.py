"""What is published in answer to a request over MQTT (1/KP, Response topic; MQTT 5 §4.10), without I/O.

The answer goes to the request's topic + `/status` or `/error`: every error, and every success that answers a request id
or has a payload. MQTT 5 adds to it: an answer carries the request's Correlation Data, and its status code and reason as
user properties; a request with a Response Topic is answered there too, and first, whether or not it has an id.
"""

from collections.abc import Iterator
from typing import NamedTuple

from kpc.edge import Outcome
from kpc.kp1 import ERROR, STATUS, error_payload
from kpc.mqtt.packets import Publish
from kpc.mqtt.properties import NO_PROPERTIES, Properties, readable
from kpc.mqtt.versions import Version

NOT_TEXT = Outcome(status_code=400, reason_phrase="the payload is no UTF-8 text, which its format indicator calls it")


class Answer(NamedTuple):
    """One message to the client that asked."""

    topic: str
    payload: bytes
    properties: Properties


def answers(publish: Publish, outcome: Outcome, version: Version) -> Iterator[Answer]:
    """All that is said about *outcome*, in order."""
    payload = outcome.payload
    if not outcome.is_success:
        payload = error_payload(outcome.status_code, outcome.reason_phrase)
    properties = _properties(publish, outcome) if version.has_properties else NO_PROPERTIES
    topic = publish.topic + (STATUS if outcome.is_success else ERROR)
    response_topic = publish.properties.response_topic
    if response_topic is not None:
        yield Answer(topic=response_topic, payload=payload, properties=properties)
    is_wanted = not outcome.is_success or outcome.has_request_id or payload
    if is_wanted and topic != response_topic:
        yield Answer(topic=topic, payload=payload, properties=properties)


def has_its_format(publish: Publish) -> bool:
    """Whether the payload is what its Payload Format Indicator calls it (MQTT 5 §3.3.2.3.2); if not, it is NOT_TEXT."""
    if publish.properties.payload_format_indicator == 1:
        try:
            publish.payload.decode()
        except UnicodeDecodeError:
            return False
    return True


def too_large(outcome: Outcome) -> Outcome:
    """What is said instead when the client takes no message as large as the answer (Maximum Packet Size)."""
    return Outcome(
        status_code=413,
        reason_phrase="the answer is larger than your Maximum Packet Size",
        has_request_id=outcome.has_request_id,
    )


def _properties(publish: Publish, outcome: Outcome) -> Properties:
    said = [("statusCode", str(outcome.status_code))]
    if outcome.reason_phrase:
        said.append(("reasonPhrase", readable(outcome.reason_phrase)))
    return Properties(correlation_data=publish.properties.correlation_data, user_properties=tuple(said))
