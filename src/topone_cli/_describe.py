"""Events in words, one line each. Pure, and safe to print whatever the server sent."""

from typing import Final

from topone_cli._account_words import (
    average,
    describe_backwards,
    describe_change,
    describe_order,
    ordered,
)
from topone_cli._errors import explain_failure
from topone_cli._events import AnyEvent
from topone_cli._format import number, printable, server_clock
from topone_cli._market_words import describe_update
from topone_proto import (
    DEFAULT_URL,
    BalanceUpdate,
    BusAnomaly,
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Endpoint,
    Failure,
    FailureKind,
    Gap,
    Malformed,
    OrderUpdate,
    RequestTimedOut,
    Resumed,
    Snapshot,
    Stalled,
    Subscribed,
    SubscriptionRejected,
    TakenOver,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
    Update,
)
from topone_proto.account import Change, Report

__all__ = [
    "average",
    "describe",
    "describe_backwards",
    "ordered",
    "refusal",
    "suggestion",
]

_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")


def describe(event: AnyEvent) -> str:
    """Return ``event`` in words, without its name."""
    if isinstance(event, Change | Report):
        return printable(describe_change(event))
    match event:
        case BalanceUpdate(balance=balance):
            text = (
                f"{balance.asset} available {number(balance.available)}, "
                f"frozen {number(balance.freeze)}"
            )
        case OrderUpdate(order=order):
            text = describe_order(order)
        case Update():
            text = describe_update(event)
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
        case Snapshot() | TakenOver() | BusAnomaly() | Stalled() | Resumed():
            text = _of_bus(event)
        case _:
            text = _oddity(event)
    return printable(text)


def _of_bus(event: Snapshot | TakenOver | BusAnomaly | Stalled | Resumed) -> str:
    match event:
        case Snapshot(balances=balances, open_orders=orders):
            return f"the whole account: {len(balances)} balances, {len(orders)} open orders"
        case TakenOver(epoch=epoch):
            return f"another machine follows the account now, under lease {epoch}"
        case BusAnomaly(reason=reason, detail=detail):
            return f"{reason}: {detail}" if detail else reason
        case Stalled(reason=reason, detail=detail):
            return f"{reason} ({detail}): what is shown may be out of date"
        case Resumed():
            return "up to date: all that was published meanwhile has been read"


def _cause(failure: Failure) -> str:
    """Return why a feed has ended, without the remedy, which is said once, after everything."""
    return f"{failure.kind}" if failure.status is None else f"HTTP {failure.status}"


def suggestion(event: AnyEvent, url: str, *, is_private: bool = True) -> str | None:
    """Return what to do when the first dial has failed; None after any other event.

    Args:
        event: what happened.
        url: where to.
        is_private: False if no account is followed, and doctor is of no use.
    """
    match event:
        case Disconnected(reason=Failure(kind=FailureKind.TOKEN)):
            return None
        case Disconnected(reason=reason, retry_in=float(), epoch=0, attempt=1):
            pass
        case _:
            return None
    text = "it goes on trying until Ctrl-C, or for --seconds N"
    if is_private:
        where = "" if url == DEFAULT_URL else f" --url {url}"
        text += f"; to see what is in the way: topone doctor{where}"
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
    """Return why a topic is not followed, and what comes next."""
    said = (
        f"the exchange refused {event.method} with code {event.code} ({event.msg or 'no message'})"
    )
    if event.retry_in is not None:
        return printable(f"{said}: it is asked again in {event.retry_in:.1f} s")
    family = event.topic.family
    if family is not None and family.socket == "public":
        return printable(f"{said}: check the market, --period and --merge")
    return printable(f"{said}: check --topics and the rights of the token")
