"""The state of the connection to MongoDB, logged once when it changes: the driver itself tells it to no one."""

import logging

from pymongo.monitoring import (
    TopologyClosedEvent,
    TopologyDescriptionChangedEvent,
    TopologyListener,
    TopologyOpenedEvent,
)
from pymongo.topology_description import TopologyDescription

logger = logging.getLogger(__name__)


class ConnectionReports(TopologyListener):
    """What the driver calls back. Losing the server is no news once `closing` is set."""

    def __init__(self) -> None:
        self.closing = False

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        before, now = event.previous_description, event.new_description
        if now.has_writable_server() and not before.has_writable_server():
            logger.info("connected to MongoDB at %s", _addresses(now))
        elif before.has_writable_server() and not now.has_writable_server() and not self.closing:
            logger.warning("lost the connection to MongoDB at %s", _addresses(before))

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Nothing is connected yet."""

    def closed(self, event: TopologyClosedEvent) -> None:
        """We know, as it is us who close."""


def _addresses(description: TopologyDescription) -> str:
    return ", ".join(f"{host}:{port}" for host, port in description.server_descriptions())
