"""Candles, order books and trades of the public WebSocket."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    Book,
    Candle,
    ConfigurationError,
    Connection,
    Deal,
    DealsUpdate,
    DepthUpdate,
    Family,
    KlineUpdate,
    Level,
    Malformed,
    OrderUpdate,
    Response,
    Side,
    Topic,
    Unrecognised,
    Update,
    deals,
    decode,
    depth,
    kline,
)
from topone_proto.adapters import DeliveryBuffer
from topone_proto.plain import from_plain, to_plain
from topone_proto.session.config import DeliveryPolicy
from topone_proto.testing.strategies import (
    candles,
    deals_updates,
    depth_updates,
    frames,
    kline_updates,
    updates_of,
    wire_fields,
)
from topone_proto.wire import codec
from topone_proto.wire import depth as depth_module
from topone_proto.wire.codec import carried
from topone_proto.wire.families import FAMILIES, lone_topics
from topone_proto.wire.kline import PERIODS
from topone_proto.wire.topic import family_of

TS = 1561948335075
KLINE, DEPTH, DEALS = kline("TOP/ETH", "1m"), depth("TOP/ETH"), deals("TOP/ETH")
CANDLE: list[Any] = [1521795600, "0.0794", "0.0793", "0.0795", "0.0792", "35.585", "2.82398955"]
DEAL: list[Any] = [1522234513.740684, "0.0793", "1.389", 1]


def frame(topic: Topic, data: object, **members: object) -> str:
    return json.dumps({"method": topic.subscribe_method, "ts": TS, "data": data, **members})


def both(topic: Topic, data: object) -> Update:
    """Return what the first frame of a topic means, and the hundredth, which takes the typed
    pass."""
    codec._typed.forget()
    depth_module.known_levels.clear()
    found = [decode(frame(topic, data)) for _ in range(20)]
    assert all(each == found[0] and repr(each) == repr(found[0]) for each in found)
    assert isinstance(found[0], Update), found[0]
    return found[0]


def book(asks: list[Any], bids: list[Any]) -> Book:
    update = both(DEPTH, {"time": 1522234513.5, "asks": asks, "bids": bids})
    assert isinstance(update, DepthUpdate)
    return update.book


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    return tuple(Level(Decimal(price), Decimal(amount)) for price, amount in pairs)


# --- Topics


@pytest.mark.parametrize(
    ("topic", "method"),
    [
        (kline("BTC/USDT", "1m"), "sub_kline_BTC/USDT_1m"),
        (kline("BTC/USDT", "1mon"), "sub_kline_BTC/USDT_1mon"),
        (depth("BTC/USDT"), "sub_depth_BTC/USDT_1x"),
        (depth("BTC/USDT", "100x"), "sub_depth_BTC/USDT_100x"),
        (deals("BTC/USDT"), "sub_deals_BTC/USDT"),
        # From the right: a coin may have an underscore.
        (kline("A_1m/B_2", "5m"), "sub_kline_A_1m/B_2_5m"),
    ],
)
def test_the_methods_are_those_of_the_page(topic: Topic, method: str) -> None:
    assert topic.subscribe_method == method
    again = Topic.from_method(method)
    assert again == topic
    assert again is not None
    assert again.family is topic.family
    assert again.family is not None
    assert again.family.socket == "public"


@pytest.mark.parametrize("name", ["kline_BTC/USDT_7m", "kline_BTCUSDT_1m", "depth_BTC/USDT", "x"])
def test_a_name_of_no_family_is_an_unknown_topic(name: str) -> None:
    assert Topic(name).family is None
    message = decode(frame(Topic(name), {"list": []}))
    assert isinstance(message, Unrecognised)
    assert message.topics == (Topic(name),)


@pytest.mark.parametrize(
    "market",
    ["", "BTCUSDT", "BTC-USDT", "btc/usdt", "BTC/", "/USDT", "A/B/C", "A /B", "é/B", None, 5],
)
def test_a_wrong_market_is_refused_where_the_topic_is_made(market: Any) -> None:
    for make in (lambda: kline(market, "1m"), lambda: depth(market), lambda: deals(market)):
        with pytest.raises(ConfigurationError, match="BTC/USDT") as caught:
            make()
        assert caught.value.setting == "market"


@pytest.mark.parametrize("wrong", ["", "2m", "1M", "1x ", None, 60])
def test_a_wrong_period_or_merge_is_refused_where_the_topic_is_made(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="1mon") as caught:
        kline("BTC/USDT", wrong)
    assert caught.value.setting == "period"
    with pytest.raises(ConfigurationError, match="1000x") as caught:
        depth("BTC/USDT", wrong)
    assert caught.value.setting == "merge"


def test_the_periods_are_those_of_the_page() -> None:
    assert list(PERIODS) == [
        "1m",
        "5m",
        "10m",
        "15m",
        "30m",
        "1h",
        "2h",
        "4h",
        "6h",
        "12h",
        "1d",
        "1w",
        "1mon",
    ]
    assert PERIODS["4h"] == 4 * 3600


# --- What is read


def test_a_candle_is_open_close_high_low() -> None:
    assert both(KLINE, {"list": [CANDLE]}) == KlineUpdate(
        KLINE,
        (
            Candle(
                time=1521795600,
                open=Decimal("0.0794"),
                close=Decimal("0.0793"),
                high=Decimal("0.0795"),
                low=Decimal("0.0792"),
                amount=Decimal("35.585"),
                money=Decimal("2.82398955"),
            ),
        ),
        TS,
    )


def test_candles_come_oldest_first() -> None:
    rows = [[CANDLE[0] + 60, *CANDLE[1:]], CANDLE]
    update = both(KLINE, {"list": rows})
    assert isinstance(update, KlineUpdate)
    assert [candle.time for candle in update.candles] == [1521795600, 1521795660]
    assert both(KLINE, {"list": rows[::-1]}) == update


@pytest.mark.parametrize("time", ["1521795600", 1521795600.0, 1521795600000])
def test_the_time_of_a_candle_may_be_in_another_form(time: object) -> None:
    assert both(KLINE, {"list": [[time, *CANDLE[1:]]]}) == both(KLINE, {"list": [CANDLE]})


def test_a_book_is_sorted_and_has_no_level_of_nothing() -> None:
    asks = [["3", "1"], ["1", "0.00"], ["2", "5"], ["2.5", "0"]]
    found = book(asks, [["0.5", "1"], ["0.9", "2"], ["0.7", "0"]])
    assert found.asks == levels(("2", "5"), ("3", "1"))
    assert found.bids == levels(("0.9", "2"), ("0.5", "1"))
    assert (found.is_crossed, found.is_empty) == (False, False)


def test_a_book_that_cannot_be_is_delivered_and_says_so() -> None:
    assert book([["0.0791", "1"]], [["0.0793", "1"]]).is_crossed
    assert book([["0.0793", "1"]], [["0.0793", "1"]]).is_crossed
    for empty in (book([], []), book([["1", "0"]], [])):
        assert (empty.is_empty, empty.is_crossed) == (True, False)
    one_sided = book([["1", "1"]], [])
    assert (one_sided.is_empty, one_sided.is_crossed) == (False, False)


def test_deals_come_newest_first() -> None:
    newer = [DEAL[0] + 1, "0.08", "1", 2]
    update = both(DEALS, {"list": [DEAL, newer]})
    assert isinstance(update, DealsUpdate)
    assert [deal.side for deal in update.deals] == [Side.BUY, Side.SELL]
    assert both(DEALS, {"list": [newer, DEAL]}) == update
    # Without a time there is no order but the exchange's.
    odd = both(DEALS, {"list": [DEAL, [None, *newer[1:]]]})
    assert isinstance(odd, DealsUpdate)
    assert [deal.time for deal in odd.deals] == [DEAL[0], None]


@pytest.mark.parametrize("topic", [KLINE, DEALS])
def test_a_list_may_be_empty(topic: Topic) -> None:
    nothing: list[object] = []
    for listed in (nothing, None):
        update = both(topic, {"list": listed})
        assert wire_fields(update)["data"] == {"list": []}


def test_what_a_later_version_adds_is_ignored() -> None:
    for topic, data, more in (
        (KLINE, {"list": [CANDLE]}, {"list": [[*CANDLE, "new"]], "x": 1}),
        (DEALS, {"list": [DEAL]}, {"list": [[*DEAL, {}]]}),
        (DEPTH, {"asks": [["1", "2"]], "bids": []}, {"asks": [["1", "2", 3]], "bids": None}),
    ):
        assert both(topic, more) == both(topic, data)


def test_times_as_datetimes() -> None:
    update = both(KLINE, {"list": [CANDLE]})
    assert isinstance(update, KlineUpdate)
    assert update.candles[0].starts_at == datetime(2018, 3, 23, 9, tzinfo=UTC)
    assert book([], []).at == datetime(2018, 3, 28, 10, 55, 13, 500000, UTC)
    deal = Deal(1522234513.5, Decimal(1), Decimal(1), Side.BUY)
    assert deal.at == datetime(2018, 3, 28, 10, 55, 13, 500000, UTC)
    assert evolve(deal, time=None).at is None


@pytest.mark.parametrize(
    ("topic", "data", "path"),
    [
        (KLINE, {"list": [CANDLE[:6]]}, "$.data.list[0]"),
        (KLINE, {"list": [CANDLE, ["soon", *CANDLE[1:]]]}, "$.data.list[1][0]"),
        (KLINE, {"list": [[1521795600.5, *CANDLE[1:]]]}, "$.data.list[0][0]"),
        (KLINE, {"list": [[*CANDLE[:6], "NaN"]]}, "$.data.list[0][6]"),
        (KLINE, {"rows": [CANDLE]}, "$.data.list"),
        (KLINE, {}, "$.data"),
        (DEPTH, {"asks": []}, "$.data.bids"),
        (DEPTH, {"asks": [["1", "1.2.3"]], "bids": []}, "$.data.asks[0][1]"),
        (DEPTH, {"asks": [], "bids": [["1" * 129, "1"]]}, "$.data.bids[0][0]"),
        (DEPTH, {"asks": [["1"]], "bids": []}, "$.data.asks[0]"),
        (DEALS, {"list": [[*DEAL[:3], "buy"]]}, "$.data.list[0][3]"),
        (DEALS, {"list": [5]}, "$.data.list[0]"),
    ],
)
def test_what_cannot_be_read_is_malformed(topic: Topic, data: object, path: str) -> None:
    for _ in range(20):
        message = decode(frame(topic, data))
        assert isinstance(message, Malformed)
        assert (message.path, message.topics) == (path, (topic,))


@given(st.data())
def test_both_ways_read_the_same(data: st.DataObject) -> None:
    update = data.draw(kline_updates() | depth_updates() | deals_updates())
    text = json.dumps(wire_fields(evolve(update, ts=TS)))
    found = [decode(text) for _ in range(3)]
    family = update.topic.family
    assert family is not None
    plain = json.dumps(wire_fields(update)["data"]).encode()
    slow = family.read(update.topic, plain, TS)
    assert all(repr(each) == repr(slow) for each in found)


# --- Answers


@given(st.lists(candles(), max_size=3))
def test_the_answer_to_a_pull(found: list[Candle]) -> None:
    family = KLINE.family
    assert family is not None
    assert family.pulled is not None
    rows = wire_fields(KlineUpdate(KLINE, tuple(found), TS))["data"]
    data = json.loads(json.dumps(rows))
    pulled = family.pulled(KLINE, data)
    assert pulled == tuple(sorted(found, key=lambda candle: candle.time))
    wrong = family.pulled(KLINE, {"list": [CANDLE[:3]]})
    assert wrong == "a row of 3 members, not 7 at $.data.list[0]"
    assert isinstance(family.pulled(KLINE, None), str)
    assert [each.name for each in FAMILIES if each.pulled is not None] == ["kline"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_acknowledgement_may_carry_the_first_update(family: Family[Any]) -> None:
    topic = family.example.topic
    response = Response("1", topic.subscribe_method, 0, "", family.example.ts)
    data = family.write(family.example)
    assert carried(evolve(response, data=data)) == (family.example,)
    assert carried(evolve(response, data={"status": "success"})) == ()


# --- The life of a topic


def active(*topics: Topic) -> Connection:
    connection = Connection()
    for number, topic in enumerate(topics, 1):
        connection.subscribe(topic, 0.0)
        ack = {"id": str(number), "method": topic.subscribe_method, "code": 0, "msg": "", "ts": TS}
        connection.message_received(json.dumps(ack), 0.0)
    return connection


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_update_counts_for_the_next_gap(family: Family[Any]) -> None:
    topic = family.example.topic
    connection = active(topic)
    later = evolve(family.example, ts=TS + 5000)  # type: ignore[misc]  # every update is one of attrs
    step = connection.message_received(json.dumps(wire_fields(later)), 1.0)
    assert step.events == (later,)
    assert connection.last_ts_of(topic) == TS + 5000


def test_a_broken_frame_may_be_of_any_topic_that_is_followed() -> None:
    connection = active(DEPTH, KLINE)
    for text, topics in (
        ('{"method":', {DEPTH, KLINE}),
        ('{"method":5,"data":{"asks":[]}}', {DEPTH}),
        ('{"ts":1,"data":{"list":[1]}}', {KLINE}),
        (frame(DEPTH, {"asks": [], "bids": []})[:-1], {DEPTH}),
        ("x" * 2_000_000 + "{", {DEPTH, KLINE}),
    ):
        [event] = connection.message_received(text, 1.0).events
        assert isinstance(event, Malformed | Unrecognised)
        assert set(event.topics) == topics


def conflated(*updates: Update) -> list[Update]:
    """Return what is left of updates for an application that is late."""
    buffer = DeliveryBuffer(2, DeliveryPolicy.CONFLATE)
    buffer.put(updates)
    left = []
    while (event := buffer.get()) is not None:
        left.append(event)
    return [event for event in left if isinstance(event, Update)]


def test_the_newest_book_of_a_topic_replaces_the_others() -> None:
    one, two, three = (
        DepthUpdate(depth("BTC/USDT", merge), Book(float(time), (), ()), TS)
        for time, merge in ((1, "1x"), (2, "1x"), (3, "10x"))
    )
    assert conflated(one, two, three) == [two, three]


def test_the_newest_candle_of_a_time_replaces_the_others() -> None:
    def candle(time: int, close: int) -> KlineUpdate:
        numbers = [Decimal(close)] * 6
        return KlineUpdate(KLINE, (Candle(time, *numbers),), TS)

    one, two, three = candle(60, 1), candle(60, 2), candle(120, 3)
    assert conflated(one, two, three) == [two, three]


def test_no_deal_is_left_out() -> None:
    update = DealsUpdate(DEALS, (Deal(1.0, Decimal(1), Decimal(1), Side.BUY),), TS)
    assert conflated(update, update, update) == [update] * 3


# --- The typed pass


def test_the_typed_pass_learns_topics_and_forgets_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "_MAX_KNOWN", 8)
    codec._typed.forget()
    for number in range(100):
        topic = deals(f"C{number}/USDT")
        for _ in range(3):
            assert isinstance(decode(frame(topic, {"list": [DEAL]})), DealsUpdate)
        assert len(codec._typed._known) + len(codec._typed._new) <= 8
    codec._typed.forget()
    for _ in range(10):
        decode(frame(DEALS, {"list": [DEAL]}))
    assert set(codec._typed._known) == {*(topic.name for topic in lone_topics()), DEALS.name}


def test_the_levels_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_module, "_MAX_KNOWN", 10)
    for start in range(0, 100, 7):
        asks = [[str(1 + start + at), "1"] for at in range(7)]
        assert len(book(asks, [["0.5", "1"]]).asks) == 7
        for _ in range(3):
            decode(frame(DEPTH, {"time": 1.5, "asks": asks, "bids": []}))
        assert len(depth_module.known_levels) <= 10


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_example_of_a_family(family: Family[Any]) -> None:
    example = family.example
    assert family_of(example.topic.name) is family
    assert decode(json.dumps(wire_fields(example))) == example
    assert from_plain(json.loads(json.dumps(to_plain(example)))) == example


@given(st.data())
def test_a_value_is_read_to_its_last_digit(data: st.DataObject) -> None:
    update = data.draw(kline_updates() | depth_updates() | deals_updates())
    again = decode(data.draw(frames(update)))
    assert again == update
    assert repr(again) == repr(update)
    assert not isinstance(again, OrderUpdate)
    family = update.topic.family
    assert family is not None
    assert data.draw(updates_of(family)).topic.family is family


@pytest.mark.parametrize("row", [["1e1", "2"], ["1", "9" * 40]])
def test_levels_that_the_typed_pass_leaves_to_the_other(row: list[str]) -> None:
    asks = book([["5", "1"], row], []).asks
    assert {level.price for level in asks} == {Decimal(5), Decimal(row[0])}


def test_levels_that_are_known_stand_beside_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert book([["1", "2"]], []).asks == levels(("1", "2"))
    rows = [("1", "2"), ("3", "4"), ("5", "6")]
    monkeypatch.setattr(depth_module, "_MAX_KNOWN", 2)
    depth_module.known_levels[rows[0]] = depth_module._new_level((Decimal(1), Decimal(2)))
    assert depth_module._levels_of(rows[:2]) == [*levels(*rows[:2])]
    assert depth_module._levels_of(rows) == [*levels(*rows)]
    assert len(depth_module.known_levels) <= 2 + len(rows)


def test_a_candle_that_the_typed_pass_leaves_to_the_other() -> None:
    update = both(KLINE, {"list": [[*CANDLE[:5], "1e1", *CANDLE[6:]]]})
    assert isinstance(update, KlineUpdate)
    assert update.candles[0].amount == Decimal("1e1")
