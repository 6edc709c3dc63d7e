"""Free ports for servers that tests start, stop and start again."""

import random
import socket

RANGE = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections, so that none of them takes one meanwhile."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    picking = random.SystemRandom()  # the tests' seed is the same in every run on the machine
    while True:
        with socket.socket() as probe:
            port = picking.choice(RANGE)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
