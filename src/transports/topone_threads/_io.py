"""The thread that runs an asyncio event loop for programs without one.

Theory. An I/O thread holds its lock at all times but while it waits for sockets. So another thread
that holds the lock finds everything between two steps, and may read what it likes. What is to be
changed is *posted* to the I/O thread, which no Ctrl-C interrupts. Posting takes no lock, so that a
signal handler may do it whatever it has interrupted.

All feeds of a process share one thread, but for those that ask for their own. It starts with the
first and ends with the last.

A child process of a fork has the feeds, but not the thread. It closes its copies of the thread's
descriptors and touches nothing else: the parent goes on using the connections behind them.
"""

import asyncio
import os
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from topone_threads._lock import Lock

__all__ = ["IoThread", "Tenant", "shared", "thread_for"]

_all: "WeakSet[IoThread]" = WeakSet()


class Tenant(ABC):
    """A part of the program that lives in an I/O thread, such as a feed."""

    @abstractmethod
    def fail(self, fault: BaseException) -> None:
        """End with a fault of the program. Called in the I/O thread."""

    @abstractmethod
    def abandon(self) -> None:
        """Become useless, in a forked child."""


class _Selector(selectors.DefaultSelector):
    """A selector that gives a lock back while it waits."""

    def __init__(self, held: Lock) -> None:
        super().__init__()
        self._held = held

    def select(self, timeout: float | None = None) -> Any:
        self._held.release()
        try:
            return super().select(timeout)
        finally:
            self._held.acquire()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that knows which sockets it has."""

    def __init__(self, held: Lock) -> None:
        super().__init__(_Selector(held))
        # In development mode it would report callbacks that are slow, which are not the program's.
        self.set_debug(enabled=False)
        self._dialled: WeakSet[socket.socket] = WeakSet()

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket."""
        self._dialled.add(sock)
        await super().sock_connect(sock, address)

    def abandon(self) -> None:
        """Close all descriptors, and nothing else."""
        for thing in (*vars(self).values(), *self._dialled):
            if isinstance(thing, (socket.socket, selectors.BaseSelector)):
                # A kqueue is not inherited.
                with suppress(OSError):
                    thing.close()


class IoThread(threading.Thread):
    """A thread that runs an event loop until its last tenant has left."""

    def __init__(self, held: Lock) -> None:
        super().__init__(name="topone-feed-io", daemon=True)
        self.lock: Lock = held
        self.tenants: set[Tenant] = set()
        """Those whom it serves. It ends once there is none left."""
        self.served: WeakSet[Tenant] = WeakSet()
        """Those, and all whom it has served: they still use its lock."""
        self._posted: deque[tuple[Tenant, Callable[[], object]]] = deque()
        self._loop: _Loop | None = None
        _all.add(self)

    def run(self) -> None:
        """Run the event loop."""
        with self.lock:
            # Made here, where no Ctrl-C comes in between.
            self._loop = loop = _Loop(self.lock)
            loop.call_soon(self._call_posted)
            try:
                loop.run_forever()
            except BaseException as fault:  # noqa: BLE001 - nobody else is there to take it
                for tenant in tuple(self.tenants):
                    tenant.fail(fault)
                # They end in the usual way.
                loop.run_forever()
            loop.close()

    def post(self, tenant: Tenant, function: Callable[[], object]) -> None:
        """Have something called in the thread. The tenant ends with what it raises."""
        self._posted.append((tenant, function))
        if self._loop is not None:
            # A loop that is closed has nobody left to work for.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._call_posted)

    def leave(self, tenant: Tenant) -> None:
        """Note that nothing is left of a tenant. Called in the thread."""
        self.tenants.discard(tenant)
        if not self.tenants and self._loop is not None:
            self._loop.stop()

    def abandon(self) -> None:
        """Become useless, in a forked child."""
        for tenant in self.served:
            tenant.abandon()
        if self._loop is not None:
            self._loop.abandon()

    def _call_posted(self) -> None:
        while self._posted:
            tenant, function = self._posted.popleft()
            try:
                function()
            except BaseException as fault:  # noqa: BLE001 - it ends nobody else
                tenant.fail(fault)


shared: IoThread = IoThread(Lock())
"""The thread of all that have none of their own. Its lock also guards which thread that is."""


def thread_for(*, is_alone: bool) -> IoThread:
    """Return the thread of a new tenant, who holds the lock of ``shared``. It may have to be
    started."""
    global shared  # noqa: PLW0603 - one for the process
    if is_alone:
        return IoThread(Lock())
    if not (shared.tenants and shared.is_alive()):
        shared = IoThread(shared.lock)
    return shared


def _after_fork() -> None:
    global shared  # noqa: PLW0603 - one for the process
    for io in list(_all):
        io.abandon()
    shared = IoThread(Lock())


if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=_after_fork)
