"""The I/O of an account beside its WebSocket: HTTP, and the file that its processes share."""

try:
    from topone_accounts._client import HttpClient, HttpStream
    from topone_accounts._store import FileStore, StoreError, default_path, open_store
except ModuleNotFoundError as _error:
    if _error.name not in {"filelock", "httpcore", "platformdirs"}:
        raise
    raise ImportError(
        f'topone_accounts needs {_error.name}: pip install "topone-proto[accounts]"',
        name=_error.name,
    ) from None

__all__ = ["FileStore", "HttpClient", "HttpStream", "StoreError", "default_path", "open_store"]
