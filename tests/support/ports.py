"""Free ports for servers that tests start, stop and start again."""

import random
import socket

RANGE = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections, so that none of them takes one meanwhile."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no other call gets as long as this process lives."""
    picking = random.SystemRandom()  # the tests' seed is the same in every run on the machine
    while True:
        port = picking.choice(RANGE)
        # The UDP port of the same number, which no server of ours uses, is the claim: one for all processes.
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                claim.detach()
                return port
        claim.close()
