"""The versions of MQTT that are spoken, as data: a further version is a further row.

What tells the versions apart on the wire stands here; the codec and the session ask the row, never the level.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the protocol and how strictly its clients are read."""

    name: str
    protocol_name: str
    level: int
    reserved_bits_matter: bool
    """3.1 calls unused header bits "not used" and its clients set them; 3.1.1 makes them a violation [MQTT-2.2.2-2]."""
    credentials_may_be_missing: bool
    """3.1 §3.1: "Server implementations must allow for the possibility that the User Name flag is set, but the User
    Name string is missing"; the same goes for the password."""


MQTT_3_1 = Version(
    name="3.1",
    protocol_name="MQIsdp",
    level=3,
    reserved_bits_matter=False,
    credentials_may_be_missing=True,
)
MQTT_3_1_1 = Version(
    name="3.1.1",
    protocol_name="MQTT",
    level=4,
    reserved_bits_matter=True,
    credentials_may_be_missing=False,
)

VERSIONS = {(version.protocol_name, version.level): version for version in (MQTT_3_1, MQTT_3_1_1)}
PROTOCOL_NAMES = frozenset(version.protocol_name for version in VERSIONS.values())
