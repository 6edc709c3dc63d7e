"""One session on byte literals: what each packet, each command and each deadline leads to."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpc.mqtt.errors import LocalProtocolError
from kpc.mqtt.events import Disconnected, DisconnectReason, Event
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Connect, Publish, Subscribe, Subscription, Unsubscribe
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.session import ServerSession
from kpc.mqtt.states import TRANSITIONS, Command, State
from kpc.mqtt.versions import MQTT_3_1, MQTT_3_1_1

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
CONNECT_WITHOUT_KEEP_ALIVE = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"
ACCEPTED = b"\x20\x02\x00\x00"
PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
LIMITS = SessionLimits()


def publish(qos: int, packet_id: int, *, dup: bool = False) -> bytes:
    return bytes((0x30 | dup << 3 | qos << 1, 6, 0, 1)) + b"a" + packet_id.to_bytes(2, "big") + b"x"


def received(qos: int, packet_id: int, *, dup: bool = False) -> Publish:
    return Publish(topic="a", payload=b"x", qos=qos, packet_id=packet_id, dup=dup)


def new_session(limits: SessionLimits = LIMITS) -> ServerSession:
    return ServerSession(limits, now=0.0)


def connected_session(limits: SessionLimits = LIMITS, connect: bytes = CONNECT) -> ServerSession:
    session = new_session(limits)
    session.receive_data(connect, 0.0)
    assert [type(event) for event in session.events(9)] == [Connect]
    session.accept(0.0)
    assert session.data_to_send() == ACCEPTED
    return session


def feed(session: ServerSession, data: bytes, *, limit: int = 99) -> list[Event]:
    session.receive_data(data, 1.0)
    return session.events(limit)


def assert_violation(session: ServerSession, events: list[Event]) -> None:
    assert isinstance(events[-1], Disconnected)
    assert events[-1].reason is DisconnectReason.PROTOCOL_ERROR
    assert events[-1].detail
    assert session.close_expected()


def test_connect_is_reported_and_answered_when_accepted() -> None:
    session = new_session()
    assert feed(session, CONNECT) == [Connect(version=MQTT_3_1_1, client_id="c", keep_alive=60)]
    assert session.data_to_send() == b""
    session.accept(1.0)
    assert session.data_to_send() == ACCEPTED
    assert not session.close_expected()


def test_connect_of_version_3_1_without_client_id_is_accepted() -> None:
    session = new_session()
    events = feed(session, b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00")
    assert events == [Connect(version=MQTT_3_1, client_id="")]


def test_a_session_that_the_client_wants_kept_is_accepted_without_one_present() -> None:
    connected_session(connect=b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01c")


def test_a_will_is_accepted_and_ignored() -> None:
    session = connected_session(connect=b"\x10\x13\x00\x04MQTT\x04\x06\x00\x3c\x00\x01c\x00\x01w\x00\x01x")
    session.receive_eof()
    assert session.events(9) == [Disconnected(reason=DisconnectReason.EOF)]
    assert session.data_to_send() == b""


def test_a_refused_client_is_told_why_and_closed() -> None:
    session = new_session()
    feed(session, CONNECT + publish(1, 1))
    session.refuse(ReasonCode.NOT_AUTHORIZED)
    assert session.data_to_send() == b"\x20\x02\x00\x05"
    assert session.close_expected()
    assert session.events(9) == [Disconnected(reason=DisconnectReason.REFUSED, detail="NOT_AUTHORIZED")]


@pytest.mark.parametrize(
    ("connect", "answer"),
    [
        (b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x01c", b"\x20\x02\x00\x01"),
        (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00", b"\x20\x02\x00\x02"),
        (b"\x10\x0e\x00\x06MQIsdp\x03\x00\x00\x3c\x00\x00", b"\x20\x02\x00\x02"),
        (b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x3c\x00\x01c", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x30\x03\x00\x01a", b""),
    ],
    ids=["level 6", "no id 3.1.1", "no id 3.1", "other protocol", "TLS", "HTTP", "PUBLISH first"],
)
def test_a_client_that_cannot_be_talked_to_is_answered_where_mqtt_has_an_answer(connect: bytes, answer: bytes) -> None:
    session = new_session()
    assert_violation(session, feed(session, connect))
    assert session.data_to_send() == answer


def test_what_follows_connect_at_once_waits_until_the_client_is_accepted() -> None:
    session = new_session()
    assert len(feed(session, CONNECT + publish(1, 1) + PINGREQ + DISCONNECT)) == 1
    session.receive_eof()
    assert session.events(9) == []
    session.accept(1.0)
    assert session.events(9) == [received(1, 1), Disconnected(reason=DisconnectReason.CLEAN)]
    assert session.data_to_send() == ACCEPTED + PINGRESP


def test_a_second_connect_is_a_violation() -> None:
    session = connected_session()
    assert_violation(session, feed(session, CONNECT))
    assert session.data_to_send() == b""


def test_a_second_connect_of_another_level_is_not_answered_either() -> None:
    session = connected_session()
    assert_violation(session, feed(session, b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x3c\x00\x01c"))
    assert session.data_to_send() == b""


def test_events_before_a_violation_are_reported_and_those_after_it_are_not() -> None:
    session = connected_session()
    events = feed(session, publish(1, 1) + b"\x36\x00" + publish(1, 2))
    assert events[0] == received(1, 1)
    assert_violation(session, events)
    assert len(events) == 2
    assert feed(session, publish(1, 3)) == []


@pytest.mark.parametrize("answer", [b"\x50\x02\x00\x01", b"\x70\x02\x00\x01"], ids=["PUBREC", "PUBCOMP"])
def test_answers_to_a_qos_2_message_we_never_sent_are_a_violation(answer: bytes) -> None:
    session = connected_session()
    assert_violation(session, feed(session, answer))


def test_at_most_limit_packets_are_read_and_the_rest_later() -> None:
    session = connected_session()
    assert feed(session, PINGREQ + publish(1, 1) + publish(1, 2) + PINGREQ, limit=2) == [received(1, 1)]
    assert session.has_unread
    assert (session.events(1), session.has_unread) == ([received(1, 2)], True)
    assert (session.events(1), session.has_unread) == ([], False)
    assert session.data_to_send() == PINGRESP * 2


def test_a_packet_counts_as_many_as_it_has_topic_filters() -> None:
    session = connected_session()
    three_filters = b"\xa2\x0b\x00\x01" + b"\x00\x01a" * 3
    assert len(feed(session, three_filters * 3, limit=4)) == 2
    assert session.has_unread
    assert len(session.events(4)) == 1


def test_an_end_that_was_not_come_to_is_unread() -> None:
    session = connected_session()
    session.receive_eof()
    assert (feed(session, publish(1, 1), limit=1), session.has_unread) == ([received(1, 1)], True)
    assert (session.events(1), session.has_unread) == ([Disconnected(reason=DisconnectReason.EOF)], False)


def test_the_beginning_of_a_packet_is_nothing_to_wait_for() -> None:
    session = connected_session()
    assert feed(session, publish(1, 1) + b"\x30", limit=9) == [received(1, 1)]
    assert not session.has_unread


def test_qos_0_is_delivered_and_not_acknowledged() -> None:
    session = connected_session()
    assert feed(session, b"\x31\x04\x00\x01ax") == [Publish(topic="a", payload=b"x", retain=True)]
    assert session.data_to_send() == b""


def test_qos_1_is_acknowledged_when_the_owner_says_so() -> None:
    session = connected_session()
    assert feed(session, publish(1, 258)) == [received(1, 258)]
    assert session.data_to_send() == b""
    session.acknowledge(258)
    assert session.data_to_send() == b"\x40\x02\x01\x02"


def test_acknowledgements_leave_in_the_order_of_the_messages() -> None:
    session = connected_session()
    feed(session, publish(1, 3) + publish(2, 1) + publish(1, 2))
    session.acknowledge(2)
    session.acknowledge(1)
    assert session.data_to_send() == b""
    session.acknowledge(3)
    assert session.data_to_send() == b"\x40\x02\x00\x03\x50\x02\x00\x01\x40\x02\x00\x02"


def test_a_withheld_message_holds_up_no_other_and_may_come_again() -> None:
    session = connected_session()
    feed(session, publish(1, 1) + publish(2, 2))
    session.acknowledge(2)
    session.withhold(1, 1.0)
    assert session.data_to_send() == b"\x50\x02\x00\x02"
    assert feed(session, publish(1, 1, dup=True)) == [received(1, 1, dup=True)]


def test_a_client_whose_message_stays_withheld_is_made_to_send_it_again() -> None:
    session = connected_session(connect=CONNECT_WITHOUT_KEEP_ALIVE)
    feed(session, publish(1, 1) + publish(1, 2))
    session.withhold(1, 1.0)
    session.withhold(2, 5.0)
    assert session.next_deadline() == 1.0 + LIMITS.withheld_for
    session.tick(10.9)
    assert not session.close_expected()
    session.tick(11.0)
    (end,) = session.events(9)
    assert isinstance(end, Disconnected)
    assert end.reason is DisconnectReason.CLOSED_BY_SERVER


def test_a_withheld_message_that_came_again_ends_nothing() -> None:
    session = connected_session(connect=CONNECT_WITHOUT_KEEP_ALIVE)
    feed(session, publish(1, 1))
    session.withhold(1, 1.0)
    feed(session, publish(1, 1, dup=True))
    assert session.next_deadline() is None


def test_a_repeated_qos_1_message_is_delivered_once_until_it_is_acknowledged() -> None:
    session = connected_session()
    assert feed(session, publish(1, 1) + publish(1, 1, dup=True)) == [received(1, 1)]
    session.acknowledge(1)
    assert session.data_to_send() == b"\x40\x02\x00\x01"
    assert feed(session, publish(1, 1, dup=True)) == [received(1, 1, dup=True)]


def test_an_identifier_in_use_is_a_violation() -> None:
    session = connected_session()
    assert_violation(session, feed(session, publish(1, 1) + publish(1, 1)))


def test_qos_2_is_delivered_once_until_it_is_released() -> None:
    session = connected_session()
    assert feed(session, publish(2, 7) + publish(2, 7, dup=True)) == [received(2, 7)]
    assert session.data_to_send() == b""
    session.acknowledge(7)
    assert session.data_to_send() == b"\x50\x02\x00\x07"
    assert feed(session, publish(2, 7, dup=True)) == []
    assert session.data_to_send() == b"\x50\x02\x00\x07"
    assert feed(session, b"\x62\x02\x00\x07") == []
    assert session.data_to_send() == b"\x70\x02\x00\x07"
    assert feed(session, publish(2, 7)) == [received(2, 7)]


def test_an_unknown_identifier_is_released_all_the_same() -> None:
    session = connected_session()
    assert feed(session, b"\x62\x02\x00\x07") == []
    assert session.data_to_send() == b"\x70\x02\x00\x07"


def test_a_release_before_the_message_is_recorded_is_a_violation() -> None:
    session = connected_session()
    assert_violation(session, feed(session, publish(2, 7) + b"\x62\x02\x00\x07")[1:])
    assert session.data_to_send() == b""


def test_too_many_unreleased_messages_are_a_violation() -> None:
    session = connected_session(SessionLimits(max_inflight=2))
    for packet_id in (1, 2):
        feed(session, publish(2, packet_id))
        session.acknowledge(packet_id)
    assert_violation(session, feed(session, publish(2, 3)))


def test_subscriptions_are_reported_and_granted_up_to_qos_1() -> None:
    session = connected_session()
    assert feed(session, b"\x82\x0e\x00\x05\x00\x01#\x02\x00\x01a\x01\x00\x01b\x00") == [
        Subscribe(
            packet_id=5,
            subscriptions=tuple(
                Subscription(topic_filter=name, qos=qos) for name, qos in (("#", 2), ("a", 1), ("b", 0))
            ),
        )
    ]
    assert session.data_to_send() == b"\x90\x05\x00\x05\x01\x01\x00"


@pytest.mark.parametrize(
    ("connect", "refused"),
    [(CONNECT, b"\x80"), (b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c", b"\x00")],
    ids=["3.1.1", "3.1"],
)
def test_one_subscription_too_many_is_refused_where_mqtt_has_a_word_for_it(connect: bytes, refused: bytes) -> None:
    session = connected_session(SessionLimits(max_subscriptions=1), connect)
    feed(session, b"\x82\x0a\x00\x05\x00\x01a\x01\x00\x01b\x01")
    assert session.data_to_send() == b"\x90\x04\x00\x05\x01" + refused
    feed(session, b"\xa2\x05\x00\x06\x00\x01a" + b"\x82\x06\x00\x05\x00\x01b\x01")
    assert session.data_to_send() == b"\xb0\x02\x00\x06" + b"\x90\x03\x00\x05\x01"


def test_unsubscribing_from_what_was_never_subscribed_is_answered() -> None:
    session = connected_session()
    assert feed(session, b"\xa2\x05\x00\x06\x00\x01a") == [Unsubscribe(packet_id=6, topic_filters=("a",))]
    assert session.data_to_send() == b"\xb0\x02\x00\x06"


def test_everything_there_is_to_say_comes_in_one_piece() -> None:
    session = connected_session()
    feed(session, PINGREQ + publish(1, 1))
    session.publish("a/status", b"{}")
    session.acknowledge(1)
    assert session.data_to_send() == PINGRESP + b"\x30\x0c\x00\x08a/status{}" + b"\x40\x02\x00\x01"
    assert session.data_to_send() == b""


def test_messages_of_qos_1_get_identifiers_that_are_free() -> None:
    session = connected_session()
    for _ in range(3):
        session.publish("a", b"", qos=1)
    assert session.data_to_send() == b"".join(bytes((0x32, 5, 0, 1, 97, 0, packet_id)) for packet_id in (1, 2, 3))


def test_identifiers_wrap_around_and_skip_those_in_use() -> None:
    session = connected_session()
    session.publish("a", b"", qos=1)
    for packet_id in range(2, 65_536):
        session.publish("a", b"", qos=1)
        feed(session, b"\x40\x02" + packet_id.to_bytes(2, "big"))
    session.data_to_send()
    session.publish("a", b"", qos=1)
    assert session.data_to_send() == b"\x32\x05\x00\x01a\x00\x02"


def test_a_client_that_does_not_acknowledge_is_sent_the_next_when_it_does() -> None:
    session = connected_session(SessionLimits(max_inflight=2))
    for _ in range(4):
        session.publish("a", b"", qos=1)
    assert session.data_to_send() == b"\x32\x05\x00\x01a\x00\x01" + b"\x32\x05\x00\x01a\x00\x02"
    session.publish("b", b"")
    assert session.data_to_send() == b"\x30\x03\x00\x01b"
    assert feed(session, b"\x40\x02\x00\x01") == []
    assert session.data_to_send() == b"\x32\x05\x00\x01a\x00\x03"
    assert feed(session, b"\x40\x02\x00\x01" + b"\x40\x02\x00\x04" + b"\x40\x02\x00\x03") == []
    assert session.data_to_send() == b"\x32\x05\x00\x01a\x00\x04"


@pytest.mark.parametrize(
    "limits", [SessionLimits(max_inflight=2, max_queued=1), SessionLimits(max_inflight=2, max_queued_bytes=60)]
)
def test_a_client_for_which_too_much_waits_is_closed(limits: SessionLimits) -> None:
    session = connected_session(limits)
    for _ in range(3):
        session.publish("a", b"x" * 50, qos=1)
    assert not session.close_expected()
    session.publish("a", b"x" * 50, qos=1)
    (end,) = session.events(9)
    assert isinstance(end, Disconnected)
    assert end.reason is DisconnectReason.TOO_SLOW
    assert end.detail == "leaves 2 messages unacknowledged, 1 more wait"


def test_an_acknowledgement_of_nothing_is_ignored() -> None:
    session = connected_session()
    assert feed(session, b"\x40\x02\x00\x09") == []
    assert not session.close_expected()


MISUSES: dict[str, Callable[[ServerSession], None]] = {
    "second accept": lambda session: session.accept(0.0),
    "late refusal": lambda session: session.refuse(ReasonCode.NOT_AUTHORIZED),
    "wildcard topic": lambda session: session.publish("#", b""),
    "QoS 2": lambda session: session.publish("a", b"", qos=2),
    "QoS -1": lambda session: session.publish("a", b"", qos=-1),
    "nothing to acknowledge": lambda session: session.acknowledge(1),
    "nothing to withhold": lambda session: session.withhold(1, 1.0),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_our_own_mistakes_are_told_and_send_nothing(misuse: Callable[[ServerSession], None]) -> None:
    session = connected_session()
    with pytest.raises(LocalProtocolError):
        misuse(session)
    assert session.data_to_send() == b""
    assert not session.close_expected()


def test_nothing_can_be_acknowledged_twice() -> None:
    session = connected_session()
    feed(session, publish(1, 1) + publish(1, 2))
    session.acknowledge(2)
    with pytest.raises(LocalProtocolError):
        session.acknowledge(2)


def test_nothing_can_be_sent_before_the_client_is_accepted() -> None:
    session = new_session()
    feed(session, CONNECT)
    with pytest.raises(LocalProtocolError):
        session.publish("a", b"")


def test_goodbye_ends_the_session_and_what_follows_is_not_read() -> None:
    session = connected_session()
    assert feed(session, DISCONNECT + publish(0, 1)) == [Disconnected(reason=DisconnectReason.CLEAN)]
    assert session.close_expected()
    assert session.events(9) == []
    with pytest.raises(LocalProtocolError):
        session.publish("a", b"")


def test_the_end_of_the_stream_ends_the_session_after_what_was_sent() -> None:
    session = connected_session()
    session.receive_data(publish(1, 1) + publish(1, 2)[:4], 1.0)
    session.receive_eof()
    assert session.events(1) == [received(1, 1)]
    assert session.events(1) == [Disconnected(reason=DisconnectReason.EOF)]


def test_the_server_can_end_the_session() -> None:
    session = connected_session()
    session.close("taken over", ReasonCode.SESSION_TAKEN_OVER)
    assert session.close_expected()
    assert session.events(9) == [Disconnected(reason=DisconnectReason.CLOSED_BY_SERVER, detail="taken over")]


def test_the_first_reason_to_end_is_the_one_reported() -> None:
    session = connected_session()
    feed(session, DISCONNECT)
    session.close("too late", ReasonCode.UNSPECIFIED_ERROR)
    session.receive_eof()
    assert session.events(9) == []


def test_a_client_that_does_not_connect_in_time_is_closed() -> None:
    session = new_session(SessionLimits(connect_timeout=10.0))
    session.receive_data(CONNECT[:5], 9.0)
    assert session.next_deadline() == 10.0
    session.tick(9.99)
    assert session.events(9) == []
    session.tick(10.0)
    assert session.events(9) == [Disconnected(reason=DisconnectReason.CONNECT_TIMEOUT)]
    assert session.data_to_send() == b""
    assert session.next_deadline() is None


def test_a_client_that_is_not_decided_upon_in_time_is_told_so() -> None:
    session = new_session(SessionLimits(connect_timeout=10.0))
    feed(session, CONNECT)
    session.tick(10.0)
    assert session.data_to_send() == b"\x20\x02\x00\x03"
    assert session.events(9) == [Disconnected(reason=DisconnectReason.CONNECT_TIMEOUT)]


def test_a_client_silent_for_one_and_a_half_keep_alives_is_closed() -> None:
    session = connected_session()
    session.receive_data(PINGREQ, 50.0)
    session.events(9)
    assert session.next_deadline() == 140.0
    session.tick(139.9)
    assert session.events(9) == []
    session.tick(140.0)
    assert session.events(9) == [Disconnected(reason=DisconnectReason.KEEP_ALIVE)]


def test_an_unfinished_packet_keeps_nothing_alive() -> None:
    session = connected_session()
    session.receive_data(PINGREQ[:1], 50.0)
    session.events(9)
    assert session.next_deadline() == 90.0


def test_a_client_without_keep_alive_may_be_silent_for_ever() -> None:
    session = connected_session(connect=CONNECT_WITHOUT_KEEP_ALIVE)
    assert session.next_deadline() is None
    session.tick(1e9)
    assert session.events(9) == []


def test_silence_while_the_client_was_not_listened_to_does_not_count() -> None:
    session = connected_session()
    session.excuse_silence(80.0)
    assert session.next_deadline() == 170.0


def test_every_state_can_be_reached_and_every_command_used() -> None:
    targets = {target for steps in TRANSITIONS.values() for target in steps.values()} | {State.AWAITING_CONNECT}
    commands = {step for steps in TRANSITIONS.values() for step in steps if isinstance(step, Command)}
    assert targets == set(State) == set(TRANSITIONS)
    assert commands == set(Command)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), min_size=1, max_size=5))
def test_whatever_a_client_sends_its_session_goes_on_or_ends_with_a_reason(damage: list[tuple[int, int]]) -> None:
    stream = bytearray(
        CONNECT + publish(2, 7) + publish(1, 8) + b"\x82\x06\x00\x05\x00\x01#\x02" + PINGREQ + DISCONNECT
    )
    for position, byte in damage:
        stream[position % len(stream)] = byte
    session = new_session()
    events = feed(session, bytes(stream))
    if events and isinstance(events[0], Connect):
        session.accept(1.0)
        events += session.events(99)
    session.receive_eof()
    events += session.events(99)
    assert [event for event in events if isinstance(event, Disconnected)] == events[-1:]
    assert session.close_expected()
