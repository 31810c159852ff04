"""The two lists of names that the core exports: for applications, and for authors of adapters."""

import sys
from typing import get_args

import attrs

import topone_proto
from topone_proto import Action, account, adapters, errors, events, models
from topone_proto.account import Change, Report
from topone_proto.events import event_classes
from topone_proto.wire.families import FAMILIES

FOR_APPLICATIONS = """
    BALANCE DEFAULT_HTTP_URL DEFAULT_URL ORDERS PUBLIC_URL AccountConfig Action AggregatedFill
    AsyncTokenSource Balance BalanceChanged BalanceUnlisted BalanceUpdate Book BusAnomaly
    Candle ClockCorrected Close Closed ConfigurationError Conflated Connect Connected
    Connection ConnectionEnded ConnectionFailed Credentials Deal DealsUpdate DeliveryPolicy
    DepthUpdate Disconnected Endpoint Event Failure FailureKind Family FeedCancelled FeedClosed
    FeedFailed FeedMetrics FetchDelayed FetchFailed FetchToken FillCorrected Gap Headers
    KlineUpdate Knowledge KnowledgeChanged Level LocalProtocolError Malformed Message
    MovedBackwards Order OrderChanged OrderStatus OrderType OrderUpdate OutcomeUnknown Ping
    PullEnd PullError PullLost PullRefused PullTimedOut PullUnreadable Request RequestTimedOut
    Response Resumed Resynced SendPing SendText Session SessionConfig SessionState Side
    Snapshot Stalled StateNotStored Step Subscribed SubscriptionRejected SubscriptionState
    TakenOver Token TooManyEvents TopOneError Topic UnexpectedResponse UnexpectedUpdate
    Unrecognised Unsubscribed Update deals decode depth encode kline
"""

FOR_ADAPTERS = """
    WRONG_ACCEPT AccountCore AccountFactory AccountMetrics AccountOpener AccountView Address
    Answer AnyStore AsyncAccount AsyncFeed AsyncStateStore AsyncWebSocket Cache CallbackDriver
    CallbackWebSocket Condition DeliveryBuffer Dial FeedCore FeedFactory FeedOpener
    FrameReceiver Head HeadReader Http HttpEndpoint Link MemoryStore OpenAsyncWebSocket Proxy
    PullWaiter PushingWebSocket Runtime StateStore Task Tunnel Waiter
    call_source conceal failure_from_exception failure_from_response proxy_from run_account
    run_feed wrapped
"""


def test_an_application_imports_these() -> None:
    assert topone_proto.__all__ == FOR_APPLICATIONS.split()


def test_what_is_of_an_account_is_the_same_here_and_there() -> None:
    for name in topone_proto._OF_ACCOUNT:
        assert getattr(topone_proto, name) is getattr(account, name)


def test_the_author_of_an_adapter_imports_these_besides() -> None:
    assert adapters.__all__ == FOR_ADAPTERS.split()
    assert not set(adapters.__all__) & set(topone_proto.__all__)


def test_every_event_action_model_and_error_is_for_applications() -> None:
    classes = {*event_classes(), *get_args(Action), *get_args(Change | Report)}
    of_families = [sys.modules[family.update.__module__] for family in FAMILIES]
    for module in (errors, events, models, *of_families):
        things = [each for each in vars(module).values() if isinstance(each, type)]
        classes |= {each for each in things if attrs.has(each) or is_error(each)}
    public = {each.__name__ for each in classes if not each.__name__.startswith("_")}
    assert public <= set(topone_proto.__all__)


def is_error(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, topone_proto.TopOneError)
