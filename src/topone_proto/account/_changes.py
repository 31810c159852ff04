"""Changes of an account, and the degrees to which each topic can be trusted."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import Enum
from typing import Final, Generic, TypeVar

from topone_proto._values import value
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic

__all__ = [
    "AggregatedFill",
    "BalanceChanged",
    "BalanceUnlisted",
    "Change",
    "Difference",
    "FillCorrected",
    "Knowledge",
    "KnowledgeChanged",
    "MovedBackwards",
    "OrderChanged",
    "OutcomeUnknown",
    "Reading",
    "Resynced",
]

_DIVISION: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)

_T = TypeVar("_T")


class Knowledge(Enum):
    """The degree to which what is known of a topic can be trusted."""

    UNKNOWN = "unknown"
    """There never was a whole picture: what the stream did not mention is not known."""
    STALE = "stale"
    """There was a whole picture once, and updates may have been missed since."""
    WHOLE = "whole"
    """Everything is known, up to the updates that are still on their way. An order of which even
    the exchange does not say how it ended was reported as ``OutcomeUnknown``."""


@value
class Reading(Generic[_T]):
    """A value that was read, and how far it can be trusted."""

    value: _T
    """The value as it is known."""
    knowledge: Knowledge
    """The degree to which the topic that it belongs to can be trusted."""


# --- changes -------------------------------------------------------------------------------------


@value
class BalanceChanged:
    """The balance of one asset is another one, or is known for the first time."""

    before: Balance | None
    """The balance as it was known before; None if it was not."""
    after: Balance
    """The balance as it is known now."""
    ts: int | None
    """Server time of the update in milliseconds; None if an answer over HTTP told of it."""
    healed: bool = False
    """True if an answer over HTTP told it, and not the stream."""

    @property
    def key(self) -> tuple[object, ...]:
        """The asset: where changes are conflated, a newer one of the same supersedes this one."""
        return ("balance", self.after.asset)


@value
class OrderChanged:
    """An order is in another state, or is known for the first time."""

    before: Order | None
    """The order as it was reported before; None if it was not."""
    after: Order
    """The order as it is known now."""
    ts: int | None
    """Server time of the update in milliseconds; None if an answer over HTTP told of it."""
    healed: bool = False
    """True if an answer over HTTP told it, and not the stream."""

    @property
    def key(self) -> tuple[object, ...]:
        """The order's number: where changes are conflated, a newer one of the same supersedes this
        one, unless it ``is_final``."""
        return ("orders", self.after.id)

    @property
    def is_final(self) -> bool:
        """True for the last state of an order."""
        return self.after.is_closed


@value
class AggregatedFill:
    """The amount filled between two known states of an order, as one: the exchange publishes states
    and not trades, so this may stand for several trades at different prices.

    The fills of an order, and the ``FillCorrected`` if there was one, add up to its ``deal_stock``
    and ``deal_money``.
    """

    order: Order
    """The order afterwards: its market, its side, when it changed."""
    since: float | None
    """``update_time`` of the state before. None if it has none, or if no state was reported before:
    this is then everything that was filled since the order was made, however long ago."""
    deal_stock: Decimal
    """The amount that was filled, in stock."""
    deal_money: Decimal
    """The amount that was paid or received, in money."""
    healed: bool = False
    """True if an answer over HTTP told it, and not the stream."""

    @property
    def price(self) -> Decimal:
        """The average cost of one unit of stock, in money, to 28 digits."""
        return _DIVISION.divide(self.deal_money, self.deal_stock)


@value
class FillCorrected:
    """A correction of what was reported as filled of an order: the exchange has said since, asked
    for that order by its id, that less is filled or that other money was paid.

    The fills and the corrections of an order together add up to its ``deal_stock`` and
    ``deal_money``.
    """

    order: Order
    """The order as it is known now."""
    deal_stock: Decimal
    """The amount to add to what was reported as filled, in stock; negative if less is filled."""
    deal_money: Decimal
    """The amount to add to what was reported as paid or received, in money; may be negative."""
    healed: bool = False
    """True if an answer over HTTP told it, and not the stream."""


@value
class OutcomeUnknown:
    """An order is not open any more, and how it ended is unknown: the exchange does not list it as
    open, and did not have it either each time that it was asked for by its id, or the application
    has given it up.

    Reported once. The order is in ``Account.unknown_outcomes`` from then on. It may have been
    filled or cancelled after the state that is shown here: neither is assumed. A later update or
    answer that has the order still resolves it.
    """

    order: Order
    """The last state that was known of it. Its status is the last known one, too."""


@value
class BalanceUnlisted:
    """The exchange does not list a balance that was known before, even asked for it by name. It is
    left out of the balances from now on, and no amount is assumed."""

    before: Balance
    """The last that was known of it."""


@value
class MovedBackwards:
    """An anomaly: the exchange told a state that contradicts the one that it told already, such as
    less filled, a closed order that is open, or another price. It is not applied. The order is in
    doubt from then on (its topic is not ``WHOLE``), and the exchange is asked for it by its id.

    In an account that another machine follows, a ``Snapshot`` may contradict, also about a balance.
    Nobody is asked then: the stream or the next ``Snapshot`` settles it."""

    kept: Order | Balance
    """The state that was known before, and is held until the exchange has confirmed one of the
    two."""
    refused: Order | Balance
    """The state that the exchange told, and that was not applied."""
    ts: int | None
    """Server time of the refused update in milliseconds; None if an answer over HTTP told it."""
    reason: str
    """The contradiction, in a few words."""


@value
class KnowledgeChanged:
    """A topic can be trusted more, or less, than before."""

    topic: Topic
    """The topic whose trust has changed."""
    before: Knowledge
    """The degree to which it could be trusted before."""
    after: Knowledge
    """The degree to which it can be trusted now. Act on numbers of a topic that is ``WHOLE``
    only."""


Difference = (
    BalanceChanged
    | BalanceUnlisted
    | OrderChanged
    | OutcomeUnknown
    | AggregatedFill
    | FillCorrected
)
"""A difference between an answer over HTTP and what was known."""


@value
class Resynced:
    """A topic is whole: everything that was to be asked is answered, and the stream was followed
    meanwhile. Or an audit has found that it was not, and it is now; see ``is_audit``."""

    topic: Topic
    """The topic that is whole."""
    differences: tuple[Difference, ...]
    """Everything that the answers of this subscription told and the stream had not."""
    asked_ts: int | None
    """The latest server time in milliseconds that was known when the first question was asked."""
    answered_ts: int | None
    """Server time of the last answer in milliseconds, if the caller knew it."""
    is_audit: bool = False
    """True if an audit found the differences. The topic was ``WHOLE`` and its subscription was
    never interrupted, so the stream has left out an update without a sign: an alarm."""


Change = Difference | MovedBackwards | KnowledgeChanged | Resynced
"""Anything that an event or an answer can change."""
