"""Single questions over HTTP, for the commands that ask one after the other."""

import asyncio
import ssl
import threading
from typing import Final

from topone_asyncio._http import open_http
from topone_proto import ConnectionFailed, Failure, FailureKind
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.http import HttpRequest, HttpResponse

__all__ = ["Fetcher", "fetch"]


def fetch(
    endpoint: HttpEndpoint,
    request: HttpRequest,
    timeout: float,
    ssl_context: ssl.SSLContext | None = None,
) -> HttpResponse:
    """Send a request and return the whole answer, whatever its status is.

    Args:
        endpoint: where to.
        request: the question.
        timeout: seconds that it may take.
        ssl_context: for a private CA.

    Raises:
        ConnectionFailed: there is no answer; its ``failure`` says why.
    """
    return Fetcher(endpoint, ssl_context).fetch(request, timeout)


class Fetcher:
    """Requests of one thread, one at a time, which another thread can end."""

    def __init__(self, endpoint: HttpEndpoint, ssl_context: ssl.SSLContext | None = None) -> None:
        self._endpoint = endpoint
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._is_aborted = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[object]] | None = None

    def fetch(self, request: HttpRequest, timeout: float) -> HttpResponse:
        """Send a request; see ``fetch``. Raises ConnectionFailed, also once it is aborted."""
        try:
            return asyncio.run(self._ask(request, timeout))
        except asyncio.CancelledError:
            raise ConnectionFailed(_ABORTED) from None

    def abort(self) -> None:
        """End the request that is under way, and let none begin any more. For any thread."""
        with self._lock:
            self._is_aborted = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)

    async def _ask(self, request: HttpRequest, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - in seconds, as everywhere
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # this one
        with self._lock:
            if self._is_aborted:
                raise ConnectionFailed(_ABORTED)
            self._running = loop, task
        client = open_http(self._endpoint, self._ssl_context)
        try:
            async with asyncio.timeout(timeout):
                return await client.fetch(request)
        except TimeoutError:
            detail = f"no answer within {timeout:g} s"
            raise ConnectionFailed(Failure(FailureKind.TIMEOUT, detail)) from None
        finally:
            with self._lock:
                self._running = None
            await client.aclose()


_ABORTED: Final = Failure(FailureKind.LOST, "it was ended before there was an answer")
