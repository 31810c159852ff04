"""The client's state machines: one connection, and connection after connection."""
