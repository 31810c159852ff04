"""The account that an application reads and iterates over, under any event loop."""

from topone_proto.account import AccountEvent, AccountStep
from topone_proto.feed.account_core import AccountCore
from topone_proto.feed.account_driver import AccountDriver
from topone_proto.feed.account_metrics import AccountMetrics
from topone_proto.feed.account_view import AccountView
from topone_proto.feed.handle import AsyncHandle
from topone_proto.feed.http import AnyStore, Http
from topone_proto.feed.runtime import Runtime
from topone_proto.feed.waiters import Waiter
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource

__all__ = ["AsyncAccount"]


class AsyncAccount(AsyncHandle[AccountStep, AccountEvent], AccountView):
    """An open account: read it at any time, iterate over it for what changes. Made by an adapter's
    ``open_account``.

    Iterating gives changes (``OrderChanged``, ``AggregatedFill``, ``BalanceChanged``,
    ``KnowledgeChanged``, ``Resynced`` and so on), the feed's events other than updates, and reports
    about requests (``FetchFailed``, ``FetchDelayed``, ``ClockCorrected``, ``StateNotStored``). Each
    is given once, in order. An update shows itself by its changes.

    Reading never needs iterating. Until the application first iterates, what is more than
    ``SessionConfig.capacity`` is left out, the oldest first, and nothing is ever held up; a
    ``Conflated`` says how many. From then on it is as with a feed: while the application is behind,
    reading stops, and so do the questions over HTTP (``SessionConfig.delivery``).

    It ends as a feed does: iterating ends after ``Closed``, and raises ``FeedFailed`` there if it
    ended by itself, or the fault of the program that ended it, such as an exception of ``record=``,
    of the token callable's cancellation, or of a store.
    """

    def __init__(
        self,
        core: AccountCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        runtime: Runtime,
        http: Http,
        store: AnyStore,
    ) -> None:
        driver = AccountDriver(core, open_websocket, runtime, http, store)
        super().__init__(core, driver, runtime)
        AccountView.__init__(self, core)
        self._core: AccountCore[AsyncTokenSource] = core

    async def wait_until_whole(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as threads have it
        """Return once every topic that is followed is ``WHOLE``: at once if they are.

        Args:
            timeout: seconds to wait at most, 0 for not at all; None for as long as it takes.

        Raises:
            TimeoutError: it was not whole in time. It names what went wrong last, and what waits
                for a budget or the end of a block. The account goes on.
            FeedClosed: the account is closed, or was before.
            FeedFailed: the account ended by itself.
            TooManyEvents: the application iterates over the account, and more events wait than it
                may hold.

        >>> await account.wait_until_whole(60)
        """
        await self._wait(self._core.until_whole(), None, timeout)

    async def refresh(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Compare the account with the exchange's lists now, whatever back-off there is, and return
        once that is done and every topic is ``WHOLE``.

        The exchange's budgets still hold: with none left, or while the exchange blocks, this waits.
        What differs is applied and reported (``Resynced``).

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: it was not answered in time, as above. The comparison goes on.
            FeedClosed: the account is closed, or was before.
            FeedFailed: the account ended by itself.
            TooManyEvents: the application iterates over the account, and more events wait than it
                may hold.
        """
        await self._wait(*self._core.refresh(self._driver.now()), timeout)

    def give_up(self, number: int) -> None:
        """Stop asking for an order by its id, since nobody will say how it ended: the application
        decides. It is ``OutcomeUnknown`` from then on; see ``Account.give_up``.

        Raises:
            FeedClosed: the account is closed.
            FeedFailed: the account ended by itself.
        """
        self._driver.take(self._core.give_up(number, self._driver.now()))

    def order_calls_made(self, count: int = 1) -> None:
        """Count requests of the application's own that place or cancel orders or list open ones:
        the exchange has one budget for all of them, ``AccountConfig.order_calls_per_minute``."""
        self._driver.go_on(self._core.order_calls_made(count, self._driver.now()))

    def order_calls_blocked(self) -> None:
        """Send nothing about orders for ``AccountConfig.token_block`` seconds: the exchange has
        answered the application with its code 10027."""
        self._driver.go_on(self._core.order_calls_blocked(self._driver.now()))

    def metrics(self) -> AccountMetrics:
        """Return the account's counters and gauges at this moment. Cheap, and possible at any
        time."""
        return self._core.metrics(self._driver.now())

    async def _wait(self, waiter: Waiter, step: AccountStep | None, seconds: float | None) -> None:
        waiting = self._settled(waiter, step)
        if seconds is None or (step is None and waiter.is_settled):
            await waiting
        elif await self._driver.runtime.timeout(self._driver.now() + seconds, waiting):
            raise self._core.overdue(waiter.method, seconds, self._driver.now())
