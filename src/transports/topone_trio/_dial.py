"""TCP streams, proxies and certificates for the WebSockets of this package."""

import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final, TypeVar
from urllib.request import getproxies, proxy_bypass

import trio

from topone_proto import ConnectionFailed, Failure
from topone_proto.adapters import Address, Proxy, Tunnel, failure_from_exception, proxy_from

__all__ = ["context_for", "dial", "in_thread", "open_tcp", "proxy_for"]

_T = TypeVar("_T")

# RFC 8305 section 5, "Connection Attempt Delay": seconds until the next address is tried as well.
_HEAD_START: Final = 0.25

# A tunnel is asked for in one read, mostly.
_RECEIVE_BYTES: Final = 65536

# Lookups at a time. One that hangs cannot be cancelled, only abandoned; the limit keeps it from
# taking threads that the program itself may use.
_LOOKUPS: Final = 16
_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("topone_lookups")


def _threads() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_LOOKUPS)
        _limiter.set(limiter)
        return limiter


async def in_thread(function: Callable[[], _T]) -> _T:
    """Call a function that may block in a thread of this library; see ``Runtime.in_thread``."""
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=_threads())


async def proxy_for(endpoint: Address) -> Proxy | None:
    """Return the proxy that this machine's settings name for an endpoint; None to dial directly.

    Raises:
        ConnectionFailed: the setting cannot be used.
    """
    if not endpoint.is_tls:
        return None
    # In a thread, because some systems ask the DNS whether a host is excepted.
    return await trio.to_thread.run_sync(_proxy_for, endpoint, limiter=_threads())


def _proxy_for(endpoint: Address) -> Proxy | None:
    return proxy_from(endpoint, getproxies(), proxy_bypass)


async def context_for(endpoint: Address) -> ssl.SSLContext | None:
    """Return a context that checks certificates against the system's authorities, as they are set
    now (``SSL_CERT_FILE``, ``SSL_CERT_DIR``); None for an endpoint without TLS. It is shared."""
    if not endpoint.is_tls:
        return None
    # In a thread, because it reads a file for some 20 to 200 ms, unless that was read before.
    return await trio.to_thread.run_sync(_context, abandon_on_cancel=True, limiter=_threads())


# The same as in topone_websockets, which cannot be imported without websockets.


def _context() -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    # Windows has a store of its own, of which no file tells whether it has changed.
    unknown = object() if sys.platform == "win32" else None
    return _read((paths, _state(paths.cafile), _state(paths.capath), unknown))


@lru_cache(maxsize=1)
def _read(_: object) -> ssl.SSLContext:
    return ssl.create_default_context()


def _state(path: str | None) -> object:
    """Return what changes with a file or a directory."""
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)


async def open_tcp(host: str, port: int) -> trio.SocketStream:
    """Connect to the first address that answers.

    Raises:
        OSError: the name cannot be resolved.
        ExceptionGroup: no address could be reached.
    """
    winners: list[trio.SocketStream] = []
    errors: list[Exception] = []

    async def attempt(address: str, is_over: trio.Event) -> None:
        try:
            stream = await trio.open_tcp_stream(address, port)
        except OSError as error:
            errors.append(error)
            is_over.set()
            return
        if not winners:
            winners.append(stream)
            nursery.cancel_scope.cancel()
        else:  # pragma: no cover - two at the same moment
            await trio.aclose_forcefully(stream)

    addresses = await _look_up(host, port)
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                is_over = trio.Event()
                nursery.start_soon(attempt, address, is_over)
                with trio.move_on_after(_HEAD_START):
                    await is_over.wait()
    except BaseException:
        # From outside, when an address had just answered.
        for stream in winners:
            stream.socket.close()
        raise
    if not winners:
        raise ExceptionGroup("no address could be reached", errors)
    return winners[0]


async def _look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, those of IPv6 and of IPv4 in turn."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await trio.to_thread.run_sync(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
            abandon_on_cancel=True,
            limiter=_threads(),
        )
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    in_turn = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in in_turn if address is not None]


async def dial(endpoint: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream | Failure:
    """Connect to an endpoint: through the proxy that is set for it, and with TLS if it has that.

    Args:
        endpoint: where to.
        ssl_context: for a private CA; the default checks certificates against the system's.

    Returns:
        the stream, or the reason for which there is none.
    """
    proxy: Proxy | None = None
    try:
        context = ssl_context or await context_for(endpoint)
        proxy = await proxy_for(endpoint)
        stream: trio.abc.Stream
        if proxy is None:
            stream = await open_tcp(endpoint.host, endpoint.port)
        else:
            stream = await _open_tunnel(proxy, endpoint, context)
            proxy = None
        if endpoint.is_tls:
            stream = await _shake_hands(stream, endpoint.server_name, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, no dial came about
        failure = failure_from_exception(error)
        is_said = isinstance(error, ConnectionFailed)
    else:
        return stream
    return failure if proxy is None or is_said else proxy.blamed(failure)


async def _open_tunnel(
    proxy: Proxy, endpoint: Address, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    stream: trio.abc.Stream = await open_tcp(proxy.host, proxy.port)
    if proxy.is_tls:
        stream = await _shake_hands(stream, proxy.server_name, context)
    tunnel = Tunnel(proxy, endpoint)
    try:
        # A proxy that refuses may have answered already, and hung up.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(tunnel.request())
        is_there = False
        while not is_there:
            data: bytes | bytearray = b""
            with suppress(trio.BrokenResourceError):
                data = await stream.receive_some(_RECEIVE_BYTES)
            is_there = tunnel.receive(data)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def _shake_hands(
    stream: trio.abc.Stream, name: str, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Begin TLS before anything is sent, so that its failures can be told from others."""
    assert context is not None  # as for every endpoint with TLS
    try:
        secure = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure
