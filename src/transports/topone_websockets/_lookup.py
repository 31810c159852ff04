"""Name lookups in threads of their own.

``getaddrinfo`` blocks, cannot be cancelled, and hangs for as long as a name server does not answer.
Event loops run it in a pool that the whole program shares: a few lookups that hang then take that
pool away from everybody else, and keep the program from ending. The threads here belong to nobody
else, there are few of them, and no exit waits for one. A name that hangs gets only some of them,
however often it is dialled, so that other names are still looked up.
"""

import errno
import os
import socket
import ssl
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, TypeVar

from topone_proto import Endpoint
from topone_websockets._certificates import default_context
from topone_websockets._proxy import Proxy, proxy_for

__all__ = ["AddressInfo", "look_up", "look_up_context", "look_up_proxy"]

_T = TypeVar("_T")

_Place: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Place]
"""One address, as ``socket.getaddrinfo`` gives it."""

# Lookups at a time: of all names, and of one. More of them wait for their turn.
_MOST: Final = 32
_MOST_OF_ONE: Final = 4

_Name: TypeAlias = tuple[str, int]


class _Lookups:
    """The lookups of a process: those that wait, and the threads that do the others.

    While there may be more threads, whatever waits does so for one of its own name.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[_Name, Callable[[], object], Future[Any]]] = deque()
        self._threads = 0
        # How many of them are busy with each name.
        self._busy: Counter[_Name] = Counter()

    def add(self, name: _Name, look: Callable[[], _T]) -> Future[_T]:
        result: Future[_T] = Future()
        with self._lock:
            # Without those that were given up meanwhile.
            self._waiting = deque(it for it in self._waiting if not it[2].cancelled())
            if self._threads == _MOST or self._busy[name] == _MOST_OF_ONE:
                self._waiting.append((name, look, result))
                return result
            work = partial(self._work, [(name, look, result)])
            try:
                threading.Thread(target=work, name="topone-lookup", daemon=True).start()
            except RuntimeError:
                # The machine has no thread left, or Python is ending.
                pass
            else:
                self._threads += 1
                self._busy[name] += 1
                return result
        result.set_exception(OSError(errno.EAGAIN, "no thread for a name lookup"))
        return result

    def _work(self, turns: list[tuple[_Name, Callable[[], object], Future[Any]]]) -> None:
        while turns:
            name, look, result = turns.pop()
            if result.set_running_or_notify_cancel():
                _do(look, result)
            # Not kept while this thread waits for its end.
            del look, result
            with self._lock:
                self._busy -= Counter([name])
                for turn in self._waiting:
                    if self._busy[turn[0]] < _MOST_OF_ONE and not turn[2].cancelled():
                        self._waiting.remove(turn)
                        self._busy[turn[0]] += 1
                        turns.append(turn)
                        break
                else:
                    self._threads -= 1


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
        return _lookups.add((host, port), partial(_addresses, host, port))
    result: Future[Sequence[AddressInfo]] = Future()
    result.set_result(found)
    return result


def look_up_proxy(endpoint: Endpoint) -> Future[Proxy | None]:
    """Find out which proxy to dial for an endpoint, as ``proxy_for`` says.

    The future is done at once where only the environment counts. Windows and macOS are asked for
    their settings in a thread, since that may look names up: see ``look_up``.
    """
    if endpoint.is_tls and sys.platform in {"darwin", "win32"}:
        return _lookups.add((endpoint.host, endpoint.port), partial(proxy_for, endpoint))
    result: Future[Proxy | None] = Future()
    _do(partial(proxy_for, endpoint), result)
    return result


def look_up_context() -> Future[ssl.SSLContext]:
    """Find the TLS settings of a dial that was given none, as ``default_context`` says.

    A thread sees to it, since that reads files: see ``look_up``.
    """
    return _lookups.add(("", 0), default_context)


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
