"""Every packet is valid or cannot be built."""

from collections.abc import Callable

import pytest

from kpc.mqtt.acknowledgements import Puback, Pubrel
from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.packets import (
    Connect,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.versions import MQTT_3_1_1

INVALID: dict[str, Callable[[], object]] = {
    "empty topic": lambda: Publish(topic="", payload=b""),
    "plus in topic": lambda: Publish(topic="a/+/b", payload=b""),
    "hash in topic": lambda: Publish(topic="a/#", payload=b""),
    "null in topic": lambda: Publish(topic="a\0b", payload=b""),
    "surrogate in topic": lambda: Publish(topic="a\ud800", payload=b""),
    "topic of too many bytes": lambda: Publish(topic="é" * 32_768, payload=b""),
    "QoS 3": lambda: Publish(topic="a", payload=b"", qos=3, packet_id=1),
    "negative QoS": lambda: Publish(topic="a", payload=b"", qos=-1),
    "QoS 1 without packet id": lambda: Publish(topic="a", payload=b"", qos=1),
    "QoS 0 with packet id": lambda: Publish(topic="a", payload=b"", packet_id=1),
    "DUP on QoS 0": lambda: Publish(topic="a", payload=b"", dup=True),
    "packet id 0": lambda: Puback(packet_id=0),
    "packet id of 17 bits": lambda: Pubrel(packet_id=65_536),
    "no subscriptions": lambda: Subscribe(packet_id=1, subscriptions=()),
    "no filters": lambda: Unsubscribe(packet_id=1, topic_filters=()),
    "empty filter": lambda: Subscription(topic_filter="", qos=0),
    "hash not last": lambda: Subscription(topic_filter="a/#/b", qos=0),
    "hash inside a level": lambda: Subscription(topic_filter="a/b#", qos=0),
    "two hashes": lambda: Subscription(topic_filter="#/#", qos=0),
    "plus inside a level": lambda: Unsubscribe(packet_id=1, topic_filters=("a/b+",)),
    "subscription QoS 3": lambda: Subscription(topic_filter="a", qos=3),
    "refused for being malformed": lambda: Suback(packet_id=1, reason_codes=(ReasonCode.MALFORMED_PACKET,)),
    "wildcard in will topic": lambda: Will(topic="#", payload=b""),
    "keep alive of 17 bits": lambda: Connect(version=MQTT_3_1_1, client_id="a", keep_alive=65_536),
    "null in client id": lambda: Connect(version=MQTT_3_1_1, client_id="\0"),
    "null in user name": lambda: Connect(version=MQTT_3_1_1, client_id="a", username="\0"),
}


@pytest.mark.parametrize("build", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_packet_cannot_be_built(build: Callable[[], object]) -> None:
    with pytest.raises(InvalidPacketError):
        build()


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "+/+", "/", "a/#", "/+/b", "kp1/v1/cmx/t/config/json/#", "a b", "é"]
)
def test_every_legal_topic_filter_can_be_built(topic_filter: str) -> None:
    assert Subscription(topic_filter=topic_filter, qos=2).topic_filter == topic_filter


def test_the_longest_topic_can_be_built() -> None:
    assert len(Publish(topic="x" * 65_535, payload=b"").topic) == 65_535


def test_secrets_stay_out_of_the_representation() -> None:
    connect = Connect(version=MQTT_3_1_1, client_id="a", username="me", password=b"secret")
    assert "secret" not in repr(connect)
    assert "secret" not in repr(Publish(topic="a", payload=b"secret"))
