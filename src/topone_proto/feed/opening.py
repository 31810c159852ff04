"""``open_feed``, written once for all adapters, and the block in which a feed is open."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from topone_proto.feed.async_feed import AsyncFeed
from topone_proto.feed.core import FeedCore
from topone_proto.feed.handle import HandleCore, OpenHandle
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource, Token, conceal
from topone_proto.session.address import Headers
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import DEFAULT_URL, PUBLIC_URL
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic

if TYPE_CHECKING:
    import ssl

__all__ = ["FeedFactory", "FeedOpener", "run_feed", "run_handle"]

_Source = TypeVar("_Source", bound=Callable[..., object])
_Open = TypeVar("_Open")
_Block = TypeVar("_Block")
_Handle = TypeVar("_Handle", bound=OpenHandle)


class FeedOpener(Generic[_Source, _Open, _Block]):
    """The functions of an adapter that open feeds, with the same arguments in every adapter.

    An adapter makes one and exports its bound methods. The type arguments are what differs: the
    callable that supplies tokens, the one that opens a WebSocket, and the context manager that is
    returned.

    Args:
        run: makes the context manager of a feed, from its core, ``open_websocket=`` and
            ``ssl_context=``.
        jitter: uniform random numbers in [0, 1), such as ``random.random``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``.
    """

    def __init__(
        self,
        run: "Callable[[FeedCore[_Source], _Open | None, ssl.SSLContext | None], _Block]",
        *,
        jitter: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._run = run
        self._jitter = jitter
        self._wall = wall

    def open_feed(
        self,
        *,
        token: str | Token | _Source,
        url: str = DEFAULT_URL,
        topics: Iterable[Topic] = (BALANCE, ORDERS),
        config: SessionConfig | None = None,
        origin: str | None = None,
        insecure: bool = False,
        headers: Headers = (),
        ssl_context: "ssl.SSLContext | None" = None,
        open_websocket: _Open | None = None,
        record: Callable[[str], object] | None = None,
    ) -> _Block:
        """Open a feed of an account's updates for the length of a ``with`` block, ``async with`` in
        an async framework.

        Args:
            token: the API token, or a callable that is asked for one before every dial. It may be
                async where the feed is.
            url: where to dial, without the token.
            topics: what to subscribe to from the start.
            config: timeouts, limits, back-off and delivery.
            origin: the ``Origin`` header: None leaves it out, ``""`` sends it empty.
            insecure: True allows plain ``ws://`` to other machines.
            headers: more headers for the handshake, by name; a ``User-Agent`` replaces
                ``topone-proto/<version>``, and None there leaves it out.
            ssl_context: for a private CA; the default checks certificates against the system's.
            open_websocket: another WebSocket library, or none at all; see ``OpenAsyncWebSocket``.
                That of ``topone_threads`` runs in the I/O thread, as under asyncio.
            record: takes each line of a recording (``topone_proto.capture``), such as a file's
                ``write``; None records nothing.

        Raises:
            ConfigurationError: the token, the URL, the origin or a header cannot be used.
        """
        token, url = conceal(token, url)
        common = self._common(url, topics, config, origin, insecure, headers, record)
        return self._run(FeedCore(token=token, **common), open_websocket, ssl_context)

    def open_market_feed(
        self,
        *,
        topics: Iterable[Topic],
        url: str = PUBLIC_URL,
        config: SessionConfig | None = None,
        origin: str | None = None,
        insecure: bool = False,
        headers: Headers = (),
        ssl_context: "ssl.SSLContext | None" = None,
        open_websocket: _Open | None = None,
        record: Callable[[str], object] | None = None,
    ) -> _Block:
        """Open a feed of market data for the length of a ``with`` block, ``async with`` in an async
        framework. It needs no token; its events, gaps and promises are those of any feed.

        Args:
            topics: what to subscribe to from the start, as ``kline``, ``depth`` and ``deals`` make
                it.
            url: where to dial.
            config: timeouts, limits, back-off and delivery.
            origin: the ``Origin`` header, as for ``open_feed``.
            insecure: True allows plain ``ws://`` to other machines.
            headers: more headers for the handshake, as for ``open_feed``.
            ssl_context: for a private CA; the default checks certificates against the system's.
            open_websocket: another WebSocket library, as for ``open_feed``.
            record: takes each line of a recording; None records nothing.

        Raises:
            ConfigurationError: a topic is not market data, or the URL, the origin or a header
                cannot be used.
        """
        _, url = conceal("", url)
        common = self._common(url, topics, config, origin, insecure, headers, record)
        return self._run(FeedCore(token=None, **common), open_websocket, ssl_context)

    def _common(
        self,
        url: str,
        topics: Iterable[Topic],
        config: SessionConfig | None,
        origin: str | None,
        insecure: bool,  # noqa: FBT001 - in the order of the functions above
        headers: Headers,
        record: Callable[[str], object] | None,
    ) -> dict[str, Any]:
        """Return the arguments that every core takes."""
        return {
            "url": url,
            "topics": topics,
            "config": config,
            "origin": origin,
            "insecure": insecure,
            "headers": headers,
            "jitter": self._jitter,
            "record": record,
            "wall": self._wall,
        }


class FeedFactory(
    FeedOpener[AsyncTokenSource, OpenAsyncWebSocket, AbstractAsyncContextManager[AsyncFeed]]
):
    """The functions of an async adapter that open feeds.

    Args:
        open_runtime: makes an async context manager around the tasks of a feed.
        open_websocket: makes the default ``open_websocket``, from the TLS settings or None.
        jitter: uniform random numbers in [0, 1), such as ``random.random``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``.
    """

    def __init__(
        self,
        open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
        open_websocket: "Callable[[ssl.SSLContext | None], OpenAsyncWebSocket]",
        *,
        jitter: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        def run(
            core: FeedCore[AsyncTokenSource],
            given: OpenAsyncWebSocket | None,
            ssl_context: "ssl.SSLContext | None",
        ) -> AbstractAsyncContextManager[AsyncFeed]:
            return run_feed(open_runtime, core, given or open_websocket(ssl_context))

        super().__init__(run, jitter=jitter, wall=wall)


def run_feed(
    open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
    core: FeedCore[AsyncTokenSource],
    open_websocket: OpenAsyncWebSocket,
) -> AbstractAsyncContextManager[AsyncFeed]:
    """Run a feed for the length of an ``async with`` block.

    What the block raises comes out as it is, in no ``ExceptionGroup``, and goes before a fault of
    the feed. A fault that nobody was given is raised by the end of the block.
    """
    return run_handle(open_runtime, core, lambda runtime: AsyncFeed(core, open_websocket, runtime))


@asynccontextmanager
async def run_handle(
    open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
    core: HandleCore[Any],
    make: Callable[[Runtime], _Handle],
) -> AsyncGenerator[_Handle, None]:
    """Run a feed or an account for the length of an ``async with`` block; see ``run_feed``.

    Args:
        open_runtime: makes an async context manager around its tasks.
        core: its core.
        make: makes the handle that the application has.
    """
    error: BaseException | None = None
    fault: BaseException | None = None
    is_finished = False
    try:
        async with open_runtime() as runtime:
            handle = make(runtime)
            try:
                with runtime.block():
                    yield handle
            except BaseException as raised:  # noqa: BLE001 - raised below, in no ExceptionGroup
                error = raised
                # Here, so that a cancellation meanwhile has the error as its context.
                fault = await _finished(handle, core, runtime)
            else:
                fault = await _finished(handle, core, runtime)
            is_finished = True
    except BaseException:
        # The tasks were cancelled from outside. An error of the application goes before that.
        if error is None or not is_finished:
            raise
        raise error from None
    else:
        error = error or fault
        if error is not None:
            raise error
    finally:
        del error, fault  # no cycle of the exception and this frame


async def _finished(
    handle: OpenHandle, core: HandleCore[Any], runtime: Runtime
) -> BaseException | None:
    """Close a feed or an account. Returns a fault of it that nobody was given yet."""
    try:
        await runtime.finish(handle.close())
    except BaseException as fault:
        if fault is not core.fault:
            raise
        return fault
    return None
