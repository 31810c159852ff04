"""The export of an account's fills: what is handed over when, and what the file is sure of.

An account that is whole knows every open order. What closed before is found in the list of finished
orders, at once and once more after ``_HISTORY_LAG``, since the exchange may enter an order there
late. Only then the file is sure of that moment. From there on the stream tells everything, so it
grows surer as time goes by, up to the next gap. What is numbered later may be told earlier by a
moment, so the latest number is one of ``_TICK`` seconds ago.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from topone_cli._exporter import Exporter
from topone_cli._fills import CatchUp, Seen
from topone_proto import ORDERS, Order
from topone_proto.account import (
    AccountEvent,
    Knowledge,
    KnowledgeChanged,
    OrderChanged,
    OutcomeUnknown,
)

__all__ = ["Bookkeeper"]

_HISTORY_LAG: Final = 120.0
_TICK: Final = 30.0


class _History(Protocol):
    is_blocked: bool

    def begin(self, way: CatchUp, done: Callable[[CatchUp], object], wait: float = 0.0) -> None: ...


class Bookkeeper:
    """Takes every event of an account, in the thread or task that follows it.

    Args:
        exporter: what writes.
        historian: what reads the finished orders.
        seen: what the file is sure of at the start.
        note: is told what may be missing in the file.
    """

    def __init__(
        self,
        exporter: Exporter,
        historian: _History,
        seen: Seen | None,
        note: Callable[[str], object],
    ) -> None:
        self._exporter = exporter
        self._historian = historian
        self._sure = seen
        self._note = note
        self._lock = threading.Lock()
        self._latest = 0
        self._open: set[int] = set()
        self._is_sure = False
        """True from the end of a catch-up to the next gap."""
        self._round = 0
        self._tick: tuple[float, int] = (float("-inf"), 0)

    def take(self, event: AccountEvent, account: Any) -> None:
        """Take an event in."""
        if self._historian.is_blocked:
            self._historian.is_blocked = False
            account.order_calls_blocked()
        match event:
            case OrderChanged(after=order, healed=healed):
                self._exporter.take(order, healed=healed)
                self._changed(order)
            case OutcomeUnknown(order=order):
                with self._lock:
                    self._open.discard(order.id)
            case KnowledgeChanged(topic=topic, after=after) if topic == ORDERS:
                if after is Knowledge.WHOLE:
                    account.order_calls_made(1)
                    self._catch_up()
                else:
                    self._lose()
            case _:
                pass

    def end(self) -> None:
        """Take note of how far the file is sure, before it is closed."""
        with self._lock:
            if self._is_sure and self._tick[1]:
                self._be_sure(self._tick[1], frozenset(self._open))

    def _changed(self, order: Order) -> None:
        with self._lock:
            (self._open.discard if order.is_closed else self._open.add)(order.id)
            self._latest = max(self._latest, order.id)
            now = time.monotonic()
            if self._is_sure and now >= self._tick[0] + _TICK:
                if self._tick[1]:
                    self._be_sure(self._tick[1], frozenset(self._open))
                self._tick = now, self._latest

    def _lose(self) -> None:
        with self._lock:
            self._is_sure = False
            self._round += 1

    def _catch_up(self) -> None:
        with self._lock:
            self._round += 1
            self._start(self._round, Seen(self._latest, frozenset(self._open)), is_last=False)

    def _start(self, number: int, whole: Seen, *, is_last: bool) -> None:
        """Read the finished orders up to the moment at which the account was ``whole``."""

        def done(way: CatchUp) -> None:
            with self._lock:
                if number == self._round:
                    self._caught_up(number, way, whole, is_last=is_last)

        wait = _HISTORY_LAG if is_last else 0.0
        self._historian.begin(CatchUp(self._sure, whole.open), done, wait)

    def _caught_up(self, number: int, way: CatchUp, whole: Seen, *, is_last: bool) -> None:
        is_new = self._sure is None
        if not (is_last or is_new):
            self._start(number, whole, is_last=True)
            return
        for order in sorted(way.missing):
            self._note(
                f"order {order} was open when the file was last written, and is neither open nor "
                "among the finished ones: what was filled of it since may be missing in the file"
            )
        if way.unreadable:
            self._note(
                f"{way.unreadable} finished orders could not be read: their fills may be missing "
                "in the file"
            )
        # A new file begins here, with the latest order that there is.
        latest = max(whole.latest, way.latest if is_new else 0)
        self._be_sure(latest, whole.open | self._open)
        self._is_sure = True
        self._tick = time.monotonic(), whole.latest

    def _be_sure(self, latest: int, is_open: frozenset[int]) -> None:
        latest = max(latest, 0 if self._sure is None else self._sure.latest)
        seen = Seen(latest, is_open)
        if seen != self._sure:
            self._sure = seen
            self._exporter.sure_of(seen)
