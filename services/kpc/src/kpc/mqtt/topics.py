"""Topic names and topic filters (MQTT 3.1.1 §4.7, MQTT 5 §4.7 and §4.8)."""

import re

from kpc.mqtt.checks import check, check_text
from kpc.mqtt.errors import InvalidPacketError
from kpc.mqtt.reasons import ReasonCode

SHARED = "$share/"

_TOPIC_NAME = re.compile(r"[^+#\0\ud800-\udfff]{1,16383}")
"""What most topic names are: so many characters are 65,535 bytes at most."""


def check_topic_name(topic: str) -> None:
    if _TOPIC_NAME.fullmatch(topic):
        return
    check_text(topic)
    # [MQTT-4.7.3-1] "All Topic Names and Topic Filters MUST be at least one character long."
    check(topic != "", "an empty topic name", ReasonCode.PROTOCOL_ERROR)
    # [MQTT-3.3.2-2] "The Topic Name in the PUBLISH Packet MUST NOT contain wildcard characters."
    check("+" not in topic and "#" not in topic, "a wildcard in a topic name", ReasonCode.TOPIC_NAME_INVALID)


# [MQTT-4.7.3-1] at least one character; [MQTT-4.7.1-2] "#" is the last one, and a level of its own; [MQTT-4.7.1-3] "+"
# "MUST occupy an entire level of the filter."
_FILTER = re.compile(r"(?!\Z)(?:(?:\+|[^+#/]*+)/)*+(?:[+#]|[^+#/]*+)")


def check_topic_filter(topic_filter: str) -> None:
    check_text(topic_filter)
    if not _FILTER.fullmatch(topic_filter):
        raise InvalidPacketError("an empty topic filter, or a misplaced wildcard", ReasonCode.TOPIC_FILTER_INVALID)


def matches(topic_filter: str, levels: list[str]) -> bool:
    """Whether the topic of these levels is one of those that the filter means."""
    wanted = topic_filter.split("/")
    # [MQTT-4.7.2-1] "The Server MUST NOT match Topic Filters starting with a wildcard character (# or +) with Topic
    # Names beginning with a $ character."
    if levels[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]  # "sport/#" also matches "sport"
    return len(levels) == len(wanted) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))
