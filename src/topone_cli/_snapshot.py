"""A healed account as plain data for its page: a pure picture. Safe to show whatever the server
sent, as long as it is shown as text."""

from collections.abc import Iterable
from typing import Any, Final

from topone_cli._account_view import SAID, AccountLife
from topone_cli._account_words import average, ordered
from topone_cli._format import clock, number, price, printable, word
from topone_cli._masks import hide_tokens
from topone_proto import BALANCE, ORDERS, Balance, Order
from topone_proto.account import AggregatedFill

__all__ = ["snapshot"]

_ROWS: Final = 200
_LINES: Final = 100
_OUTDATED: Final = "?"
_IN_ALL: Final = "*"


def snapshot(life: AccountLife, title: str, at: float) -> dict[str, Any]:
    """Return everything that the page shows at ``at``."""
    balances, orders = life.balances(), life.open_orders()
    state = life.state
    words = state
    if life.retry_at is not None:
        words = f"{state}, retry in {max(0.0, life.retry_at - at):.0f} s"
    return {
        "title": _safe(title),
        "state": state,
        "state_words": words,
        "facts": [
            *life.facts(at),
            f"epoch {life.epoch}",
            f"gaps {sum(life.gaps.values())}",
            f"anomalies {life.anomalies}",
            f"events {life.events}",
        ],
        "balances": {
            "known": SAID[life.knowledge(BALANCE)],
            "rows": [_balance(life, each) for each in balances[:_ROWS]],
        },
        "open": {
            "known": SAID[life.knowledge(ORDERS)],
            "total": len(orders),
            "rows": [_open(life, each) for each in orders[:_ROWS]],
        },
        "fills": [_fill(each) for each in life.fills],
        "closed": [_closed(life, each) for each in life.closed_orders()],
        "log": [
            [clock(line.at), line.name, _safe(_times(line.times) + line.text)]
            for line in list(life.log)[: -_LINES - 1 : -1]
        ],
    }


def _safe(text: str) -> str:
    return printable(hide_tokens(text))


def _times(times: int) -> str:
    return f"{times} times, " if times > 1 else ""


def _row(cells: Iterable[str], *, is_current: bool = True) -> dict[str, Any]:
    return {"cells": [printable(cell) for cell in cells], "unsure": not is_current}


def _balance(life: AccountLife, balance: Balance) -> dict[str, Any]:
    is_current = life.is_current(balance.asset)
    return _row(
        (
            balance.asset + ("" if is_current else _OUTDATED),
            number(balance.available),
            number(balance.freeze),
            life.told_by(balance.asset),
        ),
        is_current=is_current,
    )


def _open(life: AccountLife, order: Order) -> dict[str, Any]:
    is_current = life.is_current(order.id)
    return _row(
        (
            f"{order.id}{'' if is_current else _OUTDATED}",
            order.market,
            word(order.side),
            word(order.type),
            number(order.price) if order.price else "-",
            ordered(order),
            number(order.filled),
            average(order),
            clock(order.update_time),
            life.told_by(order.id),
        ),
        is_current=is_current,
    )


def _fill(fill: AggregatedFill) -> dict[str, Any]:
    order = fill.order
    return _row(
        (
            clock(order.update_time),
            order.market,
            word(order.side),
            number(fill.deal_stock) + (_IN_ALL if fill.since is None else ""),
            price(fill.price),
            "HTTP" if fill.healed else "stream",
        )
    )


def _closed(life: AccountLife, order: Order) -> dict[str, Any]:
    return _row(
        (
            str(order.id),
            order.market,
            word(order.side),
            life.status_of(order),
            number(order.filled),
            average(order),
        )
    )
