"""MQTT 5 on byte literals, and one session of it: what is told, what is kept to, what ends it and with which reason."""

import pytest

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec
from kpc.mqtt.errors import LocalProtocolError, PacketTooLargeError
from kpc.mqtt.events import Disconnected, DisconnectReason, Event
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Publish,
    ServerPacket,
    Suback,
    Unsuback,
    Will,
)
from kpc.mqtt.properties import NO_PROPERTIES, Properties
from kpc.mqtt.reasons import PublishResult, ReasonCode
from kpc.mqtt.session import ServerSession
from kpc.mqtt.versions import MQTT_5
from support import mqtt_codec

LIMITS = SessionLimits()
CONNECT = Connect(version=MQTT_5, client_id="c", keep_alive=60)
TOLD = Properties(
    receive_maximum=8192, maximum_packet_size=1024 * 1024, topic_alias_maximum=16, shared_subscription_available=0
)
HELLO = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c"
ACCEPTED = b"\x20\x10\x00\x00\x0d\x21\x20\x00\x22\x00\x10\x27\x00\x10\x00\x00\x2a\x00"
PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"


def new_session(limits: SessionLimits = LIMITS) -> ServerSession:
    return ServerSession(limits, now=0.0)


def sent(session: ServerSession) -> list[ServerPacket]:
    return mqtt_codec.decode_all(session.data_to_send(), MQTT_5)


def feed(session: ServerSession, data: bytes, *, limit: int = 99_999) -> list[Event]:
    session.receive_data(data, 1.0)
    return session.events(limit)


def connected_session(connect: Connect = CONNECT, limits: SessionLimits = LIMITS) -> ServerSession:
    session = new_session(limits)
    assert feed(session, mqtt_codec.encode(connect, MQTT_5)) == [connect]
    session.accept(1.0, "assigned")
    assert isinstance(mqtt_codec.decode(session.data_to_send(), MQTT_5)[0], Connack)
    return session


def connack_of(connect: Connect, limits: SessionLimits = LIMITS) -> Properties:
    session = new_session(limits)
    feed(session, mqtt_codec.encode(connect, MQTT_5))
    session.accept(1.0, "assigned")
    (connack,) = sent(session)
    assert isinstance(connack, Connack)
    assert connack.reason_code is ReasonCode.SUCCESS
    return connack.properties


def publish(qos: int, packet_id: int, properties: bytes = b"", topic: bytes = b"a") -> bytes:
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    body = len(topic).to_bytes(2, "big") + topic + identifier + bytes((len(properties),)) + properties + b"x"
    return bytes((0x30 | qos << 1, len(body))) + body


def subscribe(options: int, properties: bytes = b"", topic_filter: bytes = b"a") -> bytes:
    body = b"\x00\x05" + bytes((len(properties),)) + properties
    body += len(topic_filter).to_bytes(2, "big") + topic_filter + bytes((options,))
    return bytes((0x82, len(body))) + body


def ended(session: ServerSession) -> ReasonCode:
    """The reason with which the session, which is over, tells the client."""
    assert session.close_expected()
    last = sent(session)[-1]
    assert isinstance(last, (Disconnect, Connack))
    return last.reason_code


# CONNECT and CONNACK


def test_a_client_is_told_the_limits() -> None:
    session = new_session()
    assert feed(session, HELLO) == [CONNECT]
    assert session.version is MQTT_5
    session.accept(1.0, "assigned")
    assert session.data_to_send() == ACCEPTED
    assert connack_of(CONNECT) == TOLD


def test_everything_a_client_may_say_about_itself_is_read() -> None:
    connect = Connect(
        version=MQTT_5,
        client_id="",
        clean_session=False,
        password=b"without a user name",
        will=Will(topic="w", payload=b"x", properties=Properties(will_delay_interval=7, content_type="text")),
        properties=Properties(request_response_information=1, user_properties=(("a", "b"), ("a", "c"))),
    )
    assert connack_of(connect).assigned_client_identifier == "assigned"


@pytest.mark.parametrize(("wanted", "told"), [(60, None), (3600, None), (0, 3600), (3601, 3600), (65_535, 3600)])
def test_a_keep_alive_out_of_the_limits_is_replaced(wanted: int, told: int | None) -> None:
    assert connack_of(Connect(version=MQTT_5, client_id="c", keep_alive=wanted)).server_keep_alive == told


def test_the_keep_alive_that_was_told_is_the_one_that_counts() -> None:
    session = connected_session(Connect(version=MQTT_5, client_id="c"), SessionLimits(max_keep_alive=10))
    assert session.next_deadline() == 1.0 + 15.0
    session.tick(16.0)
    assert ended(session) is ReasonCode.KEEP_ALIVE_TIMEOUT


@pytest.mark.parametrize(("wanted", "told"), [(None, None), (0, None), (1, 0), (2**32 - 1, 0)])
def test_no_session_is_kept_and_a_client_that_wants_one_is_told(wanted: int | None, told: int | None) -> None:
    connect = Connect(version=MQTT_5, client_id="c", properties=Properties(session_expiry_interval=wanted))
    assert connack_of(connect).session_expiry_interval == told


def test_an_authentication_method_is_refused() -> None:
    session = new_session()
    method = Properties(authentication_method="SCRAM-SHA-1", authentication_data=b"x")
    feed(session, mqtt_codec.encode(Connect(version=MQTT_5, client_id="c", properties=method), MQTT_5))
    assert ended(session) is ReasonCode.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (ReasonCode.NOT_AUTHORIZED, ReasonCode.NOT_AUTHORIZED),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        (ReasonCode.SERVER_SHUTTING_DOWN, ReasonCode.SERVER_UNAVAILABLE),
    ],
)
def test_a_refused_client_is_told_why(asked: ReasonCode, told: ReasonCode) -> None:
    session = new_session()
    feed(session, HELLO)
    session.refuse(asked)
    assert ended(session) is told


def test_a_client_that_is_not_decided_upon_in_time_is_told_so() -> None:
    session = new_session()
    feed(session, HELLO)
    session.tick(99.0)
    assert ended(session) is ReasonCode.SERVER_UNAVAILABLE


BAD_CONNECTS: dict[str, tuple[bytes, ReasonCode]] = {
    "reserved flag": (b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x01c", ReasonCode.MALFORMED_PACKET),
    "flag in the header": (b"\x11\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c", ReasonCode.MALFORMED_PACKET),
    "will QoS 3": (
        b"\x10\x14\x00\x04MQTT\x05\x1e\x00\x3c\x00\x00\x01c\x00\x00\x01w\x00\x00",
        ReasonCode.MALFORMED_PACKET,
    ),
    "left over": (b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01cx", ReasonCode.MALFORMED_PACKET),
    "receive maximum 0": (b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x01c", ReasonCode.PROTOCOL_ERROR),
    "packet size 0": (
        b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x05\x27\x00\x00\x00\x00\x00\x01c",
        ReasonCode.PROTOCOL_ERROR,
    ),
    "property twice": (
        b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x09\x21\x00\x09\x00\x01c",
        ReasonCode.PROTOCOL_ERROR,
    ),
    "flag property of 2": (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x02\x17\x02\x00\x01c", ReasonCode.PROTOCOL_ERROR),
    "property of PUBLISH": (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x02\x01\x01\x00\x01c", ReasonCode.MALFORMED_PACKET),
    "unknown property": (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x02\x7f\x01\x00\x01c", ReasonCode.MALFORMED_PACKET),
    "properties too long": (b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x7f\x00\x01c", ReasonCode.MALFORMED_PACKET),
    "length in too many bytes": (
        b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x80\x00\x00\x01c",
        ReasonCode.MALFORMED_PACKET,
    ),
    "authentication data alone": (
        b"\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x04\x16\x00\x01x\x00\x01c",
        ReasonCode.PROTOCOL_ERROR,
    ),
    "client id is not UTF-8": (b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01\xff", ReasonCode.MALFORMED_PACKET),
    "wildcard in the will topic": (
        b"\x10\x14\x00\x04MQTT\x05\x06\x00\x3c\x00\x00\x01c\x00\x00\x01#\x00\x00",
        ReasonCode.TOPIC_NAME_INVALID,
    ),
}


@pytest.mark.parametrize(("data", "reason_code"), BAD_CONNECTS.values(), ids=BAD_CONNECTS.keys())
def test_a_bad_connect_is_refused_with_its_reason(data: bytes, reason_code: ReasonCode) -> None:
    session = new_session()
    (end,) = feed(session, data)
    assert isinstance(end, Disconnected)
    assert end.reason is DisconnectReason.PROTOCOL_ERROR
    assert ended(session) is reason_code


# Violations


VIOLATIONS: dict[str, tuple[bytes, ReasonCode]] = {
    "second CONNECT": (HELLO, ReasonCode.PROTOCOL_ERROR),
    "AUTH": (b"\xf0\x02\x18\x00", ReasonCode.PROTOCOL_ERROR),
    "AUTH that succeeds": (b"\xf0\x00", ReasonCode.PROTOCOL_ERROR),
    "AUTH with a flag": (b"\xf1\x02\x18\x00", ReasonCode.MALFORMED_PACKET),
    "packet of a server": (b"\x20\x03\x00\x00\x00", ReasonCode.MALFORMED_PACKET),
    "type 0": (b"\x00\x00", ReasonCode.MALFORMED_PACKET),
    "QoS 3": (b"\x36\x06\x00\x01a\x00\x01\x00", ReasonCode.MALFORMED_PACKET),
    "DUP at QoS 0": (b"\x38\x04\x00\x01a\x00", ReasonCode.MALFORMED_PACKET),
    "packet id 0": (publish(1, 0), ReasonCode.PROTOCOL_ERROR),
    "packet id in use": (publish(1, 1) + publish(1, 1), ReasonCode.PROTOCOL_ERROR),
    "packet of 5 length bytes": (b"\x30\xff\xff\xff\xff\x01", ReasonCode.MALFORMED_PACKET),
    "packet too large": (b"\x30\xff\xff\xff\x7f", ReasonCode.PACKET_TOO_LARGE),
    "no topic, no alias": (publish(0, 0, topic=b""), ReasonCode.PROTOCOL_ERROR),
    "wildcard in a topic": (publish(0, 0, topic=b"#"), ReasonCode.TOPIC_NAME_INVALID),
    "topic too long": (b"\x30\x84\x7d\x3e\x81" + b"/" * 16_001 + b"\x00", ReasonCode.TOPIC_NAME_INVALID),
    "alias 0": (publish(0, 0, b"\x23\x00\x00"), ReasonCode.TOPIC_ALIAS_INVALID),
    "alias above the maximum": (publish(0, 0, b"\x23\x00\x11"), ReasonCode.TOPIC_ALIAS_INVALID),
    "alias of nothing": (publish(0, 0, b"\x23\x00\x01", topic=b""), ReasonCode.PROTOCOL_ERROR),
    "alias twice": (publish(0, 0, b"\x23\x00\x01\x23\x00\x01"), ReasonCode.PROTOCOL_ERROR),
    "subscription identifier in PUBLISH": (publish(0, 0, b"\x0b\x01"), ReasonCode.PROTOCOL_ERROR),
    "wildcard in a response topic": (publish(0, 0, b"\x08\x00\x01#"), ReasonCode.TOPIC_NAME_INVALID),
    "format indicator 2": (publish(0, 0, b"\x01\x02"), ReasonCode.PROTOCOL_ERROR),
    "65 user properties": (
        b"\x30\xca\x02\x00\x01a\xc5\x02" + b"\x26\x00\x00\x00\x00" * 65,
        ReasonCode.QUOTA_EXCEEDED,
    ),
    "unknown reason in PUBACK": (b"\x40\x03\x00\x01\x05", ReasonCode.MALFORMED_PACKET),
    "reason of CONNACK in PUBACK": (b"\x40\x03\x00\x01\x88", ReasonCode.PROTOCOL_ERROR),
    "PUBACK with a flag": (b"\x41\x02\x00\x01", ReasonCode.MALFORMED_PACKET),
    "PUBREL without its flag": (b"\x60\x02\x00\x01", ReasonCode.MALFORMED_PACKET),
    "PUBREL before PUBREC": (publish(2, 1) + b"\x62\x02\x00\x01", ReasonCode.PROTOCOL_ERROR),
    "PUBREC of nothing": (b"\x50\x02\x00\x01", ReasonCode.PROTOCOL_ERROR),
    "PUBCOMP of nothing": (b"\x70\x02\x00\x01", ReasonCode.PROTOCOL_ERROR),
    "SUBSCRIBE of nothing": (b"\x82\x03\x00\x05\x00", ReasonCode.PROTOCOL_ERROR),
    "SUBSCRIBE with id 0": (b"\x82\x07\x00\x00\x00\x00\x01a\x00", ReasonCode.PROTOCOL_ERROR),
    "SUBSCRIBE at QoS 3": (subscribe(0x03), ReasonCode.MALFORMED_PACKET),
    "SUBSCRIBE with reserved options": (subscribe(0x40), ReasonCode.MALFORMED_PACKET),
    "retain handling 3": (subscribe(0x30), ReasonCode.PROTOCOL_ERROR),
    "two subscription identifiers": (subscribe(0, b"\x0b\x01\x0b\x02"), ReasonCode.PROTOCOL_ERROR),
    "subscription identifier 0": (subscribe(0, b"\x0b\x00"), ReasonCode.PROTOCOL_ERROR),
    "bad filter": (subscribe(0, topic_filter=b"a#"), ReasonCode.TOPIC_FILTER_INVALID),
    "shared subscription": (subscribe(0, topic_filter=b"$share/g/a"), ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
    "no local on a shared subscription": (subscribe(4, topic_filter=b"$share/g/a"), ReasonCode.PROTOCOL_ERROR),
    "UNSUBSCRIBE of nothing": (b"\xa2\x03\x00\x05\x00", ReasonCode.PROTOCOL_ERROR),
    "PINGREQ with a body": (b"\xc0\x01\x00", ReasonCode.MALFORMED_PACKET),
    "DISCONNECT that keeps a session": (b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01", ReasonCode.PROTOCOL_ERROR),
    "DISCONNECT with a server's reason": (b"\xe0\x01\x8b", ReasonCode.PROTOCOL_ERROR),
    "DISCONNECT with a server reference": (b"\xe0\x06\x00\x04\x1c\x00\x01s", ReasonCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("data", "reason_code"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_ends_the_session_with_its_reason(data: bytes, reason_code: ReasonCode) -> None:
    session = connected_session()
    *_, end = feed(session, data + PINGREQ)
    assert isinstance(end, Disconnected)
    assert end.reason is DisconnectReason.PROTOCOL_ERROR
    packets = sent(session)
    assert packets == packets[-1:], "nothing else is said any more"
    assert isinstance(packets[0], Disconnect)
    assert packets[0].reason_code is reason_code
    assert packets[0].properties.reason_string == end.detail


def test_more_unfinished_messages_than_announced_end_the_session() -> None:
    session = connected_session(limits=SessionLimits(max_inflight=2))
    feed(session, publish(2, 1) + publish(1, 2))
    session.acknowledge(1)
    assert not session.close_expected()
    session.data_to_send()
    feed(session, publish(1, 3))
    assert ended(session) is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_the_server_ends_a_session_with_its_reason() -> None:
    session = connected_session()
    session.close("another connection", ReasonCode.SESSION_TAKEN_OVER)
    assert session.data_to_send() == b"\xe0\x17\x8e\x15\x1f\x00\x12another connection"


def test_a_reason_that_is_none_of_disconnect_becomes_a_general_one() -> None:
    session = connected_session()
    session.close("", ReasonCode.BAD_USER_NAME_OR_PASSWORD)
    assert session.data_to_send() == b"\xe0\x01\x80"


def test_a_message_that_stays_withheld_ends_the_session_as_busy() -> None:
    session = connected_session()
    feed(session, publish(1, 1))
    session.withhold(1, 1.0)
    session.tick(1.0 + LIMITS.withheld_for)
    assert ended(session) is ReasonCode.SERVER_BUSY


@pytest.mark.parametrize(
    ("goodbye", "detail"),
    [(b"\xe0\x00", ""), (b"\xe0\x01\x04", "DISCONNECT_WITH_WILL"), (b"\xe0\x02\x82\x00", "PROTOCOL_ERROR")],
)
def test_a_client_says_goodbye_with_its_reason(goodbye: bytes, detail: str) -> None:
    session = connected_session()
    assert feed(session, goodbye) == [Disconnected(reason=DisconnectReason.CLEAN, detail=detail)]
    assert session.data_to_send() == b""


# Messages to the server


def test_a_message_has_its_properties() -> None:
    session = connected_session()
    properties = b"\x01\x01\x02\x00\x00\x00\x09\x03\x00\x01t\x08\x00\x01r\x09\x00\x02\xff\x00\x26\x00\x01k\x00\x01v"
    (message,) = feed(session, publish(1, 1, properties))
    assert message == Publish(
        topic="a",
        payload=b"x",
        qos=1,
        packet_id=1,
        properties=Properties(
            payload_format_indicator=1,
            message_expiry_interval=9,
            content_type="t",
            response_topic="r",
            correlation_data=b"\xff\x00",
            user_properties=(("k", "v"),),
        ),
    )


def test_a_topic_alias_stands_for_the_topic_until_it_is_given_another() -> None:
    session = connected_session()
    alias = b"\x23\x00\x10"
    stream = publish(0, 0, alias) + publish(0, 0, alias, b"") + publish(0, 0, alias, b"b") + publish(0, 0, alias, b"")
    messages = [event for event in feed(session, stream) if isinstance(event, Publish)]
    assert [message.topic for message in messages] == ["a", "a", "b", "b"]
    assert all(message.properties.topic_alias is None for message in messages)


@pytest.mark.parametrize("qos", [1, 2])
def test_an_acknowledgement_says_what_became_of_the_message(qos: int) -> None:
    kind = Puback if qos == 1 else Pubrec
    session = connected_session()
    feed(session, publish(qos, 1) + publish(qos, 2) + publish(qos, 3))
    session.acknowledge(1)
    session.acknowledge(2, PublishResult(reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS))
    session.acknowledge(3, PublishResult(reason_code=ReasonCode.QUOTA_EXCEEDED, reason_string="too\0much"))
    assert (
        session.data_to_send()
        == bytes((kind.packet_type << 4, 2, 0, 1))
        + bytes((kind.packet_type << 4, 3, 0, 2, 0x10))
        + bytes((kind.packet_type << 4, 15, 0, 3, 0x97, 11, 0x1F, 0, 8))
        + b"too much"
    )


def test_a_qos_2_message_that_was_refused_is_forgotten() -> None:
    session = connected_session()
    feed(session, publish(2, 1))
    session.acknowledge(1, PublishResult(reason_code=ReasonCode.NOT_AUTHORIZED))
    assert sent(session) == [Pubrec(packet_id=1, reason_code=ReasonCode.NOT_AUTHORIZED)]
    assert len(feed(session, publish(2, 1))) == 1, "its identifier is free"


def test_a_release_of_nothing_is_told_so() -> None:
    session = connected_session()
    feed(session, b"\x62\x02\x00\x09")
    assert sent(session) == [Pubcomp(packet_id=9, reason_code=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)]


@pytest.mark.parametrize(
    "properties",
    [Properties(request_problem_information=0), Properties(maximum_packet_size=30)],
    ids=["not asked for", "no room"],
)
def test_an_acknowledgement_is_not_explained_to_a_client_that_does_not_want_it(properties: Properties) -> None:
    session = connected_session_that_takes_little(properties)
    feed(session, publish(1, 1))
    session.acknowledge(1, PublishResult(reason_code=ReasonCode.QUOTA_EXCEEDED, reason_string="x" * 50))
    assert session.data_to_send() == b"\x40\x03\x00\x01\x97"


def connected_session_that_takes_little(properties: Properties) -> ServerSession:
    return connected_session(Connect(version=MQTT_5, client_id="c", keep_alive=60, properties=properties))


# Messages to the client


def test_a_message_to_the_client_has_its_properties() -> None:
    session = connected_session()
    session.publish("a", b"x", properties=Properties(correlation_data=b"c", user_properties=(("statusCode", "200"),)))
    assert session.data_to_send() == b"\x30\x1b\x00\x01a\x16\x09\x00\x01c\x26\x00\nstatusCode\x00\x03200x"


def test_the_clients_receive_maximum_is_kept() -> None:
    session = connected_session_that_takes_little(Properties(receive_maximum=2))
    for _ in range(4):
        session.publish("a", b"", qos=1)
    assert [packet.packet_id for packet in sent(session) if isinstance(packet, Publish)] == [1, 2]
    feed(session, b"\x40\x03\x00\x02\x97")
    assert [packet.packet_id for packet in sent(session) if isinstance(packet, Publish)] == [3]


def test_a_client_for_which_too_much_waits_is_told_so() -> None:
    session = connected_session(limits=SessionLimits(max_inflight=1, max_queued=1))
    for _ in range(3):
        session.publish("a", b"", qos=1)
    assert ended(session) is ReasonCode.QUOTA_EXCEEDED


def test_the_clients_maximum_packet_size_is_kept() -> None:
    session = connected_session_that_takes_little(Properties(maximum_packet_size=30))
    session.publish("a", b"x" * 24, qos=0)
    assert len(session.data_to_send()) == 30
    with pytest.raises(PacketTooLargeError):
        session.publish("a", b"x" * 25, qos=0)
    assert session.data_to_send() == b""


def test_a_client_that_takes_less_than_connack_is_closed_without_it() -> None:
    session = new_session()
    small = Connect(version=MQTT_5, client_id="c", properties=Properties(maximum_packet_size=10))
    feed(session, mqtt_codec.encode(small, MQTT_5))
    session.accept(1.0, "assigned")
    assert session.data_to_send() == b""
    assert session.close_expected()


def test_a_reason_that_has_no_room_in_disconnect_is_left_out() -> None:
    session = connected_session_that_takes_little(Properties(maximum_packet_size=20))
    session.close("x" * 50, ReasonCode.SERVER_SHUTTING_DOWN)
    assert session.data_to_send() == b"\xe0\x01\x8b"


def test_properties_that_are_none_of_publish_are_our_mistake() -> None:
    session = connected_session()
    with pytest.raises(LocalProtocolError):
        session.publish("a", b"", properties=Properties(server_keep_alive=1))
    assert session.data_to_send() == b""


# Subscriptions


def test_subscriptions_are_granted_up_to_qos_1_with_all_their_options() -> None:
    session = connected_session()
    feed(session, subscribe(0x2E) + subscribe(0x00, b"\x0b\x07"))
    assert sent(session) == [
        Suback(packet_id=5, reason_codes=(ReasonCode.GRANTED_QOS_1,)),
        Suback(packet_id=5, reason_codes=(ReasonCode.SUCCESS,)),
    ]


def test_more_subscriptions_than_allowed_are_refused_one_by_one() -> None:
    session = connected_session(limits=SessionLimits(max_subscriptions=1))
    feed(session, b"\x82\x0b\x00\x05\x00\x00\x01a\x00\x00\x01b\x00" + subscribe(1))
    assert sent(session) == [
        Suback(packet_id=5, reason_codes=(ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED)),
        Suback(packet_id=5, reason_codes=(ReasonCode.GRANTED_QOS_1,)),
    ]


def test_more_subscription_identifiers_than_allowed_are_refused() -> None:
    session = connected_session(limits=SessionLimits(max_subscription_identifiers=1))
    feed(session, subscribe(0, b"\x0b\x01") + subscribe(0, b"\x0b\x01", b"b"))
    assert [packet.reason_codes for packet in sent(session) if isinstance(packet, Suback)] == [
        (ReasonCode.SUCCESS,),
        (ReasonCode.QUOTA_EXCEEDED,),
    ]


@pytest.mark.parametrize("topic_filter", [b"x" * 17, b"a/b/c/d"])
def test_a_filter_out_of_the_limits_is_refused(topic_filter: bytes) -> None:
    session = connected_session(limits=SessionLimits(max_filter_length=16, max_filter_levels=3))
    feed(session, subscribe(0, topic_filter=topic_filter))
    assert sent(session) == [Suback(packet_id=5, reason_codes=(ReasonCode.TOPIC_FILTER_INVALID,))]
    assert not session.close_expected()


def test_ending_a_subscription_is_told_from_ending_none() -> None:
    session = connected_session()
    feed(session, subscribe(0) + b"\xa2\x09\x00\x06\x00\x00\x01a\x00\x01b")
    assert sent(session)[1] == Unsuback(
        packet_id=6, reason_codes=(ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED)
    )


def test_messages_carry_the_identifiers_of_all_subscriptions_they_match() -> None:
    session = connected_session()
    feed(session, subscribe(0, b"\x0b\x07", b"a/+") + subscribe(0, b"\x0b\x09", b"#") + subscribe(0, b"\x0b\x02", b"b"))
    session.data_to_send()
    session.publish("a/b", b"")
    session.publish("c", b"")
    feed(session, b"\xa2\x06\x00\x06\x00\x00\x01#")
    session.publish("c", b"")
    first, second, _, third = sent(session)
    assert isinstance(first, Publish)
    assert isinstance(second, Publish)
    assert isinstance(third, Publish)
    assert first.properties.subscription_identifiers == (7, 9)
    assert second.properties.subscription_identifiers == (9,)
    assert third.properties is NO_PROPERTIES
