"""How much all MQTT clients of the process, and each of them, may take [pure]."""

from dataclasses import dataclass, field

from kpc.mqtt.limits import SessionLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Each with what it costs or what it is for."""

    session: SessionLimits = field(default_factory=SessionLimits)
    max_connections: int = 20_000
    """Each takes a file descriptor, of which a container commonly has 65,536 or fewer."""
    max_connections_per_address: int = 15_000
    """Whole sites come by one address, their router's or a proxy's; yet none takes the places of all others."""
    max_calls: int = 64
    """Calls of the handler at once per connection: fills a round trip of 5 ms at 12,000 messages a second, and one
    client never has more than this many messages in memory. At the limit its socket is not read."""
    max_bytes_in_calls: int = 1024 * 1024
    """Bytes of payload in them, beyond which there is no further call: as many as one message of the greatest size."""
    max_held: int = 256 * 1024 * 1024
    """Bytes that all connections hold together of unfinished packets and of what is not sent, beyond which those are
    ended that have held something for longest: a quarter of the memory that a container is given."""
    write_high_water: int = 64 * 1024
    """Bytes waiting for a slow client, above which it is not read until it catches up."""
    max_write_buffer: int = 4 * 1024 * 1024
    """Bytes waiting for a slow client, above which it is dropped: a few of the largest messages."""
    write_timeout: float = 30.0
    """Seconds a client may stay above the high-water mark; less than what a half-open TCP connection would take."""
    stop_timeout: float = 10.0
    """Seconds for calls in flight to finish at a stop, out of the 30 that Kubernetes grants the whole process."""
    linger: float = 2.0
    """Seconds for a client to read the last bytes and close its side; closed at once, unread input would reset it."""
