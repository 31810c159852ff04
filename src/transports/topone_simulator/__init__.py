"""The exchange's server on this machine: the gateway and the HTTP desk of ``topone_proto.exchange``
behind real servers.

``serve`` runs it in the asyncio program that asks for it, ``run_in_thread`` beside any other.
"""

try:
    from topone_simulator._core import Handshake
    from topone_simulator._server import run_in_thread, serve
    from topone_simulator._simulator import Simulator, Truth
except ModuleNotFoundError as _error:
    _library = (_error.name or "").partition(".")[0]
    if _library not in {"aiohttp", "websockets"}:
        raise
    raise ImportError(
        f'topone_simulator needs {_library}: pip install "topone-proto[simulator]"',
        name=_error.name,
    ) from None

__all__ = ["Handshake", "Simulator", "Truth", "run_in_thread", "serve"]
