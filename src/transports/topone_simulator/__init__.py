"""The exchange's server on this machine: the gateway core of ``topone_proto`` behind a real
WebSocket server.

``serve`` runs it in the asyncio program that asks for it, ``run_in_thread`` beside any other.
"""

try:
    from topone_simulator._core import Handshake
    from topone_simulator._server import run_in_thread, serve
    from topone_simulator._simulator import Simulator
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "websockets":
        raise
    raise ImportError(
        'topone_simulator needs websockets: pip install "topone-proto[simulator]"', name=_error.name
    ) from None

__all__ = ["Handshake", "Simulator", "run_in_thread", "serve"]
