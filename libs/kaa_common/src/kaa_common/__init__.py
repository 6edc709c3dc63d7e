"""What the services share: the wire protocol, the bus, the store port, settings, logging and the life cycle of a process."""
