"""A way to run tests of asyncio, and servers for the dials of asyncio's WebSockets."""

import asyncio
import functools
import gc
import logging
import selectors
import ssl
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, ParamSpec

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

import topone_asyncio
from topone_proto import Connect, ConnectionFailed, Endpoint, FailureKind, Token

P = ParamSpec("P")
TOKEN = "s3cret/t+k=n"  # with characters that URLs spell differently


class Clock(selectors.DefaultSelector):
    """Instead of waiting for a timer it moves the time on. Only without sockets and threads."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is going to happen any more"
        self.now += max(timeout, 0.0)
        return super().select(0)


def fake_loop() -> asyncio.AbstractEventLoop:
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]  # the one thing that differs
    return loop


def timers() -> list[asyncio.TimerHandle]:
    # There is no public way to see them.
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # as said
    return scheduled


def clean(
    *, faked: bool = False
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Run a test in asyncio's debug mode; with ``faked`` time. No task is left behind."""

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            async def main() -> None:
                asyncio.get_running_loop().slow_callback_duration = 3600
                await test(*args, **kwargs)
                assert asyncio.all_tasks() == {asyncio.current_task()}
                if faked:
                    assert not any(timer for timer in timers() if not timer.cancelled())

            with asyncio.Runner(debug=True, loop_factory=fake_loop if faked else None) as runner:
                runner.run(main())

        return run

    return decorate


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server. asyncio would leave a connection open that it is about to accept."""
    while accepting := [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__name__", "") == "_accept_connection2"
    ]:
        await asyncio.wait(accepting)
    server.close()


@asynccontextmanager
async def raw_server(
    answer: bytes, *, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[str, list[bytes]], None]:
    """A server that answers with ``answer`` and hangs up. Gives its address, and the requests."""
    requests: list[bytes] = []
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl_context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
        await stop_listening(server)
        await asyncio.gather(*handlers)


def connect_to(url: str, max_frame_size: int = 2**20, timeout: float = 10.0) -> Connect:
    return Connect(Endpoint(url), Token(TOKEN), timeout, max_frame_size)


async def failure_of(
    url: str,
    ssl_context: ssl.SSLContext | None = None,
    *,
    open_websocket: Callable[..., Any] = topone_asyncio.open_websocket,
    patience: float = 10.0,
) -> ConnectionFailed:
    """The exception of a dial that fails, which shows nothing of the token in any depth."""
    with pytest.raises(ConnectionFailed) as caught:
        async with open_websocket(
            connect_to(url, timeout=patience), lambda _: None, ssl_context=ssl_context
        ):
            pytest.fail("it is open")
    failed = caught.value
    assert failed.__cause__ is None
    assert failed.__context__ is None
    shown = "".join(
        traceback.TracebackException.from_exception(failed, capture_locals=True).format()
    )
    assert "s3cret" not in shown
    return failed


async def check_opens_nothing(
    answer: bytes,
    kind: FailureKind,
    status: int | None,
    *,
    open_websocket: Callable[..., Any] = topone_asyncio.open_websocket,
) -> None:
    """Check that a handshake with this answer fails so, and is tried once."""
    async with raw_server(answer) as (address, requests):
        failed = await failure_of(f"ws://{address}/", open_websocket=open_websocket)
    assert (failed.failure.kind, failed.failure.status) == (kind, status)
    assert len(requests) == 1


@asynccontextmanager
async def websocket_server(
    handle: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncGenerator[str, None]:
    logger = logging.Logger("unheard", logging.ERROR)  # noqa: LOG001 - it is to have no parent
    async with serve_websockets(
        handle, "127.0.0.1", 0, logger=logger, ping_interval=None, close_timeout=1
    ) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@contextmanager
def quiet(caplog: pytest.LogCaptureFixture) -> Generator[None, None, None]:
    """Fail if asyncio or aiohttp complain meanwhile, or write the token at any level."""
    caplog.set_level(logging.DEBUG)
    # What was there before is not this test's, and takes a tenth of a second to look through.
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()
    records = said(caplog)
    assert complaints(records) == []
    for spelling in (TOKEN, "s3cret"):
        assert spelling not in in_words(records)


@contextmanager
def without_proxies() -> Generator[None, None, None]:
    """Let no proxy of the machine's take part."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        yield


_OF_A_SERVER = "Error on transport creation for incoming connection"


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Everything that was logged in the test itself and since, but for what a server says of a TLS
    handshake that it is told has failed. ``caplog.records`` starts anew when the test has ended."""
    records = [*caplog.get_records("call"), *caplog.records]
    return [record for record in records if not record.getMessage().startswith(_OF_A_SERVER)]


def complaints(records: list[logging.LogRecord]) -> list[logging.LogRecord]:
    """Warnings and worse, but for what asyncio's debug mode says of a machine that is slow."""
    return [
        record
        for record in records
        if record.levelno > logging.INFO and not record.getMessage().startswith("Executing ")
    ]


def in_words(records: list[logging.LogRecord]) -> str:
    """Records as a log file has them, tracebacks included."""
    formatter = logging.Formatter("%(name)s %(message)s")
    return "\n".join(map(formatter.format, records))
