"""Client credentials: how a connection proves that it may talk at all, by a password or by an X.509 certificate."""
