"""A stream in any pieces gives the same packets, and nothing but the protocol error when it is damaged."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpc.mqtt.acknowledgements import Pubrel
from kpc.mqtt.errors import RemoteProtocolError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import (
    ClientPacket,
    Connect,
    Disconnect,
    Pingreq,
    Publish,
    Subscribe,
    Unsubscribe,
)
from kpc.mqtt.reader import PacketReader
from kpc.mqtt.reasons import ReasonCode

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"
CONNECT_5 = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c"
PACKETS = [
    CONNECT,
    b"\x32\x09\x00\x03a/b\x01\x02{}",
    b"\x82\x06\x00\x05\x00\x01#\x02",
    b"\x30\x80\x01\x00\x01a" + b"x" * 125,
    b"\x62\x02\x00\x07",
    b"\xa2\x05\x00\x06\x00\x01a",
    b"\xc0\x00",
    b"\xe0\x00",
]
TYPES = [Connect, Publish, Subscribe, Publish, Pubrel, Unsubscribe, Pingreq, Disconnect]
STREAM = b"".join(PACKETS)
LIMITS = SessionLimits(max_packet_size=1000)


def drain(reader: PacketReader) -> list[ClientPacket]:
    packets = []
    while (packet := reader.next_packet()) is not None:
        packets.append(packet)
    return packets


def connected_reader(max_packet_size: int = 1000) -> PacketReader:
    reader = PacketReader(SessionLimits(max_packet_size=max_packet_size))
    reader.feed(CONNECT)
    assert isinstance(reader.next_packet(), Connect)
    return reader


def test_a_stream_fed_whole_is_all_its_packets() -> None:
    reader = PacketReader(LIMITS)
    reader.feed(STREAM)
    assert [type(packet) for packet in drain(reader)] == TYPES


def test_a_stream_fed_byte_by_byte_is_all_its_packets() -> None:
    reader, packets = PacketReader(LIMITS), []
    for position in range(len(STREAM)):
        reader.feed(STREAM[position : position + 1])
        packets += drain(reader)
    assert [type(packet) for packet in packets] == TYPES


def test_a_stream_cut_anywhere_is_the_packets_before_the_cut() -> None:
    ends = [sum(map(len, PACKETS[: count + 1])) for count in range(len(PACKETS))]
    for size in range(len(STREAM)):
        reader = PacketReader(LIMITS)
        reader.feed(STREAM[:size])
        assert [type(packet) for packet in drain(reader)] == TYPES[: sum(end <= size for end in ends)]


def test_what_follows_a_packet_waits_for_the_next_call() -> None:
    reader = PacketReader(LIMITS)
    reader.feed(CONNECT + b"\xc0\x00\xc0")
    assert isinstance(reader.next_packet(), Connect)
    assert reader.next_packet() == Pingreq()
    assert reader.next_packet() is None
    reader.feed(b"\x00")
    assert reader.next_packet() == Pingreq()


@pytest.mark.parametrize("first_byte", [b"\x00", b"\x20", b"\x30", b"\x82", b"\xc0", b"\xe0", b"\xf0", b"G"])
def test_a_stream_that_does_not_begin_with_connect_is_refused_at_its_first_byte(first_byte: bytes) -> None:
    reader = PacketReader(LIMITS)
    reader.feed(first_byte)
    with pytest.raises(RemoteProtocolError):
        reader.next_packet()


@pytest.mark.parametrize("first_byte", [b"\x00", b"\x20", b"\x90", b"\xb0", b"\xd0", b"\xf0"])
def test_a_packet_no_client_sends_is_refused_at_its_first_byte(first_byte: bytes) -> None:
    reader = connected_reader()
    reader.feed(first_byte)
    with pytest.raises(RemoteProtocolError):
        reader.next_packet()


def test_a_packet_of_the_greatest_size_passes() -> None:
    reader = connected_reader(max_packet_size=103)
    reader.feed(b"\x30\x65\x00\x01a" + b"x" * 98)
    assert reader.next_packet() == Publish(topic="a", payload=b"x" * 98)


def test_a_larger_packet_is_refused_from_its_header() -> None:
    reader = connected_reader(max_packet_size=103)
    reader.feed(b"\x30\x66")
    with pytest.raises(RemoteProtocolError, match="104 bytes, more than 103"):
        reader.next_packet()


def test_a_remaining_length_of_four_bytes_is_awaited() -> None:
    reader = connected_reader(max_packet_size=300_000_000)
    reader.feed(b"\x30\xff\xff\xff\x7f")
    assert reader.next_packet() is None


PADDED_PING = b"\xc0\x80\x00"


def test_a_remaining_length_may_be_longer_than_necessary_before_mqtt_5() -> None:
    reader = connected_reader()
    reader.feed(PADDED_PING + b"\xc0\x80\x80\x80\x00")
    assert drain(reader) == [Pingreq(), Pingreq()]


@pytest.mark.parametrize(
    "stream",
    [CONNECT_5 + PADDED_PING, b"\x10\x8e\x00" + CONNECT_5[2:]],
    ids=["a ping", "CONNECT itself"],
)
def test_a_remaining_length_longer_than_necessary_is_malformed_in_mqtt_5(stream: bytes) -> None:
    reader = PacketReader(LIMITS)
    reader.feed(stream)
    with pytest.raises(RemoteProtocolError, match="more bytes than necessary") as caught:
        drain(reader)
    assert caught.value.reason_code is ReasonCode.MALFORMED_PACKET


def test_a_remaining_length_of_five_bytes_is_refused() -> None:
    reader = connected_reader(max_packet_size=300_000_000)
    reader.feed(b"\x30\xff\xff\xff")
    assert reader.next_packet() is None
    reader.feed(b"\xff")
    with pytest.raises(RemoteProtocolError):
        reader.next_packet()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_stream_raises_nothing_but_the_protocol_error(data: st.DataObject) -> None:
    stream = bytearray(STREAM)
    for position, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        stream[position] = byte
    cut = data.draw(st.integers(0, len(stream)))
    reader = PacketReader(LIMITS)
    with contextlib.suppress(RemoteProtocolError):
        for part in (stream[:cut], stream[cut:]):
            reader.feed(part)
            drain(reader)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([1, 3, 8, 10]))
def test_random_bodies_raise_nothing_but_the_protocol_error(body: bytes, packet_type: int) -> None:
    reader = PacketReader(LIMITS) if packet_type == 1 else connected_reader()
    reader.feed(bytes((packet_type << 4 | (2 if packet_type > 3 else 0), len(body))) + body)
    with contextlib.suppress(RemoteProtocolError):
        assert reader.next_packet() is not None
