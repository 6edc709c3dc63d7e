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
    password_needs_user_name: bool
    """[MQTT-3.1.2-22]; MQTT 5 §3.1.2.9: "This version of the protocol allows the sending of a Password with no User
    Name, where MQTT v3.1.1 did not.\""""
    kept_session_needs_client_id: bool
    """[MQTT-3.1.3-7], [MQTT-3.1.3-8]; since MQTT 5 the server assigns one to every client without."""
    has_properties: bool
    """Packets carry properties and reason codes, and the server may disconnect (MQTT 5)."""
    subscription_failure: int | None
    """What SUBACK says instead of a reason code of MQTT 5: 3.1 knows no failure [MQTT-3.9.3-2], and there QoS 0 is
    granted, as answers reach a client whatever it subscribed to."""


MQTT_3_1 = Version(
    name="3.1",
    protocol_name="MQIsdp",
    level=3,
    reserved_bits_matter=False,
    credentials_may_be_missing=True,
    password_needs_user_name=True,
    kept_session_needs_client_id=True,
    has_properties=False,
    subscription_failure=0x00,
)
MQTT_3_1_1 = Version(
    name="3.1.1",
    protocol_name="MQTT",
    level=4,
    reserved_bits_matter=True,
    credentials_may_be_missing=False,
    password_needs_user_name=True,
    kept_session_needs_client_id=True,
    has_properties=False,
    subscription_failure=0x80,
)
MQTT_5 = Version(
    name="5",
    protocol_name="MQTT",
    level=5,
    reserved_bits_matter=True,
    credentials_may_be_missing=False,
    password_needs_user_name=False,
    kept_session_needs_client_id=False,
    has_properties=True,
    subscription_failure=None,
)

VERSIONS = {(version.protocol_name, version.level): version for version in (MQTT_3_1, MQTT_3_1_1, MQTT_5)}
PROTOCOL_NAMES = frozenset(version.protocol_name for version in VERSIONS.values())
