"""How much one client may ask for; what MQTT 5 has a word for is announced to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The limits of one session, each with what it costs or what it is for."""

    max_packet_size: int = 1024 * 1024
    """What NATS carries by default; a larger message could not be passed on."""
    max_topic_length: int = 16_000
    """Characters: with a suffix, the topic of the answer fits into MQTT's 65,535 bytes, so whoever breaks the lower
    limits of 1/KP, in length and levels, can be told so."""
    max_filter_length: int = 2048
    """Characters: twice the longest 1/KP path."""
    max_filter_levels: int = 64
    """Twice those of the deepest 1/KP path: messages are held against each level of filters with an identifier."""
    max_topic_filters: int = 256
    """Of one SUBSCRIBE or UNSUBSCRIBE. Devices ask for a handful. Each takes four bytes on the wire and a thousand
    times that in work and memory, so one packet of the permitted size would stop everyone else for a second."""
    max_user_properties: int = 64
    """Of one packet; as above."""
    max_subscriptions: int = 1024
    """Of one connection: a gateway that subscribes to three topics for each of 300 devices."""
    max_subscription_identifiers: int = 64
    """Subscriptions of one connection that have an identifier: every message it is sent is held against each."""
    topic_alias_maximum: int = 16
    """Topics a client may abbreviate, each kept in full: one for each kind of message that a device sends."""
    max_keep_alive: int = 3600
    """Seconds: a client that vanished does not hold its connection for more than one and a half hours. MQTT 5 only:
    earlier versions leave the choice to the client."""
    connect_timeout: float = 10.0
    """Seconds for CONNECT to arrive and be decided upon: a slow mobile network, not an idle port scanner."""
    withheld_for: float = 10.0
    """Seconds that a message may stay withheld. Then the session ends: a client sends it again only on a new
    connection, and until then has one place less for others in its own window, of 20 in paho, of 1 in others."""
    max_inflight: int = 8192
    """Unfinished QoS 1 and QoS 2 exchanges in each direction: a gateway may send a burst, gmqtt fails at a window that
    it fills, and each takes a hundred bytes."""
    max_queued: int = 1024
    """QoS 1 messages that wait for a place in the client's window (Receive Maximum)."""
    max_queued_bytes: int = 1024 * 1024
    """Their size in all: one message of the greatest size."""
