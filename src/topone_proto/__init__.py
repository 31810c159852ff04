"""The protocol of the TOP.ONE exchange's private WebSocket, without I/O.

A pure state machine: it encodes requests, tracks subscriptions, decodes frames into events, decides
when to dial, to ping and to give up, and names what may have been missed. It owns no socket, no
clock and no thread. The packages ``topone_trio``, ``topone_asyncio`` and ``topone_threads`` drive
it with real ones.

The names here are those that an application, or whoever embeds a ``Session`` or a ``Connection``,
starts with. Each is explained in the module that defines it. What only the author of an adapter
needs is in ``topone_proto.adapters``; what is built on top of a feed is imported from its own
module: ``account``, ``capture``, ``plain``, ``relay``. The events of an account are here as well;
what is of ``account`` is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Final

from topone_proto._version import __version__ as __version__
from topone_proto.errors import (
    ConfigurationError,
    ConnectionEnded,
    ConnectionFailed,
    FeedCancelled,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    TooManyEvents,
    TopOneError,
)
from topone_proto.events import (
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unsubscribed,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.models import Side
from topone_proto.secrets.token import AsyncTokenSource, Token
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.address import Headers
from topone_proto.session.answers import (
    PullEnd,
    PullError,
    PullLost,
    PullRefused,
    PullTimedOut,
    PullUnreadable,
)
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.session.connection import Connection
from topone_proto.session.endpoint import DEFAULT_URL, PUBLIC_URL, Endpoint
from topone_proto.session.session import Session
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.codec import decode, encode
from topone_proto.wire.deals import Deal, DealsUpdate, deals
from topone_proto.wire.depth import Book, DepthUpdate, Level, depth
from topone_proto.wire.http import Credentials
from topone_proto.wire.kline import Candle, KlineUpdate, kline
from topone_proto.wire.messages import Malformed, Message, Ping, Request, Response, Unrecognised
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.requests import DEFAULT_HTTP_URL
from topone_proto.wire.topic import Family, Topic, Update

if TYPE_CHECKING:
    from topone_proto.account import (
        AccountConfig,
        AggregatedFill,
        BalanceChanged,
        BalanceUnlisted,
        BusAnomaly,
        ClockCorrected,
        FetchDelayed,
        FetchFailed,
        FillCorrected,
        Knowledge,
        KnowledgeChanged,
        MovedBackwards,
        OrderChanged,
        OutcomeUnknown,
        Resumed,
        Resynced,
        Snapshot,
        Stalled,
        StateNotStored,
        TakenOver,
    )

__all__ = [
    "BALANCE",
    "DEFAULT_HTTP_URL",
    "DEFAULT_URL",
    "ORDERS",
    "PUBLIC_URL",
    "AccountConfig",
    "Action",
    "AggregatedFill",
    "AsyncTokenSource",
    "Balance",
    "BalanceChanged",
    "BalanceUnlisted",
    "BalanceUpdate",
    "Book",
    "BusAnomaly",
    "Candle",
    "ClockCorrected",
    "Close",
    "Closed",
    "ConfigurationError",
    "Conflated",
    "Connect",
    "Connected",
    "Connection",
    "ConnectionEnded",
    "ConnectionFailed",
    "Credentials",
    "Deal",
    "DealsUpdate",
    "DeliveryPolicy",
    "DepthUpdate",
    "Disconnected",
    "Endpoint",
    "Event",
    "Failure",
    "FailureKind",
    "Family",
    "FeedCancelled",
    "FeedClosed",
    "FeedFailed",
    "FeedMetrics",
    "FetchDelayed",
    "FetchFailed",
    "FetchToken",
    "FillCorrected",
    "Gap",
    "Headers",
    "KlineUpdate",
    "Knowledge",
    "KnowledgeChanged",
    "Level",
    "LocalProtocolError",
    "Malformed",
    "Message",
    "MovedBackwards",
    "Order",
    "OrderChanged",
    "OrderStatus",
    "OrderType",
    "OrderUpdate",
    "OutcomeUnknown",
    "Ping",
    "PullEnd",
    "PullError",
    "PullLost",
    "PullRefused",
    "PullTimedOut",
    "PullUnreadable",
    "Request",
    "RequestTimedOut",
    "Response",
    "Resumed",
    "Resynced",
    "SendPing",
    "SendText",
    "Session",
    "SessionConfig",
    "SessionState",
    "Side",
    "Snapshot",
    "Stalled",
    "StateNotStored",
    "Step",
    "Subscribed",
    "SubscriptionRejected",
    "SubscriptionState",
    "TakenOver",
    "Token",
    "TooManyEvents",
    "TopOneError",
    "Topic",
    "UnexpectedResponse",
    "UnexpectedUpdate",
    "Unrecognised",
    "Unsubscribed",
    "Update",
    "deals",
    "decode",
    "depth",
    "encode",
    "kline",
]


# Most programs that follow a feed need nothing of an account, which takes as long to load.
_OF_ACCOUNT: Final = frozenset(
    {
        "AccountConfig",
        "AggregatedFill",
        "BalanceChanged",
        "BalanceUnlisted",
        "BusAnomaly",
        "ClockCorrected",
        "FetchDelayed",
        "FetchFailed",
        "FillCorrected",
        "Knowledge",
        "KnowledgeChanged",
        "MovedBackwards",
        "OrderChanged",
        "OutcomeUnknown",
        "Resumed",
        "Resynced",
        "Snapshot",
        "Stalled",
        "StateNotStored",
        "TakenOver",
    }
)


def __getattr__(name: str) -> object:
    if name in _OF_ACCOUNT:
        from topone_proto import account  # noqa: PLC0415 - as said

        found: object = getattr(account, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
