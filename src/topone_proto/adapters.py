"""The names that only the author of an adapter needs, or whoever embeds a ``Session``.

An adapter is a transport with an ``open_feed`` of its own, and an ``open_account``. It is built
from a ``FeedCore`` and an ``AccountCore``, which decide everything, and a driver for its kind of
framework: ``AsyncFeed`` for coroutines, ``CallbackDriver`` for callbacks and for loops that poll.
The names that an application uses are in ``topone_proto``.
"""

from topone_proto.failures import failure_from_response
from topone_proto.feed.account_core import AccountCore
from topone_proto.feed.account_metrics import AccountMetrics
from topone_proto.feed.account_view import AccountView
from topone_proto.feed.async_account import AsyncAccount
from topone_proto.feed.async_feed import AsyncFeed
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.feed.callbacks import CallbackDriver
from topone_proto.feed.core import FeedCore
from topone_proto.feed.http import AnyStore, AsyncStateStore, Http, MemoryStore, StateStore
from topone_proto.feed.link import CallbackWebSocket, Dial, Link
from topone_proto.feed.opening import FeedFactory, FeedOpener, run_feed
from topone_proto.feed.opening_accounts import (
    AccountFactory,
    AccountOpener,
    Cache,
    run_account,
)
from topone_proto.feed.runtime import Condition, Runtime, Task
from topone_proto.feed.waiters import PullWaiter, Waiter
from topone_proto.feed.websocket import (
    AsyncWebSocket,
    FrameReceiver,
    OpenAsyncWebSocket,
    PushingWebSocket,
)
from topone_proto.secrets.token import call_source, conceal, wrapped
from topone_proto.session.address import Address
from topone_proto.session.endpoint import HttpEndpoint
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.handshake import WRONG_ACCEPT, Answer, Head, HeadReader
from topone_proto.session.proxies import Proxy, Tunnel, proxy_from

__all__ = [
    "WRONG_ACCEPT",
    "AccountCore",
    "AccountFactory",
    "AccountMetrics",
    "AccountOpener",
    "AccountView",
    "Address",
    "Answer",
    "AnyStore",
    "AsyncAccount",
    "AsyncFeed",
    "AsyncStateStore",
    "AsyncWebSocket",
    "Cache",
    "CallbackDriver",
    "CallbackWebSocket",
    "Condition",
    "DeliveryBuffer",
    "Dial",
    "FeedCore",
    "FeedFactory",
    "FeedOpener",
    "FrameReceiver",
    "Head",
    "HeadReader",
    "Http",
    "HttpEndpoint",
    "Link",
    "MemoryStore",
    "OpenAsyncWebSocket",
    "Proxy",
    "PullWaiter",
    "PushingWebSocket",
    "Runtime",
    "StateStore",
    "Task",
    "Tunnel",
    "Waiter",
    "call_source",
    "conceal",
    "failure_from_exception",
    "failure_from_response",
    "proxy_from",
    "run_account",
    "run_feed",
    "wrapped",
]
