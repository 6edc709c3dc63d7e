"""What the services share: the wire protocol, the bus, the store port, settings, logging, the life cycle."""
