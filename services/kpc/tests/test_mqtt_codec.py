"""Packets <-> bytes, with tables of literals that are read in both directions where a packet travels in both."""

import pytest

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.decoder import decode
from kpc.mqtt.encoder import encode
from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import (
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import MQTT_3_1, MQTT_3_1_1, Version
from kpc.mqtt.wire import Fields

LIMITS = SessionLimits()

BOTH_WAYS: list[tuple[bytes, Publish | Puback | Pubrec | Pubcomp]] = [
    (b"\x30\x05\x00\x03a/b", Publish(topic="a/b", payload=b"")),
    (b"\x30\x07\x00\x03a/b{}", Publish(topic="a/b", payload=b"{}")),
    (b"\x31\x07\x00\x03a/b{}", Publish(topic="a/b", payload=b"{}", retain=True)),
    (b"\x32\x09\x00\x03a/b\x01\x02{}", Publish(topic="a/b", payload=b"{}", qos=1, packet_id=258)),
    (
        b"\x3d\x09\x00\x03a/b\xff\xff{}",
        Publish(topic="a/b", payload=b"{}", qos=2, packet_id=65535, dup=True, retain=True),
    ),
    (b"\x30\x06\x00\x03\xef\xbb\xbf\0", Publish(topic="\ufeff", payload=b"\0")),  # [MQTT-1.5.3-3]
    (b"\x30\x80\x01\x00\x01a" + b"x" * 125, Publish(topic="a", payload=b"x" * 125)),
    (b"\x30\x7f\x00\x01a" + b"x" * 124, Publish(topic="a", payload=b"x" * 124)),
    (b"\x30\x80\x80\x01\x00\x01a" + b"x" * 16381, Publish(topic="a", payload=b"x" * 16381)),
    (b"\x40\x02\x00\x01", Puback(packet_id=1)),
    (b"\x50\x02\x00\x01", Pubrec(packet_id=1)),
    (b"\x70\x02\xab\xcd", Pubcomp(packet_id=0xABCD)),
]

FROM_CLIENT: list[tuple[bytes, ClientPacket]] = [
    *BOTH_WAYS,
    (b"\x62\x02\x00\x07", Pubrel(packet_id=7)),
    (b"\x82\x06\x00\x05\x00\x01#\x02", Subscribe(packet_id=5, subscriptions=(Subscription(topic_filter="#", qos=2),))),
    (
        b"\x82\x0c\x00\x05\x00\x03a/+\x00\x00\x01/\x01",
        Subscribe(
            packet_id=5,
            subscriptions=(Subscription(topic_filter="a/+", qos=0), Subscription(topic_filter="/", qos=1)),
        ),
    ),
    (b"\xa2\x08\x00\x06\x00\x01a\x00\x01b", Unsubscribe(packet_id=6, topic_filters=("a", "b"))),
    (b"\xc0\x00", Pingreq()),
    (b"\xe0\x00", Disconnect()),
    (
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c",
        Connect(version=MQTT_3_1_1, client_id="c", keep_alive=60),
    ),
    (
        b"\x10\x0e\x00\x06MQIsdp\x03\x00\x00\x00\x00\x00",
        Connect(version=MQTT_3_1, client_id="", clean_session=False),
    ),
    (
        b"\x10\x1d\x00\x04MQTT\x04\xee\xff\xff\x00\x01c\x00\x01w\x00\x02\0x\x00\x02me\x00\x03\xff\0p",
        Connect(
            version=MQTT_3_1_1,
            client_id="c",
            keep_alive=65535,
            username="me",
            password=b"\xff\0p",
            will=Will(topic="w", payload=b"\0x", qos=1, retain=True),
        ),
    ),
]

FROM_SERVER: list[tuple[bytes, ServerPacket]] = [
    *BOTH_WAYS,
    (b"\x20\x02\x00\x00", Connack(reason_code=ReasonCode.SUCCESS)),
    (b"\x20\x02\x00\x05", Connack(reason_code=ReasonCode.NOT_AUTHORIZED)),
    (b"\x90\x05\x00\x05\x00\x01\x01", Suback(packet_id=5, reason_codes=(ReasonCode(0), ReasonCode(1), ReasonCode(1)))),
    (b"\xb0\x02\x00\x06", Unsuback(packet_id=6, reason_codes=(ReasonCode.SUCCESS,))),
    (b"\xd0\x00", Pingresp()),
]


def body(packet: bytes) -> bytes:
    """What stands behind the fixed header."""
    start = next(position for position, byte in enumerate(packet) if position > 0 and byte < 0x80) + 1
    return packet[start:]


def read(packet: bytes, version: Version | None = MQTT_3_1_1) -> ClientPacket:
    return read_body(packet, body(packet), version)


def read_body(packet: bytes, content: bytes, version: Version | None = MQTT_3_1_1) -> ClientPacket:
    return decode(packet[0] >> 4, packet[0] & 0x0F, Fields(content, LIMITS, version))


@pytest.mark.parametrize(("data", "packet"), FROM_CLIENT, ids=lambda value: type(value).__name__)
def test_bytes_become_the_packet(data: bytes, packet: ClientPacket) -> None:
    assert read(data) == packet


@pytest.mark.parametrize(("data", "packet"), FROM_SERVER, ids=lambda value: type(value).__name__)
def test_the_packet_becomes_bytes(data: bytes, packet: ServerPacket) -> None:
    assert encode(packet, MQTT_3_1_1) == data


@pytest.mark.parametrize(("data", "packet"), FROM_CLIENT, ids=lambda value: type(value).__name__)
def test_a_body_cut_short_is_the_packet_of_a_shorter_payload_or_invalid(data: bytes, packet: ClientPacket) -> None:
    for size in range(len(body(data))):
        try:
            shorter = read_body(data, body(data)[:size])
        except InvalidPacketError:
            continue
        assert type(shorter) is type(packet)
        assert shorter != packet


@pytest.mark.parametrize(
    ("data", "packet"),
    [pair for pair in FROM_CLIENT if not isinstance(pair[1], Publish)],
    ids=lambda value: type(value).__name__,
)
def test_bytes_behind_the_end_are_invalid(data: bytes, packet: ClientPacket) -> None:
    with pytest.raises(InvalidPacketError):
        read_body(data, body(data) + b"\0")


INVALID = {
    "QoS 3": b"\x36\x05\x00\x01a\x00\x01",
    "packet id 0": b"\x32\x05\x00\x01a\x00\x00",
    "topic is not UTF-8": b"\x30\x03\x00\x01\xff",
    "topic has an encoded surrogate": b"\x30\x05\x00\x03\xed\xa0\x80",
    "topic has an overlong encoding": b"\x30\x04\x00\x02\xc0\x80",
    "topic has a null": b"\x30\x03\x00\x01\x00",
    "topic has a wildcard": b"\x30\x03\x00\x01#",
    "topic is empty": b"\x30\x02\x00\x00",
    "DUP on QoS 0": b"\x38\x03\x00\x01a",
    "PUBREL without its flag": b"\x60\x02\x00\x01",
    "SUBSCRIBE without its flag": b"\x80\x06\x00\x05\x00\x01#\x02",
    "UNSUBSCRIBE without its flag": b"\xa0\x05\x00\x05\x00\x01#",
    "PUBACK with a flag": b"\x41\x02\x00\x01",
    "PINGREQ with a flag": b"\xc1\x00",
    "DISCONNECT with a flag": b"\xe8\x00",
    "SUBSCRIBE without a filter": b"\x82\x02\x00\x05",
    "SUBSCRIBE with reserved QoS bits": b"\x82\x06\x00\x05\x00\x01#\x04",
    "SUBSCRIBE with too many filters": b"\x82\x00\x00\x05" + b"\x00\x01#\x00" * (LIMITS.max_topic_filters + 1),
    "UNSUBSCRIBE without a filter": b"\xa2\x02\x00\x05",
    "CONNECT with a flag in its header": b"\x11\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c",
    "CONNECT with its reserved flag": b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01c",
    "CONNECT of another protocol": b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x3c\x00\x01c",
    "will QoS without a will": b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01c",
    "will retain without a will": b"\x10\x0d\x00\x04MQTT\x04\x22\x00\x3c\x00\x01c",
    "will QoS 3": b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01c\x00\x01w\x00\x00",
    "password without a user name": b"\x10\x10\x00\x04MQTT\x04\x42\x00\x3c\x00\x01c\x00\x01p",
    "user name that is flagged but missing": b"\x10\x0d\x00\x04MQTT\x04\x82\x00\x3c\x00\x01c",
}


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID.keys())
def test_what_the_specification_forbids_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidPacketError):
        read(data)


@pytest.mark.parametrize(
    "data",
    [b"\x60\x02\x00\x01", b"\x8a\x06\x00\x05\x00\x01#\x02", b"\xa0\x05\x00\x05\x00\x01#", b"\xc1\x00", b"\xef\x00"],
)
def test_clients_of_version_3_1_may_set_unused_header_bits(data: bytes) -> None:
    assert read(data, MQTT_3_1) == read(bytes((data[0] & 0xF0 | (2 if data[0] >> 4 in (6, 8, 10) else 0),)) + data[1:])


def test_clients_of_version_3_1_may_set_the_unused_flags_of_connect() -> None:
    packet = read(b"\x1f\x0f\x00\x06MQIsdp\x03\x03\x00\x3c\x00\x01c", MQTT_3_1)
    assert packet == Connect(version=MQTT_3_1, client_id="c", keep_alive=60)


@pytest.mark.parametrize("flags", [b"\x0a", b"\x1a", b"\x22"], ids=["QoS 1", "QoS 3", "retain"])
def test_clients_of_version_3_1_may_say_anything_of_a_will_that_they_have_not(flags: bytes) -> None:
    packet = read(b"\x10\x0f\x00\x06MQIsdp\x03" + flags + b"\x00\x3c\x00\x01c", MQTT_3_1)
    assert packet == Connect(version=MQTT_3_1, client_id="c", keep_alive=60)


def test_clients_of_version_3_1_may_set_the_unused_bits_of_a_requested_qos() -> None:
    packet = read(b"\x82\x06\x00\x05\x00\x01#\xfd", MQTT_3_1)
    assert packet == Subscribe(packet_id=5, subscriptions=(Subscription(topic_filter="#", qos=1),))
    with pytest.raises(InvalidPacketError):
        read(b"\x82\x06\x00\x05\x00\x01#\x03", MQTT_3_1)


def test_clients_of_version_3_1_may_set_dup_where_it_says_nothing() -> None:
    assert read(b"\x38\x03\x00\x01a", MQTT_3_1) == Publish(topic="a", payload=b"")


def test_clients_of_version_3_1_may_flag_credentials_they_leave_out() -> None:
    packet = read(b"\x10\x0f\x00\x06MQIsdp\x03\xc2\x00\x3c\x00\x01c", MQTT_3_1)
    assert packet == Connect(version=MQTT_3_1, client_id="c", keep_alive=60)


@pytest.mark.parametrize(
    "name_and_level", [b"\x00\x04MQTT\x06", b"\x00\x04MQTT\x03", b"\x00\x06MQIsdp\x04", b"\x00\x04MQTT\x84"]
)
def test_an_unknown_level_has_a_return_code_whatever_follows_it(name_and_level: bytes) -> None:
    with pytest.raises(InvalidPacketError) as caught:
        decode(1, 0, Fields(name_and_level + b"\xff\xff", LIMITS, None))
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
