"""HTTP servers on loopback that answer as they are told, and the two clients that ask them."""

import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import attrs
import pytest
import trio

import topone_asyncio._http
import topone_trio._http
from dials import stop_listening
from topone_accounts import HttpClient
from topone_proto import ConnectionFailed, Credentials, Failure, Token
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_proto.wire.requests import balances_request, token_request

T = TypeVar("T")

SECRET = "topapi:t0p-s3cr3t"
QUESTION = balances_request(Token(SECRET))
FOR_TOKEN = token_request(Credentials("app", "key"), random=123456, time=1570499640)

PATIENCE: Final = 20.0
"""Seconds after which something that should have come has not: a failure, never a pass."""


class Caller:
    """One connection, as the server sees it."""

    def __init__(
        self,
        number: int,
        server: "Server",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self._server = server
        self._reader = reader
        self._writer = writer

    async def hear(self) -> None:
        """Take a request."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._server.requests.append((self.number, head))

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_end(self) -> None:
        """Return once the client has hung up."""
        while await self._reader.read(65536):
            pass

    def reset(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Caller], Awaitable[None]]


class Server:
    """A server, and the requests that it has heard."""

    def __init__(self) -> None:
        self.port = 0
        self.is_tls = False
        self.requests: list[tuple[int, bytes]] = []
        """Numbers of connections, and the heads of the requests that they brought."""
        self.connections = 0
        self.open = 0
        """Connections that have not ended."""
        self.names: list[str | None] = []
        """The names that clients of TLS have asked for."""

    def endpoint(self, host: str = "127.0.0.1", **settings: Any) -> HttpEndpoint:
        return HttpEndpoint(f"http{'s' if self.is_tls else ''}://{host}:{self.port}", **settings)

    @property
    def heads(self) -> list[bytes]:
        return [head for _, head in self.requests]


@contextmanager
def serving(
    script: Script, ssl_context: ssl.SSLContext | None = None
) -> Generator[Server, None, None]:
    """Run a server in a thread. Each connection goes by the script, then it is closed."""
    server = Server()
    server.is_tls = ssl_context is not None
    started: Future[Callable[[], object]] = Future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.open += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await script(Caller(server.connections, server, reader, writer))
        finally:
            server.open -= 1
            writer.close()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(reader, writer))
            tasks.add(task)

        listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=ssl_context)
        server.port = listener.sockets[0].getsockname()[1]
        started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await stop_listening(listener)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    if ssl_context is not None:
        ssl_context.sni_callback = lambda _, name, __: server.names.append(name)
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    stop = started.result(PATIENCE)
    try:
        yield server
    finally:
        stop()
        thread.join(PATIENCE)


def saying(*answers: bytes, keeps_open: bool = True) -> Script:
    """Return a script that answers each request of a connection with the next of these."""

    async def script(caller: Caller) -> None:
        for answer in answers:
            await caller.hear()
            await caller.say(answer)
        if keeps_open:
            await caller.wait_for_end()

    return script


async def silence(caller: Caller) -> None:
    """Take requests, and never answer."""
    await caller.hear()
    await caller.wait_for_end()


def answer(body: bytes = b"{}", *, status: int = 200, headers: str = "") -> bytes:
    """Return a plain answer."""
    head = f"HTTP/1.1 {status} Words\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@attrs.frozen
class Library:
    """An event loop, and the client for it."""

    name: str
    open: Callable[..., HttpClient]
    run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    sleep: Callable[[float], Awaitable[None]]


def _run_asyncio(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def whole() -> T:
        asyncio.get_running_loop().slow_callback_duration = 3600
        async with asyncio.timeout(PATIENCE):
            result = await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with asyncio.Runner(debug=True) as runner:
        return runner.run(whole())


def _run_trio(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def whole() -> T:
        with trio.fail_after(PATIENCE):
            return await main()

    return trio.run(whole)


LIBRARIES: Final = (
    Library("asyncio", topone_asyncio._http.open_http, _run_asyncio, asyncio.sleep),
    Library("trio", topone_trio._http.open_http, _run_trio, trio.sleep),
)


each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.name)


def asked(
    library: Library, client: HttpClient, *requests: HttpRequest
) -> list[HttpResponse | Failure]:
    """Send requests one after the other, and close the client."""

    async def main() -> list[HttpResponse | Failure]:
        found: list[HttpResponse | Failure] = []
        for request in requests:
            try:
                found.append(await client.fetch(request))
            except ConnectionFailed as failed:
                assert failed.__cause__ is None
                assert failed.__context__ is None
                found.append(failed.failure)
        await client.aclose()
        return found

    result: list[HttpResponse | Failure] = library.run(main)
    return result


def ask(library: Library, script: Script, *requests: HttpRequest) -> list[HttpResponse | Failure]:
    with serving(script) as server:
        return asked(library, library.open(server.endpoint()), *(requests or (QUESTION,)))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)
