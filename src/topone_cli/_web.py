"""The page of a healed account, on loopback, by aiohttp in a thread of its own.

Who may see it: this machine's programs that know the path, which is drawn anew each time and has
more than a hundred bits; otherwise every user of the machine could read the account. A page of
another site cannot: it may not read answers of another origin, and a name that it lets point to
this machine (DNS rebinding) is refused by the ``Host`` header. There is no token in it and nothing
that could be changed.
"""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from attrs import define

from topone_cli._account_view import AccountLife
from topone_cli._errors import CommandFailed
from topone_cli._events import AnyEvent
from topone_cli._output import Output
from topone_cli._snapshot import snapshot

__all__ = ["WebPage", "shown_on_page"]

_HOST: Final = "127.0.0.1"
_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
_PAUSE: Final = 0.25
"""The least time between two pictures."""
_ALIVE: Final = 5.0
"""The longest time between two signs of life."""
_TICK: Final = 1.0
"""The time between two pictures while a dial is waited for."""
_TYPES: Final = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@define(eq=False)
class _State:
    """The account as the page shows it, folded by one thread and shown by another."""

    title: Callable[[], str]
    life: AccountLife
    lock: threading.Lock
    version: int = 0

    def picture(self) -> tuple[int, str, bool]:
        """Return the version, its picture as JSON, and True while it changes by itself."""
        with self.lock:
            shown = snapshot(self.life, self.title(), time.time())
            return self.version, json.dumps(shown), self.life.retry_at is not None


class WebPage:
    """An output that shows everything on a page as well.

    Args:
        output: the other one.
        state: what the page shows.
        changed: is called after every change, in any thread.
    """

    def __init__(self, output: Output, state: _State, changed: Callable[[], object]) -> None:
        self._output = output
        self._state = state
        self._changed = changed

    def event(self, event: AnyEvent, at: float) -> None:
        """Show an event."""
        self._output.event(event, at)
        with self._state.lock:
            self._state.life.take(event, at)
            self._state.version += 1
        self._changed()

    def note(self, text: str, at: float) -> None:
        """Show a text that is no event."""
        self._output.note(text, at)
        with self._state.lock:
            self._state.life.note(text, at)
            self._state.version += 1
        self._changed()


class Server:
    """The page's server, and its thread.

    Args:
        title: the heading of the page.
        port: the TCP port; 0 for any that is free.
    """

    def __init__(self, title: Callable[[], str], port: int) -> None:
        self.state: _State = _State(title, AccountLife(), threading.Lock())
        self.url: str = ""
        """The address of the page, once it is started."""
        self._port = port
        self._path = secrets.token_hex(16)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakers: set[asyncio.Event] = set()
        self._stop: asyncio.Event | None = None
        self._is_ending = False
        self._failure: OSError | None = None
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topone page", daemon=True)

    def start(self) -> None:
        """Listen. Raises CommandFailed if that is not possible."""
        self._thread.start()
        self._is_up.wait()
        if self._failure is not None:
            self._thread.join()
            raise CommandFailed(
                f"cannot listen on {_HOST}:{self._port} for the page: "
                f"{self._failure.strerror}; use another --port, or 0 for any that is free"
            )

    def changed(self) -> None:
        """Show what has changed. Called from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """Show the last picture, and end."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._is_up.set()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(f"/{self._path}/", self._file)
        app.router.add_get(f"/{self._path}/events", self._events)
        app.router.add_get(f"/{self._path}/{{name}}", self._file)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, _HOST, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            self.url = f"http://{_HOST}:{self._port}/{self._path}/"
            self._is_up.set()
            await self._stop.wait()
            self._is_ending = True
            self._wake()
        finally:
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name, _, port = (request.headers.get("Host") or "").partition(":")
        # A browser leaves out the port of HTTP.
        if name.lower() not in _NAMES or (port or "80") != str(self._port):
            return web.Response(status=421, text="This page has another name.\n", headers=_HEADERS)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"{error.reason}\n", headers=_HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in _TYPES:
            raise web.HTTPNotFound
        text = files("topone_cli").joinpath("_page", name).read_text("utf-8")
        return web.Response(text=text, content_type=_TYPES[name], charset="utf-8", headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        waker = asyncio.Event()
        self._wakers.add(waker)
        latest = -1
        try:
            while True:
                waker.clear()
                is_last = self._is_ending
                version, text, moves = self.state.picture()
                if version != latest or moves:
                    await response.write(f"data: {text}\n\n".encode())
                    latest = version
                else:
                    await response.write(b"event: alive\ndata:\n\n")
                if is_last:
                    return response
                await self._rest(waker, _TICK if moves else _ALIVE)
        except ConnectionError:
            return response
        finally:
            self._wakers.discard(waker)

    async def _rest(self, waker: asyncio.Event, seconds: float) -> None:
        """Wait for a change, and never for less than a moment, unless it ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await waker.wait()
        if not self._is_ending:
            await asyncio.sleep(_PAUSE)


@contextmanager
def shown_on_page(
    output: Output, title: Callable[[], str], port: int, told: Callable[[str], object]
) -> Generator[Output, None, None]:
    """Give an output that shows everything on a page as well.

    Args:
        output: the other one.
        title: the heading of the page.
        port: the TCP port; 0 for any that is free.
        told: is told where the page is.

    Raises:
        CommandFailed: the port cannot be listened on.
    """
    server = Server(title, port)
    server.start()
    try:
        told(server.url)
        yield WebPage(output, server.state, server.changed)
    finally:
        server.stop()
