"""Name lookups in threads of their own.

``getaddrinfo`` blocks, cannot be cancelled, and hangs for as long as a name server does not answer.
Event loops run it in a pool that the whole program shares: a few lookups that hang then take that
pool away from everybody else, and keep the program from ending. The threads here belong to nobody
else, there are few of them, and no exit waits for one.
"""

import errno
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, TypeVar

from topone_proto import Endpoint
from topone_websockets._proxy import Proxy, proxy_for

__all__ = ["AddressInfo", "look_up", "look_up_proxy"]

_T = TypeVar("_T")

_Place: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Place]
"""One address, as ``socket.getaddrinfo`` gives it."""

# Lookups at a time. More of them wait for their turn.
_MOST: Final = 32


class _Lookups:
    """The lookups of a process: those that wait, and how many threads there are to do them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], object], Future[Any]]] = deque()
        self._threads = 0

    def add(self, look: Callable[[], _T]) -> Future[_T]:
        result: Future[_T] = Future()
        with self._lock:
            # Without those that were given up meanwhile.
            self._waiting = deque(it for it in self._waiting if not it[1].cancelled())
            self._waiting.append((look, result))
            if self._threads == _MOST:
                return result
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="topone-lookup", daemon=True).start()
        except RuntimeError:
            # The machine has no thread left, or Python is ending.
            with self._lock:
                self._threads -= 1
                self._waiting = deque(it for it in self._waiting if it[1] is not result)
            if result.set_running_or_notify_cancel():  # pragma: no branch - nobody has it yet
                result.set_exception(OSError(errno.EAGAIN, "no thread for a name lookup"))
        return result

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                look, result = self._waiting.popleft()
            if result.set_running_or_notify_cancel():
                _do(look, result)
            # Not kept while this thread waits for its end.
            del look, result


def _do(look: Callable[[], _T], result: Future[_T]) -> None:
    try:
        found = look()
    except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
        result.set_exception(error)
    else:
        result.set_result(found)


_lookups = _Lookups()


def _start_anew() -> None:
    """Forget the threads of the parent process, which this one does not have."""
    global _lookups  # noqa: PLW0603 - there is one for the process
    _lookups = _Lookups()  # pragma: no cover - in a process that coverage does not see the end of


if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=_start_anew)


def look_up(host: str, port: int) -> Future[Sequence[AddressInfo]]:
    """Look up the addresses of a host, for TCP.

    The future is done at once if ``host`` is an IP address. Otherwise a thread sees to it, and runs
    the future's callbacks. Cancel the future to give a lookup up: one that waits for its turn is
    not begun then, and the result of one that hangs interests nobody.

    The result is a sequence of ``AddressInfo``, those of IPv6 and of IPv4 in turn (RFC 8305 section
    4): a family that does not work here holds the other one up once. An ``OSError`` says that there
    is none, most often a ``socket.gaierror``.
    """
    try:
        found = _addresses(host, port, socket.AI_NUMERICHOST)
    except OSError:
        return _lookups.add(partial(_addresses, host, port))
    result: Future[Sequence[AddressInfo]] = Future()
    result.set_result(found)
    return result


def look_up_proxy(endpoint: Endpoint) -> Future[Proxy | None]:
    """Find out which proxy to dial for an endpoint, as ``proxy_for`` says.

    The future is done at once where only the environment counts. Windows and macOS are asked for
    their settings in a thread, since that may look names up: see ``look_up``.
    """
    if endpoint.is_tls and sys.platform in {"darwin", "win32"}:
        return _lookups.add(partial(proxy_for, endpoint))
    result: Future[Proxy | None] = Future()
    _do(partial(proxy_for, endpoint), result)
    return result


def _addresses(host: str, port: int, flags: int = 0) -> Sequence[AddressInfo]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        pass
    else:
        families: dict[socket.AddressFamily, list[AddressInfo]] = {}
        for address in found:
            families.setdefault(address[0], []).append(address)
        turns = chain.from_iterable(zip_longest(*families.values()))
        return [address for address in turns if address is not None]
    raise socket.gaierror(socket.EAI_NONAME, "no host can have this name")
