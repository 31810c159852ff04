"""Events as values, as exceptions, and as plain data."""

import copy
import json
import pickle
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from topone_proto.account import Difference
from topone_proto.errors import (
    ConfigurationError,
    ConnectionEnded,
    ConnectionFailed,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    TopOneError,
)
from topone_proto.events import (
    Connected,
    Disconnected,
    Event,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedUpdate,
    event_classes,
)
from topone_proto.failures import Failure, FailureKind
from topone_proto.models import Side
from topone_proto.plain import from_json, from_plain, to_plain, value_of
from topone_proto.testing.strategies import events, responses
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.messages import Request, Response
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Topic, Update

REJECTED = SubscriptionRejected(
    topic=ORDERS, method="sub_orders", code=7, msg="no right", ts=5, epoch=1
)
TIMED_OUT = RequestTimedOut(topic=ORDERS, method="sub_orders", timeout=10.0, epoch=2)
FAILURE = Failure(FailureKind.HANDSHAKE, status=403)

ERRORS = [
    REJECTED,
    TIMED_OUT,
    SubscriptionRejected(BALANCE, "unsub_balance", 7, "", None, 1),
    ConfigurationError(setting="url", problem="it is wrong", remedy="write it right"),
    LocalProtocolError(state="CLOSED", input="subscribe", remedy="open a new one"),
    FeedClosed(),
    FeedFailed(FAILURE),
    ConnectionFailed(FAILURE),
    ConnectionEnded(1001, "going away"),
]


# --- Events and errors as values


@given(events())
def test_events_are_values(event: Event) -> None:
    for other in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert other == event
        assert hash(other) == hash(event)
        assert repr(other) == repr(event)
        assert type(other) is type(event)


def test_events_of_different_content_differ() -> None:
    assert Connected(1) != Connected(2)
    assert Subscribed(ORDERS, 5, 1) != Subscribed(BALANCE, 5, 1)
    assert evolve(REJECTED, code=8) != REJECTED
    assert evolve(TIMED_OUT, epoch=3) != TIMED_OUT


@given(responses())
def test_a_response_can_be_hashed_whatever_it_carries(response: Response) -> None:
    assert hash(response) == hash(copy.deepcopy(response))
    assert response.ok is (response.code == 0)


def test_a_request_can_be_hashed() -> None:
    one, other = (Request("1", "req_x", {"from": 1}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Request("1", "req_x", {"from": 2})


def test_an_update_knows_its_topic() -> None:
    assert OrderUpdate.topic is ORDERS
    assert BalanceUpdate.topic is BALANCE


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_copies_and_pickles(error: TopOneError) -> None:
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [
        pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for other in copies:
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert repr(other) == repr(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_can_be_raised_and_say_something(error: TopOneError) -> None:
    with pytest.raises(TopOneError) as caught:
        raise copy.copy(error)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_event_that_was_raised_still_equals_its_like() -> None:
    raised = copy.copy(REJECTED)
    with pytest.raises(SubscriptionRejected):
        raise raised
    assert raised == REJECTED
    assert hash(raised) == hash(REJECTED)


def test_what_the_exceptions_say() -> None:
    assert "sub_orders with code 7 (no right)" in str(REJECTED)
    assert "(no message)" in str(evolve(REJECTED, msg=""))
    assert "sub_orders was not acknowledged within 10 s" in str(TIMED_OUT)
    assert "403" in str(FeedFailed(FAILURE))
    assert FeedFailed(FAILURE).failure is FAILURE
    assert "subscribe is not possible while CLOSED" in str(ERRORS[4])


# --- Plain data


def check_plain(plain: object) -> None:
    """Not so much as an enum, which would look like its number in JSON."""
    assert type(plain) in {dict, list, str, int, float, bool, type(None)}
    if isinstance(plain, dict):
        for name, inner in plain.items():
            assert type(name) is str
            check_plain(inner)
    elif isinstance(plain, list):
        for inner in plain:
            check_plain(inner)


@given(events())
def test_plain_data_is_json_and_loses_nothing(event: Event) -> None:
    plain = to_plain(event)
    assert next(iter(plain.items())) == ("event", type(event).__name__)
    check_plain(plain)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    again = from_plain(plain)
    assert again == event
    assert repr(again) == repr(event), "exponents of decimals and unknown numbers included"


@given(events(), st.text().map("_".__add__))
def test_members_of_a_later_version_are_ignored(event: Event, name: str) -> None:
    assert from_plain({**to_plain(event), name: {"x": 1}}) == event


def test_the_strategy_makes_every_event() -> None:
    """A class that joins ``Event`` has to join the strategy, or the properties above skip it."""
    made: set[type[Event]] = set()

    def is_the_last(event: Event) -> bool:
        made.add(type(event))
        return len(made) == len(event_classes())

    until_found = settings(max_examples=2000, phases=[Phase.generate], database=None)
    find(events(), is_the_last, settings=until_found)
    assert made == set(event_classes())


def test_plain_data_reads_well() -> None:
    update = BalanceUpdate(Balance("ETH", Decimal("2.50"), Decimal("0E-16")), ts=5)
    plain_update = {
        "event": "BalanceUpdate",
        "balance": {"asset": "ETH", "available": "2.50", "freeze": "0E-16"},
        "ts": 5,
    }
    assert to_plain(update) == plain_update
    assert to_plain(UnexpectedUpdate(update)) == {
        "event": "UnexpectedUpdate",
        "update": plain_update,
    }
    assert to_plain(TIMED_OUT) == {
        "event": "RequestTimedOut",
        "topic": "orders",
        "method": "sub_orders",
        "timeout": 10.0,
        "epoch": 2,
    }
    assert to_plain(Disconnected(FAILURE, 1.5, 1, 0))["reason"]["kind"] == "handshake"


UPDATE = to_plain(
    OrderUpdate(
        Order(
            id=1,
            market="ETH/BTC",
            type=OrderType(9),
            side=Side.BUY,
            status=OrderStatus.PENDING,
            price=None,
            amount=Decimal("1E+5"),
            left=Decimal(1),
            deal_stock=Decimal(0),
            deal_money=Decimal(0),
            create_time=0.5,
            update_time=1.0,
        ),
        ts=5,
    )
)


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"event": None},
        {"event": ["Connected"]},
        {"event": "Nothing"},
        {"event": "Balance", "asset": "ETH", "available": "1", "freeze": "1"},
        {"event": "Connected"},
        {"event": "Connected", "epoch": "1"},
        {"event": "Connected", "epoch": 1.0},
        {"event": "Connected", "epoch": True},
        {"event": "Connected", "epoch": None},
        {"event": "Subscribed", "topic": "", "ts": None, "epoch": 1},
        {"event": "Subscribed", "topic": {"name": "orders"}, "ts": None, "epoch": 1},
        {"event": "Subscribed", "topic": "orders", "ts": "5", "epoch": 1},
        {"event": "Malformed", "reason": None, "path": "$", "frame": "", "size": 0},
        {"event": "UnexpectedUpdate", "update": {"event": "Connected", "epoch": 1}},
        {"event": "UnexpectedUpdate", "update": {"ts": 1}},
        {"event": "Closed", "failure": {"kind": "unheard-of"}},
        {**UPDATE, "order": None},
        *({**UPDATE, "order": {**UPDATE["order"], "side": side}} for side in ("1", 1.5, None)),
        *(
            {**UPDATE, "order": {**UPDATE["order"], "amount": amount}}
            for amount in ("NaN", "sNaN", "-Infinity", "1e9999", "0e-9999", "x", "", 1, 1.5, None)
        ),
        *(
            {**UPDATE, "order": {**UPDATE["order"], "create_time": seconds}}
            for seconds in ("1", True, 10**400)
        ),
    ],
)
def test_what_is_no_event_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no such event|not the fields of"):
        from_plain(plain)


@pytest.mark.parametrize("text", ["NaN", "x", "", "1.2.3"])
def test_what_is_no_decimal_is_refused_in_any_context(text: str) -> None:
    plain = {**UPDATE, "order": {**UPDATE["order"], "amount": text}}
    with localcontext() as context:
        context.traps[InvalidOperation] = False
        with pytest.raises(ValueError, match="not the fields of OrderUpdate"):
            from_plain(plain)


def test_a_whole_number_is_a_time_as_well() -> None:
    event = from_plain({**UPDATE, "order": {**UPDATE["order"], "create_time": 1522235513}})
    assert isinstance(event, OrderUpdate)
    assert type(event.order.create_time) is float


@pytest.mark.parametrize("cls", [Update, Difference, Order, Topic, float])
@pytest.mark.parametrize(
    "plain", [None, [], "", {}, {"event": []}, pytest.param(10**400, id="large")]
)
def test_what_is_no_value_is_refused_whatever_it_is(cls: Any, plain: Any) -> None:
    with pytest.raises(ValueError, match=r"not the fields|no event|no such event"):
        value_of(plain, cls)
    with pytest.raises(ValueError, match=r"not the fields|no event|no such event"):
        from_json(json.dumps(plain), cls)
