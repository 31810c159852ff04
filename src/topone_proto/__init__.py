"""The protocol of the TOP.ONE exchange's private WebSocket, without I/O.

A pure state machine: it encodes requests, tracks subscriptions, decodes frames into events, decides
when to dial, to ping and to give up, and names what may have been missed. It owns no socket, no
clock and no thread. The packages ``topone_trio``, ``topone_asyncio`` and ``topone_threads`` drive
it with real ones.

Only names are gathered here; what they are is said where they are made. What is built on top of a
feed is imported from its own module: ``account``, ``capture``, ``plain``.
"""

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
from topone_proto.failures import Failure, FailureKind, failure_from_response
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.feed.core import FeedCore, Ticket
from topone_proto.feed.driver import (
    AsyncFeed,
    AsyncTokenSource,
    AsyncWebSocket,
    Condition,
    OpenAsyncWebSocket,
)
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.models import Balance, Order, OrderStatus, OrderType, Side
from topone_proto.secrets.token import Token, conceal
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.session.connection import Connection, SubscriptionState
from topone_proto.session.endpoint import DEFAULT_URL, Endpoint, Headers
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.session import Session, SessionState
from topone_proto.session.step import Step
from topone_proto.wire.codec import decode, encode
from topone_proto.wire.messages import (
    BalanceUpdate,
    Malformed,
    Message,
    OrderUpdate,
    Ping,
    Request,
    Response,
    Unrecognised,
    Update,
)
from topone_proto.wire.topic import BALANCE, ORDERS, Topic

__all__ = [
    "BALANCE",
    "DEFAULT_URL",
    "ORDERS",
    "Action",
    "AsyncFeed",
    "AsyncTokenSource",
    "AsyncWebSocket",
    "Balance",
    "BalanceUpdate",
    "Close",
    "Closed",
    "Condition",
    "ConfigurationError",
    "Conflated",
    "Connect",
    "Connected",
    "Connection",
    "ConnectionEnded",
    "ConnectionFailed",
    "DeliveryBuffer",
    "DeliveryPolicy",
    "Disconnected",
    "Endpoint",
    "Event",
    "Failure",
    "FailureKind",
    "FeedCancelled",
    "FeedClosed",
    "FeedCore",
    "FeedFailed",
    "FeedMetrics",
    "FetchToken",
    "Gap",
    "Headers",
    "LocalProtocolError",
    "Malformed",
    "Message",
    "OpenAsyncWebSocket",
    "Order",
    "OrderStatus",
    "OrderType",
    "OrderUpdate",
    "Ping",
    "Request",
    "RequestTimedOut",
    "Response",
    "SendPing",
    "SendText",
    "Session",
    "SessionConfig",
    "SessionState",
    "Side",
    "Step",
    "Subscribed",
    "SubscriptionRejected",
    "SubscriptionState",
    "Ticket",
    "Token",
    "TooManyEvents",
    "TopOneError",
    "Topic",
    "UnexpectedResponse",
    "UnexpectedUpdate",
    "Unrecognised",
    "Unsubscribed",
    "Update",
    "conceal",
    "decode",
    "encode",
    "failure_from_exception",
    "failure_from_response",
]
