"""The HTTP client: cancellations leave nothing behind, and logs have no secret."""

import asyncio
import io
import logging
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import coroutine
from typing import Any

import pytest
import trio

from http_servers import (
    FOR_TOKEN,
    QUESTION,
    SECRET,
    Caller,
    Library,
    answer,
    each_library,
    saying,
    serving,
    silence,
    wait_until,
)
from proxies import connect_proxy
from topone_accounts import HttpClient
from topone_asyncio._http import open_http
from topone_proto import ConnectionFailed
from topone_proto.testing.conformance.certificates import client_context, server_context


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- Cancellation


@coroutine
def calling_at(
    work: Coroutine[Any, Any, Any], number: int, call: Callable[[], object]
) -> Generator[Any, Any, Any]:
    """Run a coroutine, and call a function just before the one wait of this number."""
    send: Callable[[Any], Any] = work.send
    value: Any = None
    waits = 0
    while True:
        try:
            message = send(value)
        except StopIteration as end:
            return end.value
        waits += 1
        if waits == number:
            call()
        try:
            value = yield message
            send = work.send
        except BaseException as error:  # whatever it is, it is the coroutine's
            value, send = error, work.throw


async def cancelled_at(library: Library, client: HttpClient, number: int) -> bool:
    """Return True if the fetch was cancelled in its wait of this number, False if it has fewer."""
    if library.name == "trio":
        with trio.CancelScope() as scope:
            await calling_at(client.fetch(QUESTION), number, scope.cancel)
        return scope.cancelled_caught

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        await calling_at(client.fetch(QUESTION), number, task.cancel)

    task = asyncio.create_task(main())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


@each_library
@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
def test_a_fetch_that_is_cancelled_anywhere_leaves_no_socket(
    library: Library, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(caller: Caller) -> None:
        await caller.hear()
        for piece in (
            b"HTTP/1.1 100 Go\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-",
            b"Length: 2\r\n\r\n{",
        ):
            await caller.say(piece)
        await caller.say(b"}")
        await caller.wait_for_end()

    context = None if way == "plain" else server_context()
    waits = 0
    with serving(script, context) as server, connect_proxy(ssl_context=server_context()) as proxy:
        if way == "proxy":
            monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.url}")

        async def main() -> None:
            nonlocal waits
            while True:
                client = library.open(server.endpoint(), client_context())
                is_cancelled = await cancelled_at(library, client, waits + 1)
                left = len(client._open)
                await client.aclose()
                if not is_cancelled:
                    return
                waits += 1
                assert left == 0
                while server.open:
                    await library.sleep(0.001)

        library.run(main)
        wait_until(lambda: server.open == 0)
    assert waits >= 4


@each_library
def test_closing_that_is_cancelled_closes_all_the_same(library: Library) -> None:
    with serving(saying(answer())) as server:
        client = library.open(server.endpoint())

        async def main() -> None:
            await client.fetch(QUESTION)
            assert server.open == 1
            if library.name == "trio":
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await client.aclose()
            else:
                task = asyncio.create_task(client.aclose())
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            while server.open:
                await library.sleep(0.001)

        library.run(main)


def test_a_timeout_of_asyncio_is_one() -> None:
    """httpcore's locks and shields, which are anyio's, take no cancellation for themselves."""
    errors: list[str] = []
    with serving(silence) as server:

        async def main() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            for number in range(1, 5):
                client = open_http(server.endpoint())
                try:
                    async with asyncio.timeout(None) as limit:
                        fetch = client.fetch(QUESTION)
                        await calling_at(fetch, number, lambda: limit.reschedule(loop.time()))
                except TimeoutError as error:
                    errors.append(rendered(error))
                assert task.cancelling() == 0
                await client.aclose()

        asyncio.run(main())
        wait_until(lambda: server.open == 0)
    assert len(errors) == 4
    assert not any(SECRET in text for text in errors)


# --- Secrets


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger has to say at any level."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(exc_info)s"))
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in list(root.manager.loggerDict))]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    for logger, level in before:
        logger.setLevel(level)


def rendered(error: BaseException) -> str:
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format()) + repr(error) + str(error) + repr(error.__dict__)


SIGNATURE = dict(FOR_TOKEN.query)["sig"]
OF_ANSWER = "4nswer-s3cret"


@each_library
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "cut"])
def test_no_secret_is_logged_or_shown(
    library: Library, is_tls: bool, is_whole: bool, logged: io.StringIO
) -> None:
    said = answer(f'{{"token":"{OF_ANSWER}"}}'.encode(), headers=f"Set-Cookie: {OF_ANSWER}\r\n")
    shown: list[str] = []
    context = server_context() if is_tls else None
    with serving(saying(said if is_whole else said[:-1], keeps_open=False), context) as server:
        endpoint = server.endpoint(extra_headers={"X-Key": OF_ANSWER})
        client = library.open(endpoint, client_context() if is_tls else None)

        async def main() -> None:
            for request in (QUESTION, FOR_TOKEN):
                try:
                    shown.append(repr(await client.fetch(request)))
                except ConnectionFailed as failed:
                    shown.append(rendered(failed))
            shown.append(repr(client))
            shown.append(repr(client.__dict__))
            await client.aclose()

        logging.getLogger("httpcore.http11").debug("of somebody else's client")
        library.run(main)
    assert len(server.requests) == 2
    assert "of somebody else's client" in logged.getvalue()
    for text in (logged.getvalue(), *shown):
        for secret in (SECRET, SIGNATURE, OF_ANSWER, "/u/v1/api/token?"):
            assert secret not in text


@each_library
def test_an_answer_that_repeats_the_token_is_not_shown(library: Library) -> None:
    """Garbage may be a proxy's page with the whole request in it."""

    async def script(caller: Caller) -> None:
        await caller.hear()
        await caller.say(b"Authorization: " + SECRET.encode() + b"\r\n\r\n")

    with serving(script) as server:
        client = library.open(server.endpoint())
        texts: list[str] = []

        async def main() -> None:
            try:
                await client.fetch(QUESTION)
            except ConnectionFailed as failed:
                texts.append(rendered(failed))
            await client.aclose()

        library.run(main)
    [text] = texts
    assert SECRET not in text


@pytest.mark.parametrize("name", ["httpcore", "filelock", "platformdirs"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [each for each in sys.modules if each.startswith("topone_accounts")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs {name}: pip install .*\[accounts\]"):
        import topone_accounts  # noqa: F401, PLC0415 - it is about the import
