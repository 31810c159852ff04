"""Questions of an account to the exchange over HTTP."""

from attrs import field

from topone_proto._values import value

__all__ = ["BalancesQuery", "HistoryQuery", "OrdersQuery", "Query"]


@value
class OrdersQuery:
    """Ask the exchange for orders."""

    ids: tuple[int, ...] | None
    """These, open or closed; None for all that are open, in all markets."""
    asked_ts: int | None
    """The time of the request: the latest server time in milliseconds that was known then."""
    position: int
    """The time of the request again, as a number of events and answers: the answer reflects at
    least what the account had been told by then."""
    is_audit: bool = False
    """True if the answer is to be compared with what is known, which is believed to be whole."""


@value
class BalancesQuery:
    """Ask the exchange for balances."""

    assets: tuple[str, ...] | None
    """Of these assets; None for all there are."""
    asked_ts: int | None
    """The time of the request: the latest server time in milliseconds that was known then."""
    position: int
    """The time of the request again, as a number of events and answers: the answer reflects at
    least what the account had been told by then."""
    is_audit: bool = False
    """True if the answer is to be compared with what is known, which is believed to be whole."""


@value
class HistoryQuery:
    """Ask the exchange for finished orders that were made and closed unseen."""

    after: int | None
    """Those with a larger id. None, at the start, for the newest page alone: it shows which orders
    are older than the account."""
    position: int
    """The latest loss of updates, as a number of events and answers: after another loss it is
    another question."""
    lost: frozenset[int] = field(default=frozenset(), eq=False)
    """The orders of an unknown outcome, by id: worth a few pages more, if ``after`` is reached
    before all of them were seen."""


Query = OrdersQuery | BalancesQuery
"""A question over HTTP."""
