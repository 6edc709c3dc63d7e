"""A whole server session on any bytes: what holds, whatever a client sends.

The owner answers every message at its QoS, acknowledges, refuses or withholds it, and never fails. The session raises
nothing, ends at the end of the input at the latest, tells of its end once and last, and what it sent is MQTT in the
version of the client.
"""

from contextlib import suppress

from kpc.mqtt.errors import PacketTooLargeError
from kpc.mqtt.events import Disconnected, Event
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connect, Publish
from kpc.mqtt.properties import Properties
from kpc.mqtt.reasons import PublishResult, ReasonCode
from kpc.mqtt.session import ServerSession
from kpc.mqtt.versions import MQTT_3_1_1
from support import mqtt_codec

LIMITS = SessionLimits(max_packet_size=4096, max_inflight=8, max_queued=4, max_subscriptions=8, max_topic_filters=16)
REFUSED = PublishResult(reason_code=ReasonCode.NOT_AUTHORIZED, reason_string="no")


def drive(stream: bytes, piece: int) -> list[Event]:
    """Feed *stream* to a session in pieces of that size; AssertionError when something does not hold."""
    session = ServerSession(LIMITS, now=0.0)
    events: list[Event] = []
    said = b""
    for start in range(0, len(stream), piece):
        session.receive_data(stream[start : start + piece], float(start))
        events += _events(session)
        session.tick(float(start))
        said += session.data_to_send()
    session.receive_eof()
    events += _events(session)
    said += session.data_to_send()
    assert session.close_expected()
    assert [event for event in events if isinstance(event, Disconnected)] == events[-1:]
    mqtt_codec.decode_all(said, session.version or MQTT_3_1_1)
    return events


def _events(session: ServerSession) -> list[Event]:
    """What happens until nothing happens any more."""
    happened: list[Event] = []
    while (events := session.events(2)) or session.has_unread:
        for event in events:
            _handle(session, event)
        happened += events
    return happened


def _handle(session: ServerSession, event: Event) -> None:
    if session.close_expected():
        return
    if isinstance(event, Connect):
        if event.username == "refused":
            session.refuse(ReasonCode.NOT_AUTHORIZED)
        else:
            session.accept(0.0, "assigned")
    elif isinstance(event, Publish):
        _answer(session, event)


def _answer(session: ServerSession, publish: Publish) -> None:
    topic = publish.properties.response_topic or publish.topic[:100] + "/status"
    properties = Properties(correlation_data=publish.properties.correlation_data)
    with suppress(PacketTooLargeError):
        session.publish(topic, publish.payload, min(publish.qos, 1), properties)
    if publish.packet_id is None or session.close_expected():
        return
    if publish.packet_id % 5 == 0:
        session.withhold(publish.packet_id, 0.0)
    elif publish.packet_id % 5 == 1:
        session.acknowledge(publish.packet_id, REFUSED)
    else:
        session.acknowledge(publish.packet_id)
