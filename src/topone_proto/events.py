"""Events for an application: data, the life of the feed, and anomalies; all plain values that
compare by content.

Two of them, ``SubscriptionRejected`` and ``RequestTimedOut``, are exceptions as well: a feed's
``subscribe`` and ``unsubscribe`` raise what the stream of events reports.
"""

from typing import Any, Final, get_args

from topone_proto._values import value
from topone_proto.errors import TopOneError
from topone_proto.failures import Failure
from topone_proto.wire.messages import Malformed, Response, Unrecognised
from topone_proto.wire.topic import Topic, Update, families

__all__ = [
    "ANOMALIES",
    "Closed",
    "Conflated",
    "Connected",
    "Disconnected",
    "Event",
    "Gap",
    "Malformed",
    "RequestTimedOut",
    "Subscribed",
    "SubscriptionRejected",
    "UnexpectedResponse",
    "UnexpectedUpdate",
    "Unrecognised",
    "Unsubscribed",
    "Update",
    "event_classes",
]


@value
class Connected:
    """The WebSocket is open; the desired topics are being subscribed to."""

    epoch: int
    """The number of this connection in the life of the feed: 1 for the first that was made."""


@value
class Subscribed:
    """The exchange acknowledged a subscription: from here on the topic's updates come."""

    topic: Topic
    """The topic that is subscribed to."""
    ts: int | None
    """Server time of the acknowledgement in milliseconds, if it had one."""
    epoch: int
    """The connection it belongs to."""


@value
class Unsubscribed:
    """The topic is not subscribed to any more: acknowledged by the exchange, or there is no
    connection."""

    topic: Topic
    """The topic that is not subscribed to any more."""
    ts: int | None
    """Server time of the acknowledgement in milliseconds; None without one."""
    epoch: int
    """The connection it belongs to, or the last there was."""


@value(auto_exc=False)
class SubscriptionRejected(TopOneError):
    """The exchange refused to subscribe or to unsubscribe.

    A topic that had been acknowledged before is asked for again, with back-off, on this connection
    and on later ones: ``retry_in`` says when. Anything else is not asked again until the
    application does, and neither is a topic that was refused ``SessionConfig.max_refusals`` times
    in a row.

    Raised by a feed's ``subscribe`` and ``unsubscribe``, too. Look at ``code`` and ``msg``: the
    exchange publishes no list of its codes. A token without the needed right is a common cause.
    """

    topic: Topic
    """The topic that was asked for, or was to be given up."""
    method: str
    """The method that was refused, such as ``sub_orders``."""
    code: int
    """The exchange's number for the cause, never 0. -1 stands for one that is no number: it is at
    the beginning of ``msg`` then."""
    msg: str
    """The exchange's words for it, in the language of ``SessionConfig.lang``."""
    ts: int | None
    """Server time of the refusal in milliseconds, if it had one."""
    epoch: int
    """The connection it belongs to."""
    retry_in: float | None = None
    """Seconds until the feed asks again by itself; None if it does not."""

    def __str__(self) -> str:
        then = "then subscribe again"
        if self.retry_in is not None:
            then = f"the feed asks again in {self.retry_in:.1f} s"
        return (
            f"the exchange refused {self.method} with code {self.code} "
            f"({self.msg or 'no message'}): check the topic's name and the rights of the token, "
            f"{then}"
        )


@value(auto_exc=False)
class RequestTimedOut(TopOneError):
    """A request was not acknowledged in time. The connection is given up; a desired topic is asked
    for on the next.

    Raised by a feed's ``subscribe`` and ``unsubscribe``, too. There is nothing to do but to wait;
    if it goes on, the exchange is in trouble.
    """

    topic: Topic
    """The topic that was asked for, or was to be given up."""
    method: str
    """The method that was not answered, such as ``sub_orders``."""
    timeout: float
    """The time for which the answer was awaited, in seconds: ``SessionConfig.ack_timeout``."""
    epoch: int
    """The connection it belongs to."""

    def __str__(self) -> str:
        return (
            f"{self.method} was not acknowledged within {self.timeout:g} s: the feed connects "
            "again and, if the topic is desired, asks again; if this goes on, check the exchange's "
            "status"
        )


@value
class Disconnected:
    """There is no connection: one ended, or a dial failed. Updates of this while may be missed;
    ``Gap`` will say."""

    reason: Failure
    """The failure."""
    retry_in: float | None
    """Seconds until the next try; None if there is none because the feed ends."""
    epoch: int
    """The connection that ended, or the last there was before a failed dial; 0 if there was none
    yet."""
    attempt: int
    """The number of retries in a row, the one announced here included: 1 after a stable
    connection."""


@value
class Gap:
    """You may have missed updates of ``topic`` between two server times: look the state up over
    HTTP.

    Comes right after the ``Subscribed`` that ends the uncertainty, or right before the event that
    says that the topic is not followed any more. An update within the span may
    have been delivered all the same; every update that was not is within it.
    """

    topic: Topic
    """The topic whose updates may be missing. Each topic has a gap of its own."""
    since_ts: int | None
    """A server time in milliseconds before which nothing is missing: that of the topic's latest
    frame before, or an earlier one if the clocks of the exchange's nodes may differ. None: the
    exchange gave no time, or none that can be compared."""
    until_ts: int | None
    """A server time in milliseconds after which nothing is missing: that of the acknowledgement, or
    a later one if the clocks of the exchange's nodes may differ. Never before ``since_ts``. None:
    the exchange gave no time with that, or there was none, and the topic is not followed any more;
    the ``Subscribed``, ``SubscriptionRejected`` or ``Unsubscribed`` beside it says which."""
    epoch: int
    """The connection on which it is whole again, or the last there was."""


@value
class Closed:
    """The last event of a feed."""

    failure: Failure | None = None
    """The failure, if the feed ended by itself; None if it was closed."""


@value
class Conflated:
    """The application was slow: ``count`` updates were replaced by newer ones of the same order or
    asset. Or it has begun to iterate over an account late: the oldest events were left out, of any
    kind."""

    count: int
    """The number of events that were left out since the last event of this kind."""


@value
class UnexpectedResponse:
    """A response that answers no pending request: a duplicate, one too late, or for another's
    request."""

    response: Response
    """The response, its texts cut to ``SessionConfig.max_kept`` characters."""
    reason: str
    """The problem, in a few words."""


@value
class UnexpectedUpdate:
    """An update of a topic that is not subscribed to: it came after the unsubscribe's
    acknowledgement, or unasked."""

    update: Update
    """The update. It was not delivered in any other way."""


Event = (
    Update
    | Connected
    | Subscribed
    | Unsubscribed
    | SubscriptionRejected
    | Disconnected
    | Gap
    | Closed
    | Conflated
    | Malformed
    | Unrecognised
    | UnexpectedResponse
    | UnexpectedUpdate
    | RequestTimedOut
)
"""Anything a feed hands to the application."""

ANOMALIES: Final = (
    Malformed,
    Unrecognised,
    UnexpectedResponse,
    UnexpectedUpdate,
    RequestTimedOut,
)
"""The events that tell of something that is not as it should be. None of them ends the stream."""


def event_classes() -> tuple[type[Any], ...]:
    """Return the class of every event, those of each family's updates first."""
    updates = tuple(family.update for family in families())
    return (*updates, *(cls for cls in get_args(Event) if cls is not Update))
