"""The content of a healed account's screen and page: a pure fold of what an account tells."""

from collections import deque
from typing import Final, TypeVar

from attrs import Factory, define

from topone_cli._account_words import differences_in_words
from topone_cli._events import AnyEvent
from topone_cli._format import printable, word
from topone_cli._life import KEPT, Life, Line
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Closed,
    Disconnected,
    Gap,
    Order,
    TakenOver,
    Topic,
    Unsubscribed,
    Update,
)
from topone_proto.account import (
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    FetchFailed,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
)

__all__ = ["SAID", "AccountLife"]

# Of what was missed so many are listed one by one.
_LISTED: Final = 8
SAID: Final = {
    Knowledge.UNKNOWN: "so far",
    Knowledge.STALE: "stale",
    Knowledge.WHOLE: "whole",
}
_UNLOGGED: Final = (Update, AggregatedFill, BalanceChanged, OrderChanged)

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


@define
class AccountLife(Life):
    """Everything that is shown. Times are in seconds since 1970 UTC and come from the caller."""

    fills: deque[AggregatedFill] = Factory(lambda: deque[AggregatedFill](maxlen=KEPT))
    """The latest first."""
    missed: int = 0
    """The number of changes that the stream had not told, after the first whole picture."""
    alarms: int = 0
    """The number of those that an audit found, on a connection that was never lost."""
    unknown_outcomes: dict[int, Order] = Factory(dict[int, Order])
    """The orders of which nobody says how they ended, by id."""
    _knowledge: dict[Topic, Knowledge] = Factory(dict[Topic, Knowledge])
    _was_whole: set[Topic] = Factory(set[Topic])
    _balances: dict[str, Balance] = Factory(dict[str, Balance])
    _orders: dict[int, Order] = Factory(dict[int, Order])
    """Open ones, and those of an unknown status; the latest changed last."""
    _closed: dict[int, Order] = Factory(dict[int, Order])
    """The latest last."""
    _told: set[int | str] = Factory(set[int | str])
    """The rows that were told since the present subscription began."""
    _doubts: set[int | str] = Factory(set[int | str])
    """The rows that something contradicts."""
    _by_http: set[int | str] = Factory(set[int | str])
    """The rows that an answer over HTTP has told last."""

    @property
    def life(self) -> Life:
        """The life of the feed: this."""
        return self

    @property
    def titles(self) -> tuple[str, str, str]:
        """The headings above balances, closed orders and open orders: how far each is known."""
        balances, orders = (SAID[self.knowledge(topic)] for topic in (BALANCE, ORDERS))
        return f"Balances, {balances}", "Closed orders seen", f"Open orders, {orders}"

    def knowledge(self, topic: Topic) -> Knowledge:
        """Return how far a topic can be trusted."""
        return self._knowledge.get(topic, Knowledge.UNKNOWN)

    def balances(self) -> list[Balance]:
        """Return the balances by asset."""
        return [self._balances[asset] for asset in sorted(self._balances)]

    def open_orders(self) -> list[Order]:
        """Return open orders, the latest changed first, those of an unknown status before all."""
        latest = list(self._orders.values())[::-1]
        return sorted(latest, key=lambda order: order.is_open)

    def closed_orders(self) -> list[Order]:
        """Return orders that are not open, the latest first, those of an unknown outcome before
        all."""
        return [*reversed(self.unknown_outcomes.values()), *reversed(self._closed.values())]

    def status_of(self, order: Order) -> str:
        """Return the status of an order in words."""
        return "outcome unknown" if order.id in self.unknown_outcomes else word(order.status)

    def is_current(self, name: int | str) -> bool:
        """Return True if an order, by id, or a balance, by asset, is right."""
        return name not in self._doubts and (name in self._told or name in self._closed)

    def told_by(self, name: int | str) -> str:
        """Return who told a row last."""
        return "HTTP" if name in self._by_http else "stream"

    def facts(self, at: float) -> list[str]:
        """Return what the header says first."""
        del at
        counts = {
            "alarms": self.alarms,
            "unknown outcomes": len(self.unknown_outcomes),
            "missed": self.missed,
        }
        return [f"{name} {count}" for name, count in counts.items() if count]

    def take(self, event: AnyEvent, at: float) -> None:
        """Fold in an event that came at ``at``."""
        super().take(event, at)
        match event:
            case OrderChanged(after=order, healed=healed):
                self._put(order)
                self._mark(order.id, healed=healed)
            case BalanceChanged(after=balance, healed=healed):
                self._balances[balance.asset] = balance
                self._mark(balance.asset, healed=healed)
            case AggregatedFill():
                self.fills.appendleft(event)
            case BalanceUnlisted(before=balance):
                self._balances.pop(balance.asset, None)
            case OutcomeUnknown(order=order):
                self._orders.pop(order.id, None)
                self._closed.pop(order.id, None)
                _add(self.unknown_outcomes, order.id, order)
            case MovedBackwards(kept=kept):
                self._doubts.add(kept.id if isinstance(kept, Order) else kept.asset)
            case Disconnected() | TakenOver() | Closed():
                self._told.clear()
            case Gap(topic=topic) | Unsubscribed(topic=topic):
                self._told.difference_update(self._names(topic))
            case KnowledgeChanged(topic=topic, after=after):
                self._knowledge[topic] = after
                if after is Knowledge.WHOLE:
                    self._told.update(self._names(topic))
                    self._doubts.difference_update(self._names(topic))
            case Resynced(topic=topic, differences=differences, is_audit=is_audit):
                count = len(differences_in_words(differences))
                self.missed += count if topic in self._was_whole else 0
                self.alarms += count if is_audit else 0
                self._was_whole.add(topic)
            case _:
                pass

    def _put(self, order: Order) -> None:
        for orders in (self._orders, self._closed, self.unknown_outcomes):
            orders.pop(order.id, None)
        if order.is_closed:
            _add(self._closed, order.id, order)
        else:
            self._orders[order.id] = order

    def _mark(self, name: int | str, *, healed: bool) -> None:
        self._told.add(name)
        self._doubts.discard(name)
        (self._by_http.add if healed else self._by_http.discard)(name)

    def _names(self, topic: Topic) -> tuple[int | str, ...]:
        return tuple(self._balances) if topic == BALANCE else tuple(self._orders)

    def _log(self, event: AnyEvent, at: float) -> None:
        match event:
            case Resynced(topic=topic, differences=differences, is_audit=is_audit):
                name = "Resynced"
                words = differences_in_words(differences)
                if topic not in self._was_whole:
                    self.log.append(Line(at, name, f"{topic}: the first whole picture"))
                    return
                text = f"{len(words)} missed" if words else "nothing was missed"
                how = "an audit found" if is_audit else "whole again"
                self.log.append(Line(at, name, f"{topic}: {how}, {text}"))
                for missed in words[:_LISTED]:
                    self.log.append(Line(at, "Missed", printable(missed)))
                if len(words) > _LISTED:
                    self.log.append(Line(at, "Missed", f"and {len(words) - _LISTED} more"))
            case KnowledgeChanged(after=Knowledge.WHOLE):
                pass  # the next line says it
            case FetchFailed():
                super()._log(event, at)
                line = self.log.pop()
                if self.log and (self.log[-1].name, self.log[-1].text) == (line.name, line.text):
                    line = Line(at, line.name, line.text, self.log.pop().times + 1)
                self.log.append(line)
            case _ if not isinstance(event, _UNLOGGED):
                super()._log(event, at)
            case _:
                pass


def _add(rows: dict[_Key, _Row], key: _Key, row: _Row) -> None:
    """Add a row as the latest, and forget the oldest of too many."""
    rows.pop(key, None)
    rows[key] = row
    if len(rows) > KEPT:
        del rows[next(iter(rows))]
