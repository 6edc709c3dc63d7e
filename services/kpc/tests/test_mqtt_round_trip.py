"""Every packet of every version, there and back; and what becomes of it when it is cut or damaged.

Few examples, for every run of the tests; `make fuzz` tries as many as there is time for.
"""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpc.mqtt import encoder, wire
from kpc.mqtt.errors import RemoteProtocolError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import ClientPacket, Connect
from kpc.mqtt.reader import PacketReader
from kpc.mqtt.versions import MQTT_3_1_1, MQTT_5, VERSIONS, Version
from support import mqtt_codec
from support.mqtt_driver import drive
from support.mqtt_strategies import client_packets, connects, server_packets

LIMITS = SessionLimits()
few = settings(max_examples=30, deadline=None)
each_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda version: version.name)


def drain(reader: PacketReader) -> list[ClientPacket]:
    packets = []
    while (packet := reader.next_packet()) is not None:
        packets.append(packet)
    return packets


def connected_reader(version: Version) -> PacketReader:
    reader = PacketReader(LIMITS)
    reader.feed(mqtt_codec.encode(Connect(version=version, client_id="c"), version))
    assert reader.next_packet() == Connect(version=version, client_id="c")
    return reader


@each_version
@few
@given(data=st.data())
def test_the_server_reads_what_a_client_writes(version: Version, data: st.DataObject) -> None:
    packets = [data.draw(connects(version)), *data.draw(st.lists(client_packets(version), max_size=4))]
    reader = PacketReader(LIMITS)
    reader.feed(b"".join(mqtt_codec.encode(packet, version) for packet in packets))
    assert drain(reader) == packets


@each_version
@few
@given(data=st.data())
def test_a_client_reads_what_the_server_writes(version: Version, data: st.DataObject) -> None:
    packets = data.draw(st.lists(server_packets(version), min_size=1, max_size=4))
    stream = b"".join(encoder.encode(packet, version) for packet in packets)
    assert mqtt_codec.decode_all(stream, version) == packets


@each_version
@few
@given(data=st.data())
def test_a_packet_byte_by_byte_is_the_packet_and_no_part_of_it_is(version: Version, data: st.DataObject) -> None:
    packet = data.draw(client_packets(version))
    stream, reader = mqtt_codec.encode(packet, version), connected_reader(version)
    for position in range(len(stream) - 1):
        reader.feed(stream[position : position + 1])
        assert reader.next_packet() is None
    reader.feed(stream[-1:])
    assert reader.next_packet() == packet


@each_version
@few
@given(data=st.data())
def test_a_body_truncated_at_any_length_is_refused_or_a_shorter_packet(version: Version, data: st.DataObject) -> None:
    packet = data.draw(client_packets(version))
    whole = mqtt_codec.encode(packet, version)
    body = whole[2:] if whole[1] < 0x80 else whole[3:]
    for size in range(len(body)):
        reader = connected_reader(version)
        reader.feed(whole[:1] + wire.variable(size) + body[:size])
        with contextlib.suppress(RemoteProtocolError):
            shorter = reader.next_packet()
            assert type(shorter) is type(packet)


@each_version
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_session_survives_a_damaged_stream(version: Version, data: st.DataObject) -> None:
    packets = [data.draw(connects(version)), *data.draw(st.lists(client_packets(version), max_size=3))]
    stream = bytearray(b"".join(mqtt_codec.encode(packet, version) for packet in packets))
    where = st.tuples(st.integers(0, len(stream) - 1), st.integers(0, 255))
    for position, byte in data.draw(st.lists(where, min_size=1, max_size=6)):
        stream[position] = byte
    drive(bytes(stream), data.draw(st.integers(1, len(stream))))


def test_a_second_connect_of_another_version_is_refused_in_the_words_of_the_first() -> None:
    first, second = (Connect(version=version, client_id="c") for version in (MQTT_3_1_1, MQTT_5))
    stream = mqtt_codec.encode(first, MQTT_3_1_1) + mqtt_codec.encode(second, MQTT_5)
    assert len(drive(stream, len(stream))) == 2
