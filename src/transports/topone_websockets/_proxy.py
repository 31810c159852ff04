"""The proxy that this machine's settings name."""

from urllib.request import getproxies, proxy_bypass

from topone_proto.adapters import Address, Proxy, proxy_from

__all__ = ["Proxy", "proxy_for"]


def proxy_for(endpoint: Address) -> Proxy | None:
    """Return the proxy to dial for an endpoint; None to dial directly.

    Reads the environment now, ``HTTPS_PROXY`` and ``NO_PROXY`` in capital letters or small ones.
    Where those are not set, Windows and macOS are asked for theirs, which can take time.

    Raises:
        ConnectionFailed: the setting cannot be used.
    """
    return proxy_from(endpoint, getproxies(), proxy_bypass)
