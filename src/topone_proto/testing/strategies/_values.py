"""Values of what an application and an adapter see, and of every class: ``values``."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar, cast, get_args

from attrs import evolve
from hypothesis import strategies as st

from topone_proto.account import AccountConfig
from topone_proto.events import (
    ANOMALIES,
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
    event_classes,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.feed.metrics import FeedMetrics
from topone_proto.models import Side
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.address import Address
from topone_proto.session.answers import (
    PullEnd,
    PullLost,
    PullRefused,
    PullTimedOut,
    PullUnreadable,
)
from topone_proto.session.config import DeliveryPolicy, SessionConfig
from topone_proto.session.endpoint import DEFAULT_URL, Endpoint, HttpEndpoint
from topone_proto.session.step import Step
from topone_proto.session.subscriptions import SubscriptionState
from topone_proto.testing.strategies._accounts import ACCOUNT_STRATEGIES
from topone_proto.testing.strategies._exchange import EXCHANGE_STRATEGIES
from topone_proto.testing.strategies._json import INT64
from topone_proto.testing.strategies._relays import RELAY_STRATEGIES
from topone_proto.testing.strategies._wire import (
    TOPICS,
    balance_updates,
    balances,
    books,
    candles,
    deals_updates,
    decimals,
    depth_updates,
    kline_updates,
    methods,
    order_updates,
    orders,
    pings,
    requests,
    responses,
    server_times,
    topics,
    trades,
    wire_enums,
)
from topone_proto.wire.balance import Balance, BalanceUpdate
from topone_proto.wire.codec import encode
from topone_proto.wire.deals import Deal, DealsUpdate
from topone_proto.wire.depth import Book, DepthUpdate, Level
from topone_proto.wire.kline import Candle, KlineUpdate
from topone_proto.wire.messages import Malformed, Message, Ping, Request, Response, Unrecognised
from topone_proto.wire.orders import Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.requests import DEFAULT_HTTP_URL
from topone_proto.wire.topic import Family, Topic, Update, families

__all__ = [
    "actions",
    "endpoints",
    "events",
    "failures",
    "messages",
    "session_configs",
    "steps",
    "tokens",
    "updates",
    "updates_of",
    "values",
]

_T = TypeVar("_T")


# Strategies without arguments are made once: making one costs more than drawing from it.


def updates_of(family: Family[Any]) -> st.SearchStrategy[Update]:
    """Updates of one family. Of one that this package has no strategy for: its example, at any
    time."""
    if family.update in _STRATEGIES:
        return values(family.update)
    example: Any = family.example
    return server_times().map(lambda ts: cast("Update", evolve(example, ts=ts)))


def updates() -> st.SearchStrategy[Update]:
    """Updates of every family."""
    return st.one_of([updates_of(family) for family in families()])


def messages() -> st.SearchStrategy[Message]:
    """Any message that a frame decodes to."""
    return st.one_of([values(cls) for cls in get_args(Message)])


@cache
def failures() -> st.SearchStrategy[Failure]:
    """Draw reasons why there is no connection."""
    return st.builds(
        Failure,
        kind=st.sampled_from(FailureKind),
        detail=st.text(),
        status=st.none() | st.integers(100, 599),
        retry_after=st.none() | st.floats(0, 1e9),
        code=st.none() | st.integers(1000, 4999),
    )


def events() -> st.SearchStrategy[Event]:
    """Anything that a feed hands to an application."""
    return st.one_of([values(cls) for cls in event_classes()])


def tokens() -> st.SearchStrategy[Token]:
    """Tokens that can be dialled with. Like every token, they print as ``Token(***)``."""
    return st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).map(Token)


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Addresses that a feed accepts: the exchange's own, and those of simulators nearby."""
    ports = st.integers(1, 65535)
    urls = st.one_of(
        st.just(DEFAULT_URL),
        ports.map("wss://gateway.example.org:{}/ws/user/".format),
        ports.map("ws://127.0.0.1:{}/ws/user/".format),
        ports.map("ws://[::1]:{}/ws/user/?v=1".format),
    )
    return st.builds(Endpoint, urls, st.sampled_from([None, "", "https://example.org"]))


def _http_endpoints() -> st.SearchStrategy[HttpEndpoint]:
    ports = st.integers(1, 65535)
    urls = ports.map("https://gateway.example.org:{}/api".format) | st.just(DEFAULT_HTTP_URL)
    return st.builds(HttpEndpoint, urls | ports.map("http://[::1]:{}".format))


def session_configs() -> st.SearchStrategy[SessionConfig]:
    """Settings that ``SessionConfig`` accepts, all defaults among them."""
    seconds = st.floats(0.001, 3600)
    names = ["open", "token", "ack", "close", "pong"]
    given: dict[str, st.SearchStrategy[Any]] = {f"{name}_timeout": seconds for name in names}
    names = ["retry_first", "retry_base", "retry_cap", "stable_after", "rate_limit_wait"]
    given |= dict.fromkeys([*names, "retry_after_cap"], seconds)
    given |= dict.fromkeys(["ping_interval", "silence_timeout"], st.none() | seconds)
    given |= dict.fromkeys(["max_pending", "max_unsent", "capacity"], st.integers(1, 10_000))
    given |= dict.fromkeys(["max_refusals"], st.integers(1, 100))
    given |= dict.fromkeys(["max_frame_size", "max_kept"], st.integers(1, 2**20))
    given |= {
        "lang": st.sampled_from(["zh-CN", "en-US"]),
        "max_attempts": st.none() | st.integers(1, 100),
        "delivery": st.sampled_from(DeliveryPolicy),
    }
    return st.fixed_dictionaries({}, optional=given).map(_workable)


def _workable(chosen: dict[str, Any]) -> SessionConfig:
    """The settings, with those that cannot work together made to."""
    cap = max(chosen.get("retry_first", 0.5), chosen.get("retry_base", 1.0))
    chosen["retry_cap"] = max(cap, chosen.get("retry_cap", 30.0))
    ping_interval = chosen.get("ping_interval", 20.0)
    silence_timeout = chosen.get("silence_timeout", 170.0)
    if ping_interval is None and silence_timeout is None:
        del chosen["silence_timeout"]
    elif ping_interval is None or silence_timeout is None:
        pass
    elif silence_timeout <= ping_interval:
        chosen["silence_timeout"] = ping_interval * 2
    return SessionConfig(**chosen)


def actions() -> st.SearchStrategy[Action]:
    """Anything that the core asks an adapter to do."""
    return st.one_of([values(cls) for cls in get_args(Action)])


def steps() -> st.SearchStrategy[Step]:
    """Draw results of one input of the core: a few events and actions."""
    return st.builds(
        Step,
        st.lists(events(), max_size=3).map(tuple),
        st.lists(actions(), max_size=3).map(tuple),
        st.none() | st.floats(0, 1e9),
    )


@cache
def feed_metrics() -> st.SearchStrategy[FeedMetrics]:
    """Metrics, one number independent of the other."""
    age = st.none() | st.floats(0, 1e6)
    return st.builds(
        FeedMetrics,
        epoch=_counts(),
        failures=st.dictionaries(st.sampled_from(FailureKind), _counts()),
        updates=_counts(),
        gaps=_counts(),
        anomalies=st.dictionaries(st.sampled_from([cls.__name__ for cls in ANOMALIES]), _counts()),
        conflated=_counts(),
        waiting=_counts(),
        capacity=st.integers(1, 2**31),
        is_connected=st.booleans(),
        epoch_age=age,
        last_received_age=age,
        ack_latency=age,
        lag=st.dictionaries(topics(), st.floats(-1e6, 1e6)),
        subscriptions=st.dictionaries(topics(), st.sampled_from(SubscriptionState)),
    )


def account_configs() -> st.SearchStrategy[AccountConfig]:
    """Settings that ``AccountConfig`` accepts, all defaults among them."""
    given: dict[str, st.SearchStrategy[Any]] = {
        "answer_lag": st.floats(0, 3600),
        "max_tries": st.integers(1, 100),
        "retry_first": st.floats(0.001, 30),
        "retry_cap": st.floats(30, 3600),
    }
    return st.fixed_dictionaries({}, optional=given).map(lambda chosen: AccountConfig(**chosen))


def pull_ends() -> st.SearchStrategy[PullEnd]:
    """The ends of pulls: candles, or why there are none."""
    made = st.builds(PullEnd, _counts(), TOPICS["kline"](), st.lists(candles()).map(tuple))
    kinds: list[type[Any]] = [PullRefused, PullTimedOut, PullUnreadable, PullLost]
    errors = st.one_of([values(cls) for cls in kinds])
    return made | st.builds(PullEnd, _counts(), TOPICS["kline"](), st.just(()), errors)


def values(cls: type[_T]) -> st.SearchStrategy[_T]:
    """Values of one class of the package, the same as those of ``st.from_type``.

    Raises:
        KeyError: there is no strategy for this class.
    """
    return cast("st.SearchStrategy[_T]", _STRATEGIES[cls]())


def _counts() -> st.SearchStrategy[int]:
    return st.integers(0, 2**31)


def _suspects() -> st.SearchStrategy[tuple[Topic, ...]]:
    return st.lists(topics(), max_size=2, unique=True).map(tuple)


_STRATEGIES: Final[dict[type[Any], Callable[[], st.SearchStrategy[Any]]]] = {
    Topic: topics,
    Side: lambda: wire_enums(Side),
    OrderType: lambda: wire_enums(OrderType),
    OrderStatus: lambda: wire_enums(OrderStatus),
    Balance: balances,
    Order: orders,
    Update: updates,
    Family: lambda: st.sampled_from(families()),
    BalanceUpdate: balance_updates,
    OrderUpdate: order_updates,
    KlineUpdate: kline_updates,
    DepthUpdate: depth_updates,
    DealsUpdate: deals_updates,
    Candle: candles,
    Book: books,
    Level: lambda: st.builds(Level, decimals(), decimals().filter(bool)),
    Deal: trades,
    Request: requests,
    Response: responses,
    Ping: pings,
    Malformed: lambda: st.builds(
        Malformed, st.text(), st.text(), st.text(), _counts(), topics=_suspects()
    ),
    Unrecognised: lambda: st.builds(
        Unrecognised, st.text(), st.none() | st.text(), st.text(), topics=_suspects()
    ),
    Failure: failures,
    FeedMetrics: feed_metrics,
    Connected: lambda: st.builds(Connected, _counts()),
    Subscribed: lambda: st.builds(Subscribed, topics(), server_times(), _counts()),
    Unsubscribed: lambda: st.builds(Unsubscribed, topics(), server_times(), _counts()),
    SubscriptionRejected: lambda: st.builds(
        SubscriptionRejected,
        topic=topics(),
        method=methods(),
        code=st.integers(-INT64, INT64 - 1).filter(bool),
        msg=st.text(),
        ts=server_times(),
        epoch=_counts(),
        retry_in=st.none() | st.floats(0, 3600),
    ),
    RequestTimedOut: lambda: st.builds(
        RequestTimedOut,
        topic=topics(),
        method=methods(),
        timeout=st.floats(0.001, 3600),
        epoch=_counts(),
    ),
    Disconnected: lambda: st.builds(
        Disconnected, failures(), st.none() | st.floats(0, 3600), _counts(), _counts()
    ),
    Gap: lambda: st.builds(Gap, topics(), server_times(), server_times(), _counts()),
    Closed: lambda: st.builds(Closed, st.none() | failures()),
    Conflated: lambda: st.builds(Conflated, _counts()),
    UnexpectedResponse: lambda: st.builds(UnexpectedResponse, responses(), st.text()),
    UnexpectedUpdate: lambda: st.builds(UnexpectedUpdate, updates()),
    Token: tokens,
    Address: lambda: endpoints() | _http_endpoints(),
    Endpoint: endpoints,
    HttpEndpoint: _http_endpoints,
    SessionConfig: session_configs,
    FetchToken: lambda: st.builds(FetchToken),
    Connect: lambda: st.builds(
        Connect, endpoints(), tokens(), st.floats(0.001, 3600), st.integers(1, 2**31)
    ),
    SendText: lambda: st.builds(SendText, requests().map(encode) | pings().map(_answer)),
    SendPing: lambda: st.builds(SendPing, st.binary(max_size=125)),  # RFC 6455 section 5.5
    Close: lambda: st.builds(
        Close, st.integers(1000, 4999), st.text(max_size=30), st.floats(0, 3600)
    ),
    Step: steps,
    AccountConfig: account_configs,
    PullRefused: lambda: st.builds(
        PullRefused, TOPICS["kline"](), st.integers(1, 2**31), st.text()
    ),
    PullTimedOut: lambda: st.builds(PullTimedOut, TOPICS["kline"](), st.floats(0.001, 3600)),
    PullUnreadable: lambda: st.builds(PullUnreadable, TOPICS["kline"](), st.text()),
    PullLost: lambda: st.builds(PullLost, TOPICS["kline"](), failures()),
    PullEnd: pull_ends,
    **ACCOUNT_STRATEGIES,
    **EXCHANGE_STRATEGIES,
    **RELAY_STRATEGIES,
}


def _answer(ping: Ping) -> str:
    return ping.answer
