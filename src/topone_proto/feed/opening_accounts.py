"""``open_account``, written once for all adapters."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from topone_proto.account import AccountConfig
from topone_proto.errors import ConfigurationError
from topone_proto.feed.account_core import AccountCore
from topone_proto.feed.async_account import AsyncAccount
from topone_proto.feed.http import AnyStore, Http, MemoryStore, StateStore
from topone_proto.feed.opening import run_handle
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource, Token, conceal
from topone_proto.session.address import Headers
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import DEFAULT_URL, Endpoint, HttpEndpoint
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.http import Credentials
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.requests import DEFAULT_HTTP_URL
from topone_proto.wire.topic import Topic

if TYPE_CHECKING:
    import ssl

__all__ = ["DEFAULT_CACHE", "AccountFactory", "AccountOpener", "Cache", "run_account"]

_Source = TypeVar("_Source", bound=Callable[..., object])
_Open = TypeVar("_Open")
_Block = TypeVar("_Block")


class Cache(Enum):
    """A place for the token and the budgets that is not named by a path."""

    DEFAULT = "default"
    """A file under the user's cache directory if there is a key pair; memory otherwise."""


DEFAULT_CACHE: Final = Cache.DEFAULT
"""The default of ``cache=``."""


class AccountOpener(Generic[_Source, _Open, _Block]):
    """The function of an adapter that opens accounts, with the same arguments in every adapter.

    An adapter makes one and exports its bound method. The type arguments are those of a
    ``FeedOpener``.

    Args:
        run: makes the context manager of an account, from its core, ``open_websocket=``,
            ``ssl_context=``, the address for HTTP and the store.
        open_store: makes the store in a file, from the path, None for the default one, the key
            pair, the address for HTTP and the ``token_interval``. Called only for a file.
        jitter: uniform random numbers in [0, 1), such as ``random.random``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``.
        core: makes the core.
    """

    def __init__(
        self,
        run: Callable[
            [
                AccountCore[_Source],
                _Open | None,
                "ssl.SSLContext | None",
                HttpEndpoint,
                AnyStore,
            ],
            _Block,
        ],
        open_store: Callable[
            [str | os.PathLike[str] | None, Credentials | None, HttpEndpoint, float], StateStore
        ],
        *,
        jitter: Callable[[], float],
        wall: Callable[[], float],
        core: Callable[..., AccountCore[_Source]] = AccountCore,
    ) -> None:
        self._run = run
        self._open_store = open_store
        self._jitter = jitter
        self._wall = wall
        self._core = core

    def open_account(  # noqa: PLR0913 - each by its name, and each with a default
        self,
        credentials: Credentials | None = None,
        *,
        token: str | Token | _Source | None = None,
        url: str = DEFAULT_URL,
        http_url: str = DEFAULT_HTTP_URL,
        topics: Iterable[Topic] = (BALANCE, ORDERS),
        config: SessionConfig | None = None,
        account_config: AccountConfig | None = None,
        cache: str | os.PathLike[str] | Cache | AnyStore | None = DEFAULT_CACHE,
        origin: str | None = None,
        insecure: bool = False,
        headers: Headers = (),
        ssl_context: "ssl.SSLContext | None" = None,
        open_websocket: _Open | None = None,
        record: Callable[[str], object] | None = None,
        max_closed: int = 1000,
    ) -> _Block:
        """Open an account for the length of a ``with`` block, ``async with`` in an async framework:
        it is followed over the WebSocket, and made whole and kept so over HTTP.

        Exactly one of ``credentials`` and ``token`` is needed. From the key pair tokens are made,
        within the exchange's budget; a token of your own is used as it is.

        Args:
            credentials: the key pair of the account.
            token: the API token, or a callable that is asked for one before every dial, and for
                another one when HTTP refuses it. It may be async where the feed is, and may take
                one argument: the token that was refused, or None. It is never called twice at a
                time.
            url: where to dial, without the token.
            http_url: the base URL of the exchange's HTTP API. To be given with a ``url`` that leads
                elsewhere.
            topics: what to follow: ``BALANCE``, ``ORDERS``, or both.
            config: timeouts, limits, back-off and delivery of the feed.
            account_config: the budgets, waits and audits of the questions over HTTP.
            cache: the file in which all processes of the account keep the token and the budgets, so
                that they share them. Only its owner can read it. None keeps them in memory: then no
                other process of the account may run, and each start costs a token request. Without
                it a file under the user's cache directory if there is a key pair, memory otherwise.
                A ``StateStore`` or an ``AsyncStateStore`` keeps them wherever it likes.
            origin: the ``Origin`` header of the WebSocket: None leaves it out, ``""`` sends it
                empty.
            insecure: True allows plain ``ws://`` and ``http://`` to other machines.
            headers: more headers for the handshake and for every request over HTTP; see
                ``FeedOpener.open_feed``.
            ssl_context: for a private CA; the default checks certificates against the system's.
            open_websocket: another WebSocket library, as for ``open_feed``.
            record: takes each line of a recording of the session inside (``topone_proto.capture``).
                What is asked over HTTP is not recorded. None records nothing.
            max_closed: how many orders that are not open are remembered.

        Raises:
            ConfigurationError: there is no key pair and no token, or both; or a token, a URL, a
                topic, the origin, a header or the cache cannot be used.
            ImportError: a library is missing; it names the extra to install.

        >>> async with topone_asyncio.open_account(Credentials("id", "key")) as account:
        ...     await account.wait_until_whole()
        ...     print(account.balances().value)
        """
        source: Credentials | Token | _Source
        _, http_url = conceal("", http_url)
        if token is None:
            _, url = conceal("", url)
            if credentials is None:
                raise ConfigurationError(
                    setting="credentials",
                    problem="there is no key pair and no token",
                    remedy="pass Credentials(app_id, app_key), or token=...",
                )
            source = credentials
        else:
            token, url = conceal(token, url)
            if credentials is not None:
                raise ConfigurationError(
                    setting="credentials",
                    problem="there is a key pair and a token",
                    remedy="leave one of them out",
                )
            source = token
        http_endpoint = HttpEndpoint(http_url, insecure, headers)
        endpoint = Endpoint(url, origin, insecure, headers)
        if http_url == DEFAULT_HTTP_URL and endpoint.host != http_endpoint.host:
            # The exchange would get what is meant for another place, such as a simulator.
            raise ConfigurationError(
                setting="http_url",
                problem=f"it is the exchange's, and url leads to {endpoint.host}",
                remedy="pass http_url as well, of the same place",
            )
        core = self._core(
            source=source,
            endpoint=endpoint,
            topics=topics,
            config=config,
            account_config=account_config,
            jitter=self._jitter,
            wall=self._wall,
            record=record,
            max_closed=max_closed,
        )
        store: AnyStore
        if cache is None or (cache is DEFAULT_CACHE and credentials is None):
            store = MemoryStore()
        elif not isinstance(cache, str | os.PathLike | Cache):
            store = cache
        else:
            path = None if isinstance(cache, Cache) else cache
            interval = (account_config or AccountConfig()).token_interval
            store = self._open_store(path, credentials, http_endpoint, interval)
        return self._run(core, open_websocket, ssl_context, http_endpoint, store)


class AccountFactory(
    AccountOpener[AsyncTokenSource, OpenAsyncWebSocket, AbstractAsyncContextManager[AsyncAccount]]
):
    """The function of an async adapter that opens accounts.

    Args:
        open_runtime: makes an async context manager around the tasks of an account.
        open_websocket: makes the default ``open_websocket``, from the TLS settings or None.
        open_http: makes the HTTP client of an account, from its address and the TLS settings or
            None.
        open_store: makes the store in a file; see ``AccountOpener``.
        jitter: uniform random numbers in [0, 1), such as ``random.random``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``.
    """

    def __init__(
        self,
        open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
        open_websocket: "Callable[[ssl.SSLContext | None], OpenAsyncWebSocket]",
        open_http: "Callable[[HttpEndpoint, ssl.SSLContext | None], Http]",
        open_store: Callable[
            [str | os.PathLike[str] | None, Credentials | None, HttpEndpoint, float], StateStore
        ],
        *,
        jitter: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        def run(
            core: AccountCore[AsyncTokenSource],
            given: OpenAsyncWebSocket | None,
            ssl_context: "ssl.SSLContext | None",
            endpoint: HttpEndpoint,
            store: AnyStore,
        ) -> AbstractAsyncContextManager[AsyncAccount]:
            http = open_http(endpoint, ssl_context)
            return run_account(
                open_runtime, core, given or open_websocket(ssl_context), http, store
            )

        super().__init__(run, open_store, jitter=jitter, wall=wall)


@asynccontextmanager
async def run_account(
    open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
    core: AccountCore[AsyncTokenSource],
    open_websocket: OpenAsyncWebSocket,
    http: Http,
    store: AnyStore,
) -> AsyncGenerator[AsyncAccount, None]:
    """Run an account for the length of an ``async with`` block, as ``run_feed`` runs a feed."""

    def make(runtime: Runtime) -> AsyncAccount:
        return AsyncAccount(core, open_websocket, runtime, http, store)

    try:
        async with run_handle(open_runtime, core, make) as account:
            yield account
    finally:
        # For an account that was cancelled before it has begun.
        await http.aclose()
