"""The plugin that Hypothesis loads by itself when it is imported: ``st.from_type(OrderUpdate)``
needs no more.

Only the names of the types may live here. The strategies are imported at their first use, so that a
program that imports Hypothesis pays for the core, the account and the gateway, and for nothing
else.
"""

from typing import Any, Final, get_args

from topone_proto.account import (
    AccountConfig,
    BusAnomaly,
    Change,
    Report,
    Resumed,
    Snapshot,
    Stalled,
    TakenOver,
)
from topone_proto.events import event_classes
from topone_proto.exchange import Fill, GatewayConfig, HttpConfig, Market
from topone_proto.exchange.candles import Bar
from topone_proto.exchange.market import Depth, Trade
from topone_proto.failures import Failure
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.models import Side
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action
from topone_proto.session.address import Address
from topone_proto.session.answers import (
    PullEnd,
    PullLost,
    PullRefused,
    PullTimedOut,
    PullUnreadable,
)
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint, HttpEndpoint
from topone_proto.session.step import Step
from topone_proto.wire.balance import Balance
from topone_proto.wire.deals import Deal
from topone_proto.wire.depth import Book, Level
from topone_proto.wire.kline import Candle
from topone_proto.wire.messages import Message, Request
from topone_proto.wire.orders import Order, OrderStatus, OrderType
from topone_proto.wire.topic import Family, Topic

__all__ = ["TYPES", "register"]

TYPES: Final[frozenset[type[Any]]] = frozenset(
    {
        *(Candle, Book, Level, Deal, Bar, Depth, Trade),
        *(PullEnd, PullLost, PullRefused, PullTimedOut, PullUnreadable),
        *(Topic, Family, Side, OrderType, OrderStatus, Balance, Order, Failure, Request),
        *(Token, Address, Endpoint, HttpEndpoint, SessionConfig, Step, FeedMetrics),
        *(AccountConfig, GatewayConfig, Market),
        *(Fill, HttpConfig),
        *get_args(Change | Report),
        *(Snapshot, TakenOver, BusAnomaly, Stalled, Resumed),
        *get_args(Message),
        *event_classes(),
        *get_args(Action),
    }
)
"""Every type that ``st.from_type`` makes values of with this package's own strategies. What is made
of them follows from them: the unions ``Update``, ``Message``, ``Event`` and ``Action``, and the
classes of the account and of the gateway that need no strategy of their own. Those of
``topone_proto.relay`` are added when ``topone_proto.testing.strategies`` is imported."""


def register() -> None:
    """Register the strategies. Hypothesis calls it; calling it again is harmless."""
    from hypothesis import strategies as st

    for cls in TYPES:
        st.register_type_strategy(cls, _strategy)


def _strategy(cls: type[Any]) -> Any:
    from topone_proto.testing.strategies import values

    return values(cls)
