"""TCP connections for asyncio. Names are looked up in threads of this library, and an address that
does not answer delays no other.

``loop.create_connection`` would look names up in the loop's default executor, which is the
program's, and has no head start for the first address under uvloop.
"""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeVar

from topone_proto.adapters import Address, Proxy
from topone_websockets import (
    AddressInfo,
    call_in_thread,
    look_up,
    look_up_context,
    look_up_proxy,
)

__all__ = ["abort", "dial_tcp", "find_context", "find_proxy", "in_thread", "resolve"]

_T = TypeVar("_T")

# Seconds that an address has before the next one is tried as well (RFC 8305 section 5).
_HEAD_START: Final = 0.25


def abort(transport: asyncio.Transport) -> None:
    """End a connection at once, whatever is still unsent."""
    # Python 3.11.2 forgets what is below TLS if a transport is closed twice.
    with suppress(AttributeError):
        transport.abort()


async def dial_tcp(host: str, port: int) -> socket.socket:
    """Connect to a host. No socket is left when it fails or is cancelled.

    Raises:
        OSError: the name has no address.
        ExceptionGroup: no address could be reached; its members say why.
    """
    waiting = deque(await resolve(host, port))
    attempts: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.popleft())))
            done, _ = await asyncio.wait(
                attempts,
                timeout=_HEAD_START if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                if (error := attempt.exception()) is None:
                    await _give_up(attempts - {attempt})
                    attempts.clear()
                    return attempt.result()
                attempts.discard(attempt)
                errors.append(error)
    finally:
        await _give_up(attempts)
    raise BaseExceptionGroup("no address could be reached", errors)


async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
    """Look up the addresses of a host, for TCP.

    Raises:
        OSError: the name has none.
    """
    return await _result_of(look_up(host, port))


async def find_proxy(endpoint: Address) -> Proxy | None:
    """Return the proxy that this machine's settings name for an endpoint; None to dial directly.

    Raises:
        ConnectionFailed: the setting cannot be used.
    """
    return await _result_of(look_up_proxy(endpoint))


async def find_context(endpoint: Address) -> ssl.SSLContext | None:
    """Return the TLS settings for an endpoint, those of the system; None for plain TCP."""
    if not endpoint.is_tls:
        return None
    context: ssl.SSLContext = await _result_of(look_up_context())
    return context


async def in_thread(function: Callable[[], _T]) -> _T:
    """Call a function that may block in a thread of this library; see ``Runtime.in_thread``."""
    return await _result_of(call_in_thread(function))


async def _result_of(lookup: Future[_T]) -> _T:
    loop = asyncio.get_running_loop()
    if lookup.done():
        return lookup.result()
    is_done = asyncio.Event()

    def wake(_: object) -> None:
        # The loop may be closed by now if the dial was given up.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(is_done.set)

    lookup.add_done_callback(wake)
    try:
        await is_done.wait()
        return lookup.result()
    finally:
        lookup.cancel()
        del lookup  # no cycle of its exception and this frame


async def _connect(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, place = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except OSError as error:
        sock.close()
        number = error.errno
    except BaseException:
        sock.close()
        raise
    else:
        return sock
    # asyncio's own text repeats the address.
    raise OSError(number, os.strerror(number) if number else "")


async def _give_up(attempts: set[asyncio.Task[socket.socket]]) -> None:
    """End attempts that nobody needs any more. A socket that one has got already is closed."""
    for attempt in attempts:
        attempt.cancel()
        attempt.add_done_callback(_close_result)
    if attempts:
        await asyncio.wait(attempts)


def _close_result(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
