"""Changes of an account and reports about its questions in words, one line each. Pure."""

from collections.abc import Iterable
from typing import Final

from topone_cli._errors import in_options
from topone_cli._format import number, price, printable, word
from topone_proto import Order
from topone_proto.account import (
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    Change,
    ClockCorrected,
    DelayCause,
    Difference,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Report,
    Resynced,
    StateNotStored,
)
from topone_proto.models import Side
from topone_proto.wire.orders import OrderType

__all__ = [
    "average",
    "describe_backwards",
    "describe_change",
    "describe_order",
    "differences_in_words",
    "ordered",
]

_QUESTIONS: Final = {
    FetchKind.TOKEN: "a new token",
    FetchKind.BALANCES: "balances",
    FetchKind.OPEN_ORDERS: "open orders",
    FetchKind.HISTORY: "finished orders",
}
_CAUSES: Final = {
    DelayCause.BUDGET: "so many were asked for a moment ago that the exchange allows none now",
    DelayCause.BACKOFF: "the latest requests came to nothing",
    DelayCause.BLOCK: "the exchange blocks such requests for a while",
}
_KNOWN: Final = {
    Knowledge.UNKNOWN: "not known yet",
    Knowledge.STALE: "may be outdated",
    Knowledge.WHOLE: "whole",
}


def describe_change(change: Change | Report) -> str:
    """Return a change or a report in words, without its name."""
    match change:
        case KnowledgeChanged(topic=topic, before=before, after=after):
            return f"{topic}: {_KNOWN[after]} (before: {_KNOWN[before]})"
        case Resynced(topic=topic, differences=differences, is_audit=is_audit):
            told = ", ".join(differences_in_words(differences)) or "nothing was missed"
            since = "an audit found what the stream left out" if is_audit else "whole, HTTP told"
            return f"{topic}: {since}: {told}"
        case MovedBackwards():
            return describe_backwards(change)
        case FetchFailed(kind=kind, problem=problem, retry_in=wait):
            again = "not asked again" if wait is None else f"asked again in {wait:.0f} s"
            return f"{_QUESTIONS[kind]}: {in_options(problem)}; {again}"
        case FetchDelayed(kind=kind, cause=cause, retry_in=wait):
            return f"{_QUESTIONS[kind]}: {_CAUSES[cause]}; asked in {wait:.0f} s"
        case ClockCorrected(seconds=seconds):
            return (
                f"this machine's clock is {abs(seconds):.0f} s {'slow' if seconds > 0 else 'fast'}:"
                " set it, best by NTP"
            )
        case StateNotStored(problem=problem, retry_in=wait):
            return f"{problem}; tried again in {wait:.0f} s, and nothing is asked before"
        case _:
            return _difference(change)


def differences_in_words(differences: Iterable[Difference]) -> list[str]:
    """Return each difference in words, but the fills of orders whose change is among them."""
    found = tuple(differences)
    orders = {change.after.id for change in found if isinstance(change, OrderChanged)}
    return [
        _difference(change)
        for change in found
        if not (isinstance(change, AggregatedFill) and change.order.id in orders)
    ]


def _difference(change: Difference) -> str:
    match change:
        case OrderChanged(after=order, healed=healed):
            text = describe_order(order)
        case BalanceChanged(after=balance, healed=healed):
            text = (
                f"{balance.asset} available {number(balance.available)}, "
                f"frozen {number(balance.freeze)}"
            )
        case AggregatedFill(order=order, healed=healed):
            text = (
                f"{order.id} {order.market} {word(order.side)} {number(change.deal_stock)} "
                f"at {price(change.price)}"
            )
        case FillCorrected(order=order, healed=healed):
            text = (
                f"{order.id} {order.market}: {number(change.deal_stock)} stock and "
                f"{number(change.deal_money)} money to be added to what was reported"
            )
        case OutcomeUnknown(order=order):
            return f"{describe_order(order)}; not open any more, and nobody says how it ended"
        case BalanceUnlisted(before=balance):
            return f"{balance.asset}: the exchange lists it no more"
    return f"{text} (by HTTP)" if healed else text


def describe_order(order: Order) -> str:
    """Return the state of an order in words."""
    limit = "" if order.type is OrderType.MARKET or order.price is None else number(order.price)
    filled = f", filled {number(order.filled)}" if order.filled else ""
    if order.filled:
        filled += f" at {average(order)}"
    return (
        f"{order.id} {order.market} {word(order.side)} {word(order.type)} {ordered(order)}"
        f"{limit and f' at {limit}'}: {word(order.status)}{filled}"
    )


def ordered(order: Order) -> str:
    """Return how much was ordered: an amount of the traded coin, but for a market buy the money to
    be spent, with its coin after it."""
    amount = number(order.amount)
    is_money = order.type is OrderType.MARKET and order.side is Side.BUY
    return f"{amount} {order.money}".rstrip() if is_money else amount


def describe_backwards(change: MovedBackwards) -> str:
    """Return which part of the account would have gone back."""
    refused = change.refused
    what = f"order {refused.id}" if isinstance(refused, Order) else refused.asset
    return printable(f"{what}: {change.reason}")


def average(order: Order) -> str:
    """Return the average price; an empty text if nothing is filled."""
    value = order.average_price
    return "" if value is None else price(value)
