"""Proxies on loopback, between an adapter and the simulator.

A fault proxy can pause, reset, swallow, crawl and refuse. HTTPS_PROXY names a CONNECT proxy.
"""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from dials import stop_listening

T = TypeVar("T")


def _abort(writer: asyncio.StreamWriter) -> None:
    # Python 3.11.2 forgets what is below TLS if a transport is closed twice.
    with suppress(AttributeError):
        writer.transport.abort()


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)

    def reset(self) -> None:
        for end in self.ends:
            # With this, closing sends RST at once, whatever is still unsent. A TLS transport that
            # has ended has no socket any more, and on some Pythons nothing to ask for it.
            with suppress(OSError, AttributeError):
                connection: socket.socket = end.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _abort(end)


_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class _Clients:
    """The connections of a server. They end with it, also those whose task has not begun."""

    def __init__(self, serve: _Serve) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    # No coroutine: one that is cancelled before its first step would leave the connection open.
    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Drop them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            _abort(writer)


class FaultProxy:
    """Calls come from the test's thread; everything happens in the proxy's own."""

    def __init__(self, target: str, ssl_context: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._ssl_context = ssl_context
        host, _, rest = target.removeprefix("ws://").partition(":")
        port, slash, self._path = rest.partition("/")
        self._path = slash + self._path
        self._target = (host, int(port))
        self._links: set[_Link] = set()
        self._clients = _Clients(self._serve)
        self._flows = asyncio.Event()
        self._flows.set()
        self._swallows = False
        self._mute = False
        self._chunk = 65536
        self._listener: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0
        self.answered = 0
        """The bytes that came from the server."""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{self._path}"

    async def listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._clients, "127.0.0.1", self.port, ssl=self._ssl_context
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, back)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer, answers=True))
        finally:
            self._links.discard(link)
            for end in link.ends:
                _abort(end)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await source.read(self._chunk):
                await self._flows.wait()
                self.answered += len(data) if answers else 0
                if not self._swallows and not (answers and self._mute):
                    sink.write(data)
                    await sink.drain()
            # TLS has no half of a connection to close.
            if sink.can_write_eof():
                sink.write_eof()
            else:
                sink.close()

    def _call(self, function: Callable[[], T]) -> T:
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function()))
        return done.result(20.0)

    def pause(self) -> None:
        """Nothing gets through, in either direction, and nothing is lost."""
        self._call(self._flows.clear)

    def resume(self) -> None:
        self._call(self._flows.set)

    def swallow(self) -> None:
        """A black hole: what is sent is taken and never arrives. Present connections stay like
        that."""
        self._swallows = True

    def mute(self) -> None:
        """Let what is sent arrive, and the answer not."""
        self._mute = True

    def heal(self) -> None:
        """New connections get through again; those that were swallowed are beyond help."""
        self._call(self._reset)
        self._swallows = self._mute = False

    def crawl(self) -> None:
        """One byte at a time, so that every frame arrives in pieces."""
        self._chunk = 1

    def reset(self) -> None:
        """Every connection gets a TCP reset."""
        self._call(self._reset)

    def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

    def refuse(self) -> None:
        """Nobody listens any more; present connections get a reset."""
        asyncio.run_coroutine_threadsafe(self._stop_listening(), self._loop).result(20.0)

    async def _stop_listening(self) -> None:
        assert self._listener is not None
        await stop_listening(self._listener)
        self._reset()

    def revive(self) -> None:
        """Listen again, at the same port."""
        asyncio.run_coroutine_threadsafe(self.listen(), self._loop).result(20.0)

    async def close(self) -> None:
        self._flows.set()
        await self._stop_listening()
        await self._clients.end()


@contextmanager
def fault_proxy(target: str, ssl_context: ssl.SSLContext | None = None) -> Iterator[FaultProxy]:
    """Run a proxy in a thread; with a context, TLS is spoken to it, and none behind it."""
    started: Future[tuple[FaultProxy, Callable[[], object]]] = Future()

    async def main() -> None:
        proxy, stop, loop = (
            FaultProxy(target, ssl_context),
            asyncio.Event(),
            asyncio.get_running_loop(),
        )
        await proxy.listen()
        started.set_result((proxy, lambda: loop.call_soon_threadsafe(stop.set)))
        await stop.wait()
        await proxy.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    proxy, stop = started.result(20.0)
    try:
        yield proxy
    finally:
        stop()
        thread.join(20.0)


class ConnectProxy:
    """An HTTP proxy that opens tunnels, or answers with these bytes and hangs up."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.url = ""
        self.requests: list[bytes] = []
        """The heads of what it was asked."""
        self.passed = b""
        """The bytes that clients sent through it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            if self._answer is None:
                await self._tunnel(request, reader, writer)
            else:
                writer.write(self._answer)
                await writer.drain()
        writer.close()

    async def _tunnel(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = request.split()[1].decode().rpartition(":")
        # Nobody but this machine has the names of tests.
        del host
        there, back = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, notes=True))
                group.create_task(self._pump(there, writer))
        finally:
            back.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, notes: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if notes:
                    self.passed += data
                sink.write(data)
                await sink.drain()
        sink.close()


@contextmanager
def connect_proxy(
    answer: bytes | None = None, ssl_context: ssl.SSLContext | None = None
) -> Iterator[ConnectProxy]:
    """Run a proxy in a thread; with a context, TLS is spoken to it."""
    proxy = ConnectProxy(answer)
    started: Future[Callable[[], object]] = Future()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        clients = _Clients(proxy.serve)
        server = await asyncio.start_server(clients, "127.0.0.1", 0, ssl=ssl_context)
        proxy.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await stop_listening(server)
        await clients.end()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    stop = started.result(20.0)
    try:
        yield proxy
    finally:
        stop()
        thread.join(20.0)
