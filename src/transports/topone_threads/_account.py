"""The account for threads, which asyncio drives in the I/O thread."""

import random
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, Final

from topone_asyncio._feed import open_http, open_store, open_with
from topone_proto import FeedClosed, FeedFailed
from topone_proto.account import AccountEvent, AccountStep
from topone_proto.adapters import (
    AccountCore,
    AccountMetrics,
    AccountOpener,
    AccountView,
    AnyStore,
    HttpEndpoint,
    OpenAsyncWebSocket,
)
from topone_proto.feed.account_driver import AccountDriver
from topone_proto.feed.waiters import Waiter
from topone_threads._handle import Handle
from topone_threads._tokens import TokenSource

__all__ = ["Account", "open_account"]


class Account(Handle[AccountCore[Any], AccountEvent], AccountView):
    """An open account: read it in any thread at any time, iterate over it for what changes. Made by
    ``open_account``.

    It is an ``AsyncAccount`` for threads: what that says of iterating, of what is left out until
    then and of the end holds here. Each read sees the account between two steps, whatever the I/O
    thread does meanwhile; in a forked child it raises ``FeedFailed``.

    For the I/O thread, token callables, forks and signals see ``Feed``. In a token callable
    everything is possible but ``wait_until_whole`` and ``refresh``.
    """

    def __init__(
        self,
        core: AccountCore[Any],
        open_websocket: OpenAsyncWebSocket | None,
        ssl_context: ssl.SSLContext | None,
        endpoint: HttpEndpoint,
        store: AnyStore,
    ) -> None:
        AccountView.__init__(self, core)
        opening, http = open_websocket or open_with(ssl_context), open_http(endpoint, ssl_context)
        super().__init__(core, lambda runtime: AccountDriver(core, opening, runtime, http, store))
        self._is_iterated = False

    def wait_until_whole(self, timeout: float | None = None) -> None:
        """Return once every topic that is followed is ``WHOLE``: at once if they are.

        Raises what ``AsyncAccount.wait_until_whole`` does, and:

        Raises:
            FeedFailed: the account ended by itself, or this process was forked after it was opened.
            LocalProtocolError: the ``with`` block of the account was not entered, or this was
                called in the account's own token callable.

        >>> account.wait_until_whole(60)
        """
        if timeout is not None and timeout <= 0 and self.is_whole:
            # No call, which takes a moment.
            return
        self._ask("wait_until_whole", lambda _: (self._core.until_whole(), None), timeout)

    def refresh(self, timeout: float | None = None) -> None:
        """Compare the account with the exchange's lists now, and return once that is done and every
        topic is ``WHOLE``.

        Raises what ``AsyncAccount.refresh`` does, and what ``wait_until_whole`` does in a place
        where it cannot be called.
        """
        self._ask("refresh", self._core.refresh, timeout)

    def give_up(self, number: int) -> None:
        """Stop asking for an order by its id; see ``AsyncAccount.give_up``.

        Raises:
            FeedClosed: the account is closed.
            FeedFailed: the account ended by itself, or this process was forked after it was opened.
            LocalProtocolError: the ``with`` block of the account was not entered.
        """
        self._tell("give_up", partial(self._core.give_up, number))

    def order_calls_made(self, count: int = 1) -> None:
        """Count requests of the application's own that place or cancel orders or list open ones;
        see ``AsyncAccount.order_calls_made``."""
        with suppress(FeedClosed, FeedFailed):
            self._tell("order_calls_made", partial(self._core.order_calls_made, count))

    def order_calls_blocked(self) -> None:
        """Send nothing about orders for ``AccountConfig.token_block`` seconds; see
        ``AsyncAccount.order_calls_blocked``."""
        with suppress(FeedClosed, FeedFailed):
            self._tell("order_calls_blocked", self._core.order_calls_blocked)

    def metrics(self) -> AccountMetrics:
        """Return the counters and gauges of the account at this moment. Possible at any time but in
        a signal handler."""
        with self._lock:
            return self._core.metrics(time.monotonic())

    def _take(self) -> AccountEvent | None:
        if not self._is_iterated:
            self._refuse("get")
            with self._looking:
                self._core.begin_reading()
            self._is_iterated = True
        return super()._take()

    def _tell(self, method: str, tell: Callable[[float], AccountStep | None]) -> None:
        done = Waiter(method)
        done.settle()
        self._ask(method, lambda now: (done, tell(now)), waits=False)


_accounts: AccountOpener[TokenSource, OpenAsyncWebSocket, AbstractContextManager[Account]] = (
    AccountOpener(Account, open_store, jitter=random.random, wall=time.time)
)

open_account: Final = _accounts.open_account
"""Open an account; see ``AccountOpener.open_account``."""
