"""Which topics a topic filter means (MQTT 3.1.1 §4.7)."""

import pytest

from kpc.mqtt.topics import matches


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("a/b", "a/b"),
        ("a/+", "a/b"),
        ("+/+", "a/b"),
        ("+/+", "/b"),
        ("/+", "/b"),
        ("a/+/c", "a//c"),
        ("#", "a/b/c"),
        ("a/#", "a/b/c"),
        ("a/#", "a"),
        ("a/#", "a/"),
        ("+/#", "a"),
        ("$SYS/#", "$SYS/a"),
        ("$SYS/+", "$SYS/a"),
    ],
)
def test_a_filter_means_the_topic(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic.split("/"))


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("a", "b"),
        ("a", "A"),
        ("a", "a/"),
        ("a/b", "a"),
        ("+", "/a"),
        ("+", "a/b"),
        ("a/+", "a"),
        ("a/b/#", "a"),
        ("a/#", "b/a"),
        ("#", "$SYS/a"),
        ("+/a", "$SYS/a"),
    ],
)
def test_a_filter_does_not_mean_the_topic(topic_filter: str, topic: str) -> None:
    assert not matches(topic_filter, topic.split("/"))
