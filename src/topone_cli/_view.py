"""The content of an account's screen: a pure fold of events. ``_picture`` draws it."""

from collections import deque
from collections.abc import Sequence

from attrs import Factory, define

from topone_cli._describe import describe_backwards
from topone_cli._events import AnyEvent
from topone_cli._format import word
from topone_cli._life import KEPT, Life, Line
from topone_proto import (
    Balance,
    Closed,
    Order,
)
from topone_proto.account import (
    Account,
    AggregatedFill,
    Change,
    MovedBackwards,
    Report,
)

__all__ = ["View"]


@define
class View(Life):
    """Everything on the screen. Times are in seconds since 1970 UTC and come from the caller."""

    account: Account = Factory(lambda: Account(max_closed=KEPT))
    """Balances and orders, and which of them are current."""
    fills: deque[AggregatedFill] = Factory(lambda: deque[AggregatedFill](maxlen=KEPT))
    """The latest first."""
    titles: tuple[str, str, str] = ("Balances seen", "Closed orders seen", "Open orders seen")
    """The headings: what has not changed since the start is not there."""

    @property
    def life(self) -> Life:
        """The life of the feed: this."""
        return self

    def take(self, event: AnyEvent, at: float) -> None:
        """Fold in an event that came at ``at``."""
        super().take(event, at)
        # What is shown in the end is what was known when it was closed.
        if not isinstance(event, Closed | Change | Report):
            for change in self.account.apply(event):
                self._take_change(change, at)

    def balances(self) -> list[Balance]:
        """Return the balances by asset."""
        known = self.account.balances().value
        return [known[asset] for asset in sorted(known)]

    def open_orders(self) -> list[Order]:
        """Return open orders, the latest changed first, those of an unknown status before all."""
        known = self.account.open_orders().value.values()
        others = self.account.other_orders().value.values()
        return [*known, *(order for order in others if not order.is_closed)][::-1]

    def closed_orders(self) -> list[Order]:
        """Return closed orders, the latest first."""
        others = self.account.other_orders().value.values()
        return [order for order in others if order.is_closed][::-1]

    def status_of(self, order: Order) -> str:
        """Return the status of an order in words."""
        return word(order.status)

    def is_current(self, name: int | str) -> bool:
        """Return True if an order, by id, or a balance, by asset, is right."""
        return self.account.is_current(name)

    def told_by(self, name: int | str) -> None:
        """Return None: the stream has told everything."""
        del name

    def facts(self, at: float) -> Sequence[str]:
        """Return nothing to say before what every feed says."""
        del at
        return ()

    def _take_change(self, change: Change, at: float) -> None:
        match change:
            case AggregatedFill():
                self.fills.appendleft(change)
            case MovedBackwards():
                self.anomalies += 1
                self.log.append(Line(at, type(change).__name__, describe_backwards(change)))
            case _:
                pass
