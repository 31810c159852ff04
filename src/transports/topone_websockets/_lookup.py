"""Name lookups in threads of their own.

``getaddrinfo`` blocks, cannot be cancelled, and hangs for as long as a name server does not answer.
Event loops run it in a pool that the whole program shares: a few lookups that hang then take that
pool away from everybody else, and keep the program from ending. The threads here belong to nobody
else, and no exit waits for one.

At most two threads look the same name up at the same time. Whoever asks meanwhile gets the answer
of the one that is done first. So a name that hangs holds no other up, however often it is dialled,
and there are no more than two threads for each name that the program uses.
"""

import errno
import os
import socket
import ssl
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, TypeVar

from topone_proto import ConnectionFailed
from topone_proto.adapters import Address
from topone_websockets._certificates import default_context
from topone_websockets._proxy import Proxy, proxy_for

__all__ = ["AddressInfo", "call_in_thread", "look_up", "look_up_context", "look_up_proxy"]

_T = TypeVar("_T")

_Place: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Place]
"""One address, as ``socket.getaddrinfo`` gives it."""

# Threads for the same name at a time. One would not do: a lookup that hangs may do so for longer
# than the trouble of the name server lasts.
_MOST: Final = 2


class _Lookups:
    """The lookups of a process: threads by name, and the futures that wait for their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: Counter[Hashable] = Counter()
        self._waiting: defaultdict[Hashable, list[Future[Any]]] = defaultdict(list)

    def add(self, name: Hashable, look: Callable[[], _T]) -> Future[_T]:
        result: Future[_T] = Future()
        with self._lock:
            # Without those that were given up meanwhile.
            waiting = [it for it in self._waiting[name] if not it.cancelled()]
            self._waiting[name] = [*waiting, result]
            if self._threads[name] == _MOST:
                return result
            self._threads[name] += 1
        thread = threading.Thread(target=self._look, args=(name, look), name="topone-lookup")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:
            # The machine has no thread left, or Python is ending.
            self._end(name, lambda it: it.set_exception(OSError(errno.EAGAIN, "no thread")))
        return result

    def _look(self, name: Hashable, look: Callable[[], object]) -> None:
        try:
            found = look()
        except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
            self._end(name, partial(_set_exception, error))
        else:
            self._end(name, lambda it: it.set_result(found))

    def _end(self, name: Hashable, settle: Callable[[Future[Any]], object]) -> None:
        """End a thread of a name, and settle what waits for it."""
        with self._lock:
            waiting = self._waiting.pop(name, [])
            self._threads[name] -= 1
            self._threads += Counter()  # without those that are 0
        for result in waiting:
            if result.set_running_or_notify_cancel():
                settle(result)


def _set_exception(error: BaseException, result: Future[Any]) -> None:
    result.set_exception(error)


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
    the future's callbacks. Cancel the future to give a lookup up.

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


def look_up_proxy(endpoint: Address) -> Future[Proxy | None]:
    """Find out which proxy to dial for an endpoint, as ``proxy_for`` says.

    The future is done at once where only the environment counts. Windows and macOS are asked for
    their settings in a thread, since that may look names up: see ``look_up``.
    """
    if endpoint.is_tls and sys.platform in {"darwin", "win32"}:
        return _lookups.add(endpoint.url, partial(proxy_for, endpoint))
    result: Future[Proxy | None] = Future()
    try:
        result.set_result(proxy_for(endpoint))
    except ConnectionFailed as error:
        result.set_exception(error)
    return result


def look_up_context() -> Future[ssl.SSLContext]:
    """Find the TLS settings of a dial that was given none, as ``default_context`` says.

    A thread sees to it, since that reads files: see ``look_up``.
    """
    return _lookups.add(default_context, default_context)


def call_in_thread(function: Callable[[], _T]) -> Future[_T]:
    """Call a function that may block, in a thread of its own that no exit waits for.

    The thread runs the future's callbacks. Cancel the future to wait no longer: the function goes
    on. An ``OSError`` of the future may say that there is no thread.
    """
    return _lookups.add(object(), function)


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
