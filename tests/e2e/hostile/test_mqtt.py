"""MQTT 3.1.1 as nobody sane would speak it: what has to be closed is closed, and nothing is said that has no words."""

import asyncio

import pytest

from .attacks import (
    ACCEPTED,
    CONNACK,
    CONNECT,
    PACKET_ID,
    PATIENCE,
    PINGREQ,
    SUBSCRIBE,
    TLS_CLIENT_HELLO,
    UNSUBSCRIBE,
    Platform,
    closed_after,
    packet,
    publish_packet,
    short,
    text,
)

pytestmark = pytest.mark.parametrize("platform", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x00\x00",
        b"\xf0\x00",
        b"\xff" * 100,
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\xff\xff\xff\x7f",
        b"\x10\x00",
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        TLS_CLIENT_HELLO,
        b"\r\n" * 100,
        PINGREQ,
        publish_packet("kp1/a/b/c/get", b"", None),
        packet(0x10, text("MQTT"), b"\x04\x02\x00"),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", b"\x00\x09short"),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", text(b"\xff\xfe")),
        packet(0x10, text("MQTT"), b"\x04\x02\x00\x00", text("id"), b"left over"),
        packet(0x10, text("MQTT"), b"\x04\x03\x00\x00", text("reserved flag")),
        packet(0x10, text("MQTT"), b"\x04\x1e\x00\x00", text("id"), text("will"), text("QoS 3")),
        packet(0x10, text("MQTT"), b"\x04\x22\x00\x00", text("will retain without a will")),
        packet(0x10, text("MQTT"), b"\x04\x42\x00\x00", text("id"), text("password without a user name")),
        packet(0x10, text("NOTMQTT"), b"\x04\x02\x00\x00", text("id")),
        packet(0x1F, text("MQTT"), b"\x04\x02\x00\x00", text("header flags")),
    ],
    ids=short,
)
async def test_a_connection_that_does_not_begin_with_mqtt_is_closed(platform: Platform, data: bytes) -> None:
    assert await closed_after(platform.stack.mqtt_port, data) == b""


@pytest.mark.parametrize(
    ("connect", "return_code"),
    [
        (packet(0x10, text("MQTT"), b"\x06\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQTT"), b"\x00\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQIsdp"), b"\x04\x02\x00\x00", text("id")), 1),
        (packet(0x10, text("MQTT"), b"\x04\x00\x00\x00", text("")), 2),
    ],
    ids=short,
)
async def test_a_connect_that_cannot_be_accepted_is_refused_with_its_reason(
    platform: Platform, connect: bytes, return_code: int
) -> None:
    assert await closed_after(platform.stack.mqtt_port, connect, PINGREQ) == bytes([CONNACK, 2, 0, return_code])


@pytest.mark.parametrize(
    "data",
    [
        CONNECT,
        b"\x00\x00",
        b"\xf0\x00",
        b"\x20\x02\x00\x00",
        b"\x90\x03\x00\x01\x00",
        b"\xb0\x02\x00\x01",
        b"\xd0\x00",
        b"\xc0\x01\x00",
        b"\xc1\x00",
        b"\xe0\x01\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x80\x80\x80\x80\x80",
        b"\x30\x00",
        b"\x30\x01a",
        b"\x30\x04\x00\x09ab",
        publish_packet("", b"", None),
        publish_packet("kp1/+/epmx/t/get", b"", None),
        publish_packet("kp1/#", b"", None),
        publish_packet("kp1/\0/epmx/t/get", b"", None),
        packet(0x30, text(b"kp1/\xff/epmx/t/get")),
        packet(0x30, text(b"kp1/\xed\xa0\x80/epmx/t/get")),
        packet(0x36, text("QoS/3"), PACKET_ID),
        packet(0x38, text("DUP/at/QoS/0")),
        packet(0x32, text("no/packet/id")),
        packet(0x32, text("packet/id/0"), b"\x00\x00"),
        packet(0x40),
        packet(0x40, b"\x01"),
        packet(0x40, PACKET_ID, b"\x00"),
        packet(0x60, PACKET_ID),
        packet(0x50, PACKET_ID),
        packet(0x70, PACKET_ID),
        packet(SUBSCRIBE, PACKET_ID),
        packet(SUBSCRIBE, b"\x00\x00", text("a"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a")),
        packet(SUBSCRIBE, PACKET_ID, text("a"), b"\x03"),
        packet(SUBSCRIBE, PACKET_ID, text(""), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a/#/b"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a+"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text("a\0"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, text(b"\xc0\xaf"), b"\x00"),
        packet(SUBSCRIBE, PACKET_ID, *[text("a") + b"\x00"] * 10_000),
        packet(0x80, PACKET_ID, text("flags"), b"\x00"),
        packet(UNSUBSCRIBE, PACKET_ID),
        packet(UNSUBSCRIBE, PACKET_ID, text("")),
        packet(0xA0, PACKET_ID, text("flags")),
    ],
    ids=short,
)
async def test_a_violation_of_mqtt_ends_the_connection_it_came_on(platform: Platform, data: bytes) -> None:
    assert await closed_after(platform.stack.mqtt_port, CONNECT, data + PINGREQ) == ACCEPTED


async def test_a_packet_larger_than_allowed_ends_its_connection_before_it_is_there(platform: Platform) -> None:
    header = b"\x30" + b"\x81\x80\x40"  # a mebibyte and one byte
    assert await closed_after(platform.stack.mqtt_port, CONNECT, header) == ACCEPTED


async def test_what_came_before_a_violation_is_done(platform: Platform) -> None:
    endpoint = platform.register()
    update = publish_packet(endpoint.path("/update"), b'{"a":1}', 1)
    said = await closed_after(platform.stack.mqtt_port, CONNECT, update + b"\xf0\x00" + publish_packet("b", b"", 2))
    assert said.startswith(ACCEPTED)
    async with asyncio.timeout(PATIENCE):
        while platform.metadata(endpoint) != b'{"a":1}':
            await asyncio.sleep(0.01)
