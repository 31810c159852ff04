"""An account, or a feed of market data, as a node follows it at the exchange."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias, cast

from topone_proto import FeedMetrics
from topone_proto.account import AccountSession, Snapshot
from topone_proto.adapters import AsyncStateStore
from topone_relay._entry import AccountEntry

__all__ = ["Followed", "OpenEntry", "Tell", "open_entry"]

Tell: TypeAlias = Callable[[tuple[Any, ...]], object]
"""Takes the events of each step."""


class Followed(Protocol):
    """An account that is open."""

    def snapshot(self) -> Snapshot | None:
        """Return the account as the latest step has left it; None while it is not whole. Empty for
        market data."""
        ...

    @property
    def is_whole(self) -> bool | None:
        """True if all of the account is known; None of market data."""
        ...

    def metrics(self) -> FeedMetrics | None:
        """Return the metrics of the feed; None without any."""
        ...

    async def run(self) -> None:
        """Return when it is closed.

        Raises:
            FeedFailed: it ended by itself.
        """
        ...


OpenEntry: TypeAlias = Callable[
    [AccountEntry, AsyncStateStore, Tell], AbstractAsyncContextManager[Followed]
]
"""Opens an account for the length of a block, and tells the events of its steps."""


class _Followed:
    def __init__(self, handle: Any, machine: AccountSession | None) -> None:
        self._handle = handle
        self._machine = machine

    def snapshot(self) -> Snapshot | None:
        # A publisher keeps the market data itself.
        return Snapshot(()) if self._machine is None else self._machine.account.snapshot()

    @property
    def is_whole(self) -> bool | None:
        return None if self._machine is None else self._machine.is_whole

    def metrics(self) -> FeedMetrics | None:
        metrics: FeedMetrics = self._handle.metrics()
        return metrics

    async def run(self) -> None:
        # The tap has told every event.
        async for _ in self._handle:
            pass


@asynccontextmanager
async def open_entry(
    entry: AccountEntry, store: AsyncStateStore, tell: Tell
) -> AsyncGenerator[Followed, None]:
    """Open an account, or a feed of market data, with ``topone_asyncio``.

    Args:
        entry: what to open, and how.
        store: where the token and the budgets of an account are kept.
        tell: takes the events of each step.
    """
    # Who only reads from a bus needs no adapter.
    import topone_asyncio  # noqa: PLC0415 - as said

    common: dict[str, Any] = {
        "url": entry.url,
        "topics": entry.topics,
        "config": entry.config,
        "origin": entry.origin,
        "insecure": entry.insecure,
    }
    if entry.is_market:
        async with topone_asyncio.open_market_feed(**common) as feed:
            feed.driver.core.tap(tell)
            yield _Followed(feed, None)
        return
    async with topone_asyncio.open_account(
        entry.credentials,
        token=entry.token,
        http_url=entry.http_url,
        account_config=entry.account_config,
        cache=store,
        **common,
    ) as account:
        core = account.driver.core
        core.tap(tell)
        yield _Followed(account, cast("AccountSession", account.driver.machine))
