"""MQTT 5 as nobody sane would speak it: each violation ends its own connection, and says with which reason code.

The reasons are those of MQTT 5: 0x81 malformed, 0x82 protocol error, 0x8C bad authentication method, 0x8F topic filter
invalid, 0x90 topic name invalid, 0x93 receive maximum exceeded, 0x94 topic alias invalid, 0x95 packet too large,
0x97 quota exceeded, 0x9E shared subscriptions not supported.
"""

import pytest

from .attacks import (
    CONNACK,
    DISCONNECT,
    PACKET_ID,
    PINGREQ,
    PINGRESP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Platform,
    closed_after,
    connect_5,
    listed,
    packet,
    packets,
    text,
)

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)

NONE = b"\x00"
"""No properties."""
USER_PROPERTY = b"\x26" + text("k") + text("v")
NOT_UTF_8 = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"a\0b")
WILL_TOPIC = text("will/topic")
CONNECT = connect_5()
Row = tuple[str, int, bytes]


def ids(row: object) -> str | None:
    return row if isinstance(row, str) else f"{row:#x}" if isinstance(row, int) else ""


def will(properties: bytes, topic: bytes = WILL_TOPIC, qos: int = 0) -> bytes:
    rest = (topic, text("payload")) if properties else ()
    return connect_5(NONE, properties, *rest, flags=0x06 | qos << 3)


def connect_with(properties: bytes) -> bytes:
    """CONNECT with this for its properties; one without any ends there."""
    return connect_5(properties) if properties else packet(0x10, text("MQTT"), b"\x05\x02\x00\x00")


def publish(properties: bytes, topic: bytes = b"\x00\x03a/b", header: int = 0x30, packet_id: bytes = b"") -> bytes:
    return packet(header, topic, packet_id, properties, b"payload")


def subscribe(topic_filter: bytes = b"a/b", options: int = 0, properties: bytes = NONE) -> bytes:
    return packet(SUBSCRIBE, PACKET_ID, properties, text(topic_filter), bytes([options]))


def unsubscribe(topic_filter: bytes = b"a/b", properties: bytes = NONE) -> bytes:
    return packet(UNSUBSCRIBE, PACKET_ID, properties, text(topic_filter))


NO_LISTS: list[Row] = [
    ("a length that is not there", 0x81, b""),
    ("a length beyond the packet", 0x81, b"\x7f"),
    ("the longest length", 0x81, b"\xff\xff\xff\x7f"),
    ("a length of five bytes", 0x81, b"\x80\x80\x80\x80\x01"),
    ("a length longer than necessary", 0x81, b"\x80\x00"),
    ("an identifier that nobody has", 0x81, listed(b"\x7f\x00")),
    ("the identifier 0", 0x81, listed(b"\x00")),
    ("an identifier longer than necessary", 0x81, listed(b"\xa6\x00" + text("k") + text("v"))),
    ("an identifier of five bytes", 0x81, listed(b"\x80\x80\x80\x80\x01")),
    ("an identifier alone", 0x81, listed(b"\x26")),
    ("a user property without a value", 0x81, listed(b"\x26" + text("k"))),
    ("a user property that ends early", 0x81, listed(b"\x26" + text("k") + b"\x00\x09v")),
    ("too many user properties", 0x97, listed(USER_PROPERTY * 65)),
    *(
        (f"a user property that is no text: {value!r}", 0x81, listed(b"\x26" + text("k") + text(value)))
        for value in NOT_UTF_8
    ),
]
"""What is no list of properties, whatever packet it is in."""

BAD_CONNECTS: list[Row] = [
    *((f"CONNECT with {what}", code, connect_with(data)) for what, code, data in NO_LISTS),
    *((f"a will with {what}", code, will(data)) for what, code, data in NO_LISTS),
    ("a topic alias", 0x81, connect_5(listed(b"\x23\x00\x01"))),
    ("a reason string", 0x81, connect_5(listed(b"\x1f" + text("why")))),
    ("a session expiry interval twice", 0x82, connect_5(listed(b"\x11\x00\x00\x00\x01" * 2))),
    ("a session expiry interval that ends early", 0x81, connect_5(listed(b"\x11\x00\x00"))),
    ("a receive maximum of 0", 0x82, connect_5(listed(b"\x21\x00\x00"))),
    ("a receive maximum twice", 0x82, connect_5(listed(b"\x21\x00\x01" * 2))),
    ("a maximum packet size of 0", 0x82, connect_5(listed(b"\x27\x00\x00\x00\x00"))),
    ("a maximum packet size twice", 0x82, connect_5(listed(b"\x27\x00\x00\x01\x00" * 2))),
    ("a topic alias maximum twice", 0x82, connect_5(listed(b"\x22\x00\x01" * 2))),
    ("request problem information of 2", 0x82, connect_5(listed(b"\x17\x02"))),
    ("request problem information twice", 0x82, connect_5(listed(b"\x17\x01" * 2))),
    ("request response information of 2", 0x82, connect_5(listed(b"\x19\x02"))),
    ("request response information twice", 0x82, connect_5(listed(b"\x19\x01" * 2))),
    ("authentication data without a method", 0x82, connect_5(listed(b"\x16" + text("data")))),
    ("an authentication method twice", 0x82, connect_5(listed((b"\x15" + text("SCRAM-SHA-1")) * 2))),
    ("an authentication method", 0x8C, connect_5(listed(b"\x15" + text("SCRAM-SHA-1")))),
    ("a will with a receive maximum", 0x81, will(listed(b"\x21\x00\x01"))),
    ("a will delay twice", 0x82, will(listed(b"\x18\x00\x00\x00\x01" * 2))),
    ("a will's payload format of 2", 0x82, will(listed(b"\x01\x02"))),
    ("a will's response topic with a wildcard", 0x90, will(listed(b"\x08" + text("a/#")))),
    ("a will to a wildcard", 0x90, will(NONE, text("a/+"))),
    ("a will to no topic", 0x82, will(NONE, text(""))),
    ("a will at QoS 3", 0x81, will(NONE, qos=3)),
    ("a will without its topic", 0x81, connect_5(NONE, NONE, flags=0x06)),
    ("will retain without a will", 0x81, connect_5(flags=0x22)),
    ("will QoS without a will", 0x81, connect_5(flags=0x0A)),
    ("a reserved flag", 0x81, connect_5(flags=0x03)),
    ("flags in the fixed header", 0x81, b"\x11" + connect_5()[1:]),
    ("a user name that is not there", 0x81, connect_5(flags=0x82)),
    ("a password that is not there", 0x81, connect_5(flags=0x42)),
    ("a password that ends early", 0x81, connect_5(NONE, b"\x00\x09short", flags=0x42)),
    ("something left over", 0x81, connect_5(NONE, b"left over")),
    *((f"the client id {value!r}", 0x81, connect_5(client_id=text(value))) for value in NOT_UTF_8),
    *((f"the user name {value!r}", 0x81, connect_5(NONE, text(value), flags=0x82)) for value in NOT_UTF_8),
]


def with_properties(name: str, data: bytes) -> bytes:
    """A packet of a client with this for its properties; one without any ends there."""
    match name:
        case "PUBLISH":
            return publish(data) if data else packet(0x30, text("a/b"))
        case "SUBSCRIBE":
            return packet(SUBSCRIBE, PACKET_ID, data, *([text("a") + b"\x00"] if data else []))
        case "UNSUBSCRIBE":
            return packet(UNSUBSCRIBE, PACKET_ID, data, *([text("a")] if data else []))
    # All of it may be left out of the others, so they announce what does not follow.
    first_byte, fields = OUTCOMES[name]
    return packet(first_byte, fields, data or b"\x01")


OUTCOMES: dict[str, tuple[int, bytes]] = {
    "PUBACK": (0x40, PACKET_ID + b"\x00"),
    "PUBREL": (0x62, PACKET_ID + b"\x00"),
    "DISCONNECT": (DISCONNECT, b"\x00"),
    "AUTH": (0xF0, b"\x18"),
}
"""First byte, and what comes before the properties."""

BAD_LISTS: list[Row] = [
    (f"{name} with {what}", code, with_properties(name, data))
    for name in ("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", *OUTCOMES)
    for what, code, data in NO_LISTS
]

BAD_PUBLISHES: list[Row] = [
    ("a property of CONNECT", 0x81, publish(listed(b"\x21\x00\x01"))),
    ("a subscription identifier", 0x82, publish(listed(b"\x0b\x01"))),
    ("a subscription identifier of 0", 0x82, publish(listed(b"\x0b\x00"))),
    ("the topic alias 0", 0x94, publish(listed(b"\x23\x00\x00"))),
    ("a topic alias above the maximum", 0x94, publish(listed(b"\x23\x00\x11"))),
    ("the greatest topic alias", 0x94, publish(listed(b"\x23\xff\xff"))),
    ("a topic alias that stands for nothing", 0x82, publish(listed(b"\x23\x00\x01"), text(""))),
    ("a topic alias twice", 0x82, publish(listed(b"\x23\x00\x01" * 2))),
    ("a topic alias for a wildcard", 0x90, publish(listed(b"\x23\x00\x01"), text("a/#"))),
    ("no topic and no alias", 0x82, publish(NONE, text(""))),
    ("a payload format of 2", 0x82, publish(listed(b"\x01\x02"))),
    ("a payload format twice", 0x82, publish(listed(b"\x01\x00" * 2))),
    ("a message expiry interval twice", 0x82, publish(listed(b"\x02\x00\x00\x00\x01" * 2))),
    ("a message expiry interval that ends early", 0x81, publish(listed(b"\x02\x00"))),
    ("a content type twice", 0x82, publish(listed((b"\x03" + text("t")) * 2))),
    ("a response topic twice", 0x82, publish(listed((b"\x08" + text("t")) * 2))),
    ("correlation data twice", 0x82, publish(listed((b"\x09" + text("t")) * 2))),
    ("correlation data that ends early", 0x81, publish(listed(b"\x09\xff\xffx"))),
    ("a response topic with #", 0x90, publish(listed(b"\x08" + text("a/#")))),
    ("a response topic with +", 0x90, publish(listed(b"\x08" + text("+/a")))),
    ("an empty response topic", 0x82, publish(listed(b"\x08" + text("")))),
    *((f"the response topic {value!r}", 0x81, publish(listed(b"\x08" + text(value)))) for value in NOT_UTF_8),
    *((f"the content type {value!r}", 0x81, publish(listed(b"\x03" + text(value)))) for value in NOT_UTF_8),
    *((f"the topic {value!r}", 0x81, publish(NONE, text(value))) for value in NOT_UTF_8),
    ("a topic with #", 0x90, publish(NONE, text("kp1/#"))),
    ("a topic with +", 0x90, publish(NONE, text("kp1/+/a"))),
    ("a topic that is too long", 0x90, publish(NONE, text("t" * 16_001))),
    ("QoS 3", 0x81, publish(NONE, header=0x36, packet_id=PACKET_ID)),
    ("DUP at QoS 0", 0x81, publish(NONE, header=0x38)),
    ("the packet id 0 at QoS 1", 0x82, publish(NONE, header=0x32, packet_id=b"\x00\x00")),
    ("the packet id 0 at QoS 2", 0x82, publish(NONE, header=0x34, packet_id=b"\x00\x00")),
    ("no packet id", 0x81, packet(0x32, text("a/b"))),
    ("a packet that is too large", 0x95, b"\x30\x81\x80\x40"),
    ("a packet as large as MQTT has", 0x95, b"\x30\xff\xff\xff\x7f"),
    ("a topic that is longer than the packet", 0x81, packet(0x30, b"\xff\xffa")),
]

BAD_SUBSCRIPTIONS: list[Row] = [
    ("SUBSCRIBE of nothing", 0x82, packet(SUBSCRIBE, PACKET_ID, NONE)),
    ("SUBSCRIBE with flags of 0", 0x81, b"\x80" + subscribe()[1:]),
    ("SUBSCRIBE with the packet id 0", 0x82, packet(SUBSCRIBE, b"\x00\x00", NONE, text("a"), NONE)),
    ("SUBSCRIBE without options", 0x81, packet(SUBSCRIBE, PACKET_ID, NONE, text("a"))),
    ("a subscription identifier of 0", 0x82, subscribe(properties=listed(b"\x0b\x00"))),
    ("a subscription identifier twice", 0x82, subscribe(properties=listed(b"\x0b\x01\x0b\x02"))),
    ("a subscription identifier of five bytes", 0x81, subscribe(properties=listed(b"\x0b\xff\xff\xff\xff\x01"))),
    ("a subscription identifier that is longer than necessary", 0x81, subscribe(properties=listed(b"\x0b\x81\x00"))),
    ("a subscription identifier that ends early", 0x81, subscribe(properties=listed(b"\x0b\x80"))),
    ("SUBSCRIBE with a property of PUBLISH", 0x81, subscribe(properties=listed(b"\x23\x00\x01"))),
    ("a subscription at QoS 3", 0x81, subscribe(options=0x03)),
    ("a retain handling of 3", 0x82, subscribe(options=0x30)),
    ("reserved options", 0x81, subscribe(options=0x40)),
    ("all options", 0x81, subscribe(options=0xFF)),
    ("an empty filter", 0x8F, subscribe(b"")),
    ("a filter that goes on behind #", 0x8F, subscribe(b"a/#/b")),
    ("a level of more than +", 0x8F, subscribe(b"a+/b")),
    ("a level of more than #", 0x8F, subscribe(b"a#")),
    *((f"the filter {value!r}", 0x81, subscribe(value)) for value in NOT_UTF_8),
    ("a shared subscription", 0x9E, subscribe(b"$share/name/a")),
    ("a shared subscription without no local", 0x82, subscribe(b"$share/name/a", 0x04)),
    ("too many filters", 0x97, packet(SUBSCRIBE, PACKET_ID, NONE, *[text("a") + NONE] * 10_000)),
    ("UNSUBSCRIBE of nothing", 0x82, packet(UNSUBSCRIBE, PACKET_ID, NONE)),
    ("UNSUBSCRIBE with flags of 0", 0x81, b"\xa0" + unsubscribe()[1:]),
    ("UNSUBSCRIBE with the packet id 0", 0x82, packet(UNSUBSCRIBE, b"\x00\x00", NONE, text("a"))),
    ("UNSUBSCRIBE of an empty filter", 0x8F, unsubscribe(b"")),
    ("UNSUBSCRIBE of a/#/b", 0x8F, unsubscribe(b"a/#/b")),
    ("UNSUBSCRIBE with a subscription identifier", 0x81, unsubscribe(properties=listed(b"\x0b\x01"))),
    ("UNSUBSCRIBE of too many filters", 0x97, packet(UNSUBSCRIBE, PACKET_ID, NONE, *[text("a")] * 10_000)),
    *((f"UNSUBSCRIBE of {value!r}", 0x81, unsubscribe(value)) for value in NOT_UTF_8),
]

NO_OUTCOMES: list[Row] = [
    ("a reason that does not exist", 0x81, b"\x7f"),
    ("a reason of others", 0x82, b"\x8b"),
    ("a topic alias", 0x81, b"\x00" + listed(b"\x23\x00\x01")),
    ("a reason string twice", 0x82, b"\x00" + listed((b"\x1f" + text("s")) * 2)),
    ("something left over", 0x81, b"\x00\x00left over"),
]
"""What acknowledgements do not end with."""

BAD_OTHERS: list[Row] = [
    ("CONNECT again", 0x82, CONNECT),
    *((f"a packet of type {number}", 0x81, bytes([number << 4, 0])) for number in (0, 2, 9, 11, 13)),
    ("a length of five bytes", 0x81, b"\x30\x80\x80\x80\x80\x01"),
    ("a length longer than necessary", 0x81, b"\xc0\x80\x00"),
    *((f"{first:#x} with flags", 0x81, bytes([first | 1, 2]) + PACKET_ID) for first in (0x40, 0x50, 0x60, 0x70)),
    *((f"{first:#x} without a packet id", 0x81, bytes([first, 1, 0])) for first in (0x40, 0x50, 0x62, 0x70)),
    *((f"{first:#x} with the packet id 0", 0x82, bytes([first, 2, 0, 0])) for first in (0x40, 0x50, 0x62, 0x70)),
    *(
        (f"{first:#x} with {what}", code, packet(first, PACKET_ID, rest))
        for first in (0x40, 0x62)
        for what, code, rest in NO_OUTCOMES
    ),
    ("PUBREC of what was not sent at QoS 2", 0x82, packet(0x50, PACKET_ID)),
    ("PUBCOMP of what was not sent at QoS 2", 0x82, packet(0x70, PACKET_ID)),
    ("PINGREQ with a body", 0x81, b"\xc0\x01\x00"),
    ("PINGREQ with flags", 0x81, b"\xc1\x00"),
    ("DISCONNECT with flags", 0x81, b"\xe1\x00"),
    ("DISCONNECT with a reason that does not exist", 0x81, b"\xe0\x01\x7f"),
    *((f"DISCONNECT with the server's reason {code:#x}", 0x82, bytes([0xE0, 1, code])) for code in (0x8B, 0x8E, 0x9D)),
    ("DISCONNECT that wants its session back", 0x82, packet(DISCONNECT, b"\x00", listed(b"\x11\x00\x00\x00\x01"))),
    ("DISCONNECT with a receive maximum", 0x81, packet(DISCONNECT, b"\x00", listed(b"\x21\x00\x01"))),
    ("DISCONNECT with something left over", 0x81, packet(DISCONNECT, b"\x00\x00left over")),
    ("AUTH with nothing to continue", 0x82, packet(0xF0, b"\x18", listed(b"\x15" + text("SCRAM-SHA-1")))),
    ("AUTH again with nothing to repeat", 0x82, packet(0xF0, b"\x19", listed(b"\x15" + text("SCRAM-SHA-1")))),
    ("AUTH of success", 0x82, packet(0xF0, b"\x00", listed(b"\x15" + text("SCRAM-SHA-1")))),
    ("an empty AUTH", 0x82, packet(0xF0)),
    ("AUTH with flags", 0x81, packet(0xF1, b"\x18", NONE)),
    ("AUTH with a reason that does not exist", 0x81, packet(0xF0, b"\x7f", NONE)),
]


@pytest.mark.parametrize(("what", "reason_code", "connect"), BAD_CONNECTS, ids=ids)
async def test_a_connect_with_a_violation_is_refused_with_its_reason(
    platform: Platform, what: str, reason_code: int, connect: bytes
) -> None:
    said = await closed_after(platform.stack.mqtt_port, connect + PINGREQ)
    ((first, body),) = packets(said)
    assert (first, body[0], f"{body[1]:#x}") == (CONNACK, 0, f"{reason_code:#x}")


@pytest.mark.parametrize(
    ("what", "reason_code", "data"), BAD_LISTS + BAD_PUBLISHES + BAD_SUBSCRIPTIONS + BAD_OTHERS, ids=ids
)
async def test_a_violation_ends_its_connection_with_its_reason(
    platform: Platform, what: str, reason_code: int, data: bytes
) -> None:
    said = await closed_after(platform.stack.mqtt_port, CONNECT + data + PINGREQ)
    (connack, _), (first, body) = packets(said)
    assert (connack, first, f"{body[0]:#x}") == (CONNACK, DISCONNECT, f"{reason_code:#x}")


WHOLE = {
    "CONNECT": connect_5(listed(b"\x11\x00\x00\x00\x01", USER_PROPERTY), text("user"), flags=0x82),
    "PUBLISH": publish(listed(b"\x01\x01", b"\x08" + text("r"), b"\x09" + text("c")), header=0x32, packet_id=PACKET_ID),
    "SUBSCRIBE": subscribe(properties=listed(b"\x0b\x01", USER_PROPERTY)),
    "UNSUBSCRIBE": unsubscribe(properties=listed(USER_PROPERTY)),
    "PUBREL": packet(0x62, PACKET_ID, b"\x00", listed(b"\x1f" + text("reason"))),
    "DISCONNECT": packet(DISCONNECT, b"\x00", listed(b"\x1f" + text("reason"))),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_packet_cut_off_anywhere_is_closed_or_a_shorter_packet(platform: Platform, name: str) -> None:
    """Its length says where it was cut. A PUBLISH may end in its payload, an acknowledgement before its reason."""
    first, whole = next(packets(WHOLE[name]))
    connect = b"" if name == "CONNECT" else CONNECT
    for length in range(len(whole)):
        said = await closed_after(platform.stack.mqtt_port, connect + packet(first, whole[:length]), b"\x00\x00")
        *_, (last, body) = [(0, b"\x00\x81"), *packets(said)]
        if connect:
            is_goodbye = name == "DISCONNECT" and last == CONNACK
            assert is_goodbye or (last, body[0]) in {(DISCONNECT, 0x81), (DISCONNECT, 0x82)}, length
        else:
            assert (last, body[1]) in {(CONNACK, 0x81), (0, 0x81)}, length


async def test_more_unfinished_messages_than_the_receive_maximum_end_the_connection(platform: Platform) -> None:
    messages = b"".join(publish(NONE, header=0x34, packet_id=number.to_bytes(2, "big")) for number in range(1, 8194))
    *_, (last, body) = packets(await closed_after(platform.stack.mqtt_port, CONNECT + messages + PINGREQ))
    assert (last, body[0]) == (DISCONNECT, 0x93)


async def test_topic_aliases_may_be_set_and_used_again_and_again_until_one_is_abused(platform: Platform) -> None:
    set_all = b"".join(publish(listed(b"\x23\x00" + bytes([alias])), text("t" * 1000)) for alias in range(1, 17))
    use_all = b"".join(publish(listed(b"\x23\x00" + bytes([alias])), text("")) for alias in range(1, 17))
    one_more = publish(listed(b"\x23\x00\x11"), text(""))
    said = await closed_after(platform.stack.mqtt_port, CONNECT + (set_all + use_all) * 20 + PINGREQ + one_more)
    assert [(first, body[:1]) for first, body in packets(said)][1:] == [(PINGRESP, b""), (DISCONNECT, b"\x94")]
