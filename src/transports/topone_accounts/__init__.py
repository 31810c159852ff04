"""The I/O of an account beside its WebSocket: HTTP, and the file that its processes share."""

__all__: list[str] = []
