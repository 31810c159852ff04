"""One thread that waits for the sockets of any number of feeds. Nothing here knows of feeds.

Theory. A *member* is what the thread works for. Whatever runs in the thread runs on behalf of one
member, while its ``turn`` is held: a readiness of a socket, a time that has come, or a call that
another thread has posted. Nothing of it may block. What it raises is that member's fault, and ends
nobody else's work.

All members of a process share one thread, but for those that want one of their own. It starts with
the first and ends with the last: ``_lock`` makes sure that none joins a thread that is about to
end.

Other threads post. Posting takes no lock, so that a signal handler may do it whatever it has
interrupted.

After a fork the child has the members, but not the thread. What it has inherited of descriptors is
closed, and only closed: the selector and the connections are shared with the parent.
"""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from heapq import heappop, heappush
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Final, Protocol, Self

__all__ = ["Bell", "IoThread", "Member", "Waiter", "may_wait", "serve"]

# Seconds to sleep at most: some platforms cannot wait for much longer than this at once.
_LONGEST: Final = 3600.0


class Member(Protocol):
    """What the I/O thread works for."""

    io: "IoThread | None"
    """The thread; set by ``serve``."""
    turn: threading.RLock
    """The lock that the thread holds while it works for this member."""
    lock: threading.RLock
    """The lock that it holds at moments within."""

    def fail(self, fault: BaseException) -> None:
        """Take a fault of the program, and end."""
        ...

    def abandon(self, *, is_forked: bool) -> None:
        """Let go of everything at once: the thread has ended, by a fault or because this is the
        child process of a fork. Nothing may be sent, and the selector not be touched."""
        ...


class IoThread:
    """A thread that waits for sockets, for times and for what other threads post."""

    def __init__(self) -> None:
        self.is_over: bool = False
        """True once the last member has left."""
        self._posted: deque[tuple[Member, Callable[..., object], tuple[object, ...]]] = deque()
        self._timers: list[tuple[float, int, Member, Callable[[], object]]] = []
        self._number = 0
        self.selector: DefaultSelector
        self._inherited: tuple[DefaultSelector | socket.socket, ...] = ()
        self._waker: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="topone-feed-io", daemon=True)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def is_here(self) -> bool:
        """True in the thread itself."""
        return self._thread is threading.current_thread()

    def serves(self, member: Member) -> bool:
        """Return True while the thread works for this member."""
        return self.is_alive and _served.get(member) is self

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, for so many seconds at most."""
        self._thread.join(max(0.0, timeout))

    def post(self, member: Member, function: Callable[..., object], *args: object) -> None:
        """Have something called in the thread. Possible in any thread, and in signal handlers."""
        self._posted.append((member, function, args))
        if (waker := self._waker) is not None:
            # It is full of such bytes, or the thread has ended.
            with suppress(OSError):
                waker.send(b".")

    def call_at(self, when: float, member: Member, function: Callable[[], object]) -> None:
        """Have something called at a time of ``time.monotonic``. In the thread only."""
        self._number += 1
        heappush(self._timers, (when, self._number, member, function))

    def leave(self, member: Member) -> None:
        """Work for a member no more. The last one ends the thread."""
        global _shared  # noqa: PLW0603 - there is one for the process
        with _lock:
            _served.pop(member, None)
            if self not in _served.values():
                self.is_over = True
                if _shared is self:
                    _shared = None

    def _run(self) -> None:
        try:
            # Made here, where no Ctrl-C comes in between.
            with DefaultSelector() as self.selector, ExitStack() as stack:
                pair = wakened, self._waker = socket.socketpair()
                self._inherited = (self.selector, *pair)
                for sock in pair:
                    stack.enter_context(sock).settimeout(0)
                self.selector.register(wakened, EVENT_READ)
                while not self.is_over:
                    self._turn(wakened)
        except BaseException as fault:  # noqa: BLE001 - nobody else is there to take it
            self.is_over = True
            for member in [it for it, io in list(_served.items()) if io is self]:
                with member.turn:
                    member.fail(fault)
                    member.abandon(is_forked=False)
                self.leave(member)

    def _turn(self, wakened: socket.socket) -> None:
        posted, timers = self._posted, self._timers
        patience = max(0.0, timers[0][0] - time.monotonic()) if timers else _LONGEST
        for key, mask in self.selector.select(0 if posted else min(patience, _LONGEST)):
            if key.data is None:
                with suppress(OSError):
                    wakened.recv(4096)
            else:
                self._call(*key.data, mask)
        # Those that are posted meanwhile wait for the next turn.
        for _ in range(len(posted)):
            member, function, args = posted.popleft()
            self._call(member, function, *args)
        now = time.monotonic()
        while timers and timers[0][0] <= now:
            _, _, member, timer = heappop(timers)
            self._call(member, timer)

    @staticmethod
    def _call(member: Member, function: Callable[..., object], *args: object) -> None:
        try:
            with member.turn:
                function(*args)
        except BaseException as fault:  # noqa: BLE001 - it is the member's, whatever it is
            with member.turn:
                member.fail(fault)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the machine has none left, or Python is ending.
        """
        self._thread.start()

    def close_inherited(self) -> None:
        """Close what this child process has of its parent's thread."""
        for thing in self._inherited:
            # A kqueue is not inherited.
            with suppress(OSError):
                thing.close()
        self._waker, self.is_over = None, True


_lock = threading.RLock()
_shared: IoThread | None = None
# All members, in the order in which they came. A copy of it is made in one go.
_served: dict[Member, IoThread] = {}


def serve(member: Member, *, alone: bool) -> None:
    """Work for a member from now on, in the thread that all share or in one of its own.

    Raises:
        RuntimeError: no thread can be started.
    """
    global _shared  # noqa: PLW0603 - as above
    with _lock:
        io = None if alone else _shared
        is_new = io is None
        member.io = io = io or IoThread()
        _served[member] = io
        if is_new:
            io.start()
            if not alone:
                _shared = io


def _after_fork() -> None:
    global _lock, _shared
    _lock, _shared = threading.RLock(), None
    for member, io in list(_served.items()):
        member.turn, member.lock = threading.RLock(), threading.RLock()
        io.close_inherited()
        member.abandon(is_forked=True)
    _served.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=_after_fork)


def may_wait() -> bool:
    """Return False if the I/O thread may need a lock that this very thread holds: in a signal
    handler that has interrupted somebody who holds it."""
    locks = [_lock]
    for member in list(_served):
        locks += (member.turn, member.lock)
    return not any(map(_is_held_here, locks))


def _is_held_here(lock: threading.RLock) -> bool:
    try:
        threading.Condition(lock).notify(0)
    except RuntimeError:
        return False
    return True


class Bell:
    """Where threads wait for news. Takes no lock that anybody waits for."""

    def __init__(self) -> None:
        self._waiting: dict[threading.Lock, None] = {}

    def ring(self) -> None:
        """Wake whoever waits."""
        while self._waiting:
            # Another thread may have woken it, or it may have left.
            with suppress(KeyError):
                self._waiting.popitem()[0].release()

    def waiter(self, timeout: float | None) -> "Waiter":
        """``with`` it, look, and ``wait`` until there may be something new to look at."""
        return Waiter(self._waiting, timeout)


class Waiter:
    """A thread that waits for a bell, for a time at most."""

    def __init__(self, waiting: dict[threading.Lock, None], timeout: float | None) -> None:
        self._waiting = waiting
        self._until = None if timeout is None else time.monotonic() + timeout
        self._lock = threading.Lock()
        self._lock.acquire()

    def __enter__(self) -> Self:
        self._waiting[self._lock] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._waiting.pop(self._lock, None)

    def wait(self) -> None:
        """Return when the bell was rung since the last look.

        Raises:
            TimeoutError: the time is over.
        """
        patience = _LONGEST
        if self._until is not None:
            patience = min(patience, self._until - time.monotonic())
            if patience <= 0:
                raise TimeoutError
        self._lock.acquire(timeout=patience)
        self._waiting[self._lock] = None
