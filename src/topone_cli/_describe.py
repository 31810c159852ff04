"""Events for people, in one line each. Pure, and safe to print whatever the server sent."""

import time
from decimal import Decimal
from typing import Final

from topone_cli._errors import explain_failure
from topone_proto import (
    DEFAULT_URL,
    BalanceUpdate,
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Endpoint,
    Event,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    Order,
    OrderUpdate,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
    Update,
)
from topone_proto.account import MovedBackwards
from topone_proto.models import Side
from topone_proto.wire.orders import OrderStatus, OrderType

__all__ = [
    "average",
    "clock",
    "describe",
    "describe_backwards",
    "number",
    "ordered",
    "price",
    "printable",
    "refusal",
    "server_clock",
    "suggestion",
    "word",
]

_LONGEST: Final = 500
_SMALL: Final = Decimal("0.0001")
_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")


def describe(event: Event) -> str:
    """``event`` without its name, for what stands behind it."""
    match event:
        case BalanceUpdate(balance=balance):
            text = (
                f"{balance.asset} available {number(balance.available)}, "
                f"frozen {number(balance.freeze)}"
            )
        case OrderUpdate(order=order):
            text = _order(order)
        case Update(topic=topic):
            text = f"{topic}"
        case Connected(epoch=epoch):
            text = f"epoch {epoch}"
        case Subscribed(topic=topic) | Unsubscribed(topic=topic):
            text = f"{topic}"
        case Disconnected(reason=reason, retry_in=None):
            text = f"no retry, {_cause(reason)}"
        case Disconnected(reason=reason, retry_in=retry_in):
            text = f"retry in {retry_in:.1f} s, {explain_failure(reason)}"
        case Gap(topic=topic, since_ts=since, until_ts=until):
            text = (
                f"{topic}: updates may be missing, {server_clock(since)} to {server_clock(until)}"
            )
        case Closed(failure=failure):
            text = "" if failure is None else _cause(failure)
        case _:
            text = _oddity(event)
    return printable(text)


def _cause(failure: Failure) -> str:
    """Of what a feed ends with: how to mend it is said once, behind everything."""
    return f"{failure.kind}" if failure.status is None else f"HTTP {failure.status}"


def suggestion(event: Event, url: str) -> str | None:
    """Return advice for a first dial that has failed; None after any other event."""
    match event:
        case Disconnected(reason=Failure(kind=FailureKind.TOKEN)):
            return None
        case Disconnected(reason=reason, retry_in=float(), epoch=0, attempt=1):
            pass
        case _:
            return None
    where = "" if url == DEFAULT_URL else f" --url {url}"
    text = (
        "it goes on trying until Ctrl-C, or for --seconds N; to see what is in the way: "
        f"topone doctor{where}"
    )
    endpoint = Endpoint(url, insecure=True)
    if reason.kind is FailureKind.REFUSED and endpoint.host in _THIS_MACHINE:
        text += f"; for an exchange to try: topone simulate --port {endpoint.port}"
    return printable(text)


def _oddity(
    event: Conflated
    | Malformed
    | RequestTimedOut
    | SubscriptionRejected
    | UnexpectedResponse
    | UnexpectedUpdate
    | Unrecognised,
) -> str:
    match event:
        case Conflated(count=count):
            return f"{count} superseded updates were left out"
        case Malformed(reason=reason, path=path):
            return f"{reason} at {path}"
        case Unrecognised(reason=reason):
            return reason
        case UnexpectedResponse(response=response, reason=reason):
            return f"{response.method}: {reason}"
        case UnexpectedUpdate(update=update):
            return f"{update.topic}: not subscribed to"
        case SubscriptionRejected():
            return refusal(event)
        case RequestTimedOut(method=method, timeout=timeout):
            return (
                f"{method} was not acknowledged within {timeout:g} s: the connection is given up, "
                "and it is asked for again on the next"
            )


def refusal(event: SubscriptionRejected) -> str:
    """Return the reason why a topic is not followed, and what comes next."""
    said = (
        f"the exchange refused {event.method} with code {event.code} ({event.msg or 'no message'})"
    )
    if event.retry_in is not None:
        return printable(f"{said}: it is asked again in {event.retry_in:.1f} s")
    return printable(f"{said}: check --topics and the rights of the token")


def _order(order: Order) -> str:
    limit = "" if order.type is OrderType.MARKET or order.price is None else number(order.price)
    filled = f", filled {number(order.filled)}" if order.filled else ""
    if order.filled:
        filled += f" at {average(order)}"
    return (
        f"{order.id} {order.market} {word(order.side)} {word(order.type)} {ordered(order)}"
        f"{limit and f' at {limit}'}: {word(order.status)}{filled}"
    )


def ordered(order: Order) -> str:
    """Return the amount that was ordered. It is a number of the stock, but for market buys, which
    say how much of the money is to be spent: there the coin stands behind it."""
    amount = number(order.amount)
    is_money = order.type is OrderType.MARKET and order.side is Side.BUY
    return f"{amount} {order.money}".rstrip() if is_money else amount


def describe_backwards(change: MovedBackwards) -> str:
    """Return the part of the account that would have gone back."""
    refused = change.refused
    what = f"order {refused.id}" if isinstance(refused, Order) else refused.asset
    return printable(f"{what}: {change.reason}")


def printable(text: str) -> str:
    """``text`` in one line of bounded length, with nothing in it that a terminal would obey."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _LONGEST + 1]
    )
    return shown if len(text) <= _LONGEST else f"{shown[:_LONGEST]}..."


def number(value: Decimal) -> str:
    """``value``, exact, without an exponent and without zeros at the end."""
    return _trimmed(format(value, "f"))


def price(value: Decimal) -> str:
    """A quotient, which can have any number of digits, to eight places or four digits."""
    return _trimmed(f"{value:.8f}") if abs(value) >= _SMALL else f"{value:.4g}"


def average(order: Order) -> str:
    """The average price, or nothing if nothing is filled."""
    value = order.average_price
    return "" if value is None else price(value)


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def word(value: OrderStatus | OrderType | Side) -> str:
    """An enum's member as a word."""
    return value.name.lower().replace("_", "-")


def clock(seconds: float | None) -> str:
    """The local time of day of ``seconds`` since 1970 UTC; a question mark if there is none."""
    if seconds is None:
        return "?"
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        # The server may send any number.
        return "?"


def server_clock(ts: int | None) -> str:
    """The local time of day of a server time in milliseconds."""
    return "?" if ts is None else f"{clock(ts // 1000)}.{ts % 1000:03}"
