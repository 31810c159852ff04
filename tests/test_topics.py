"""Topics and the methods that spell them."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto.errors import ConfigurationError
from topone_proto.testing.strategies import topics
from topone_proto.wire.balance import BALANCE
from topone_proto.wire.orders import ORDERS
from topone_proto.wire.topic import Topic


def test_the_methods_are_those_of_the_page() -> None:
    assert BALANCE.subscribe_method == "sub_balance"
    assert BALANCE.unsubscribe_method == "unsub_balance"
    assert ORDERS.subscribe_method == "sub_orders"
    assert ORDERS.unsubscribe_method == "unsub_orders"


def test_a_parametrised_topic_is_just_another_name() -> None:
    candles = Topic("kline_BTC/USDT_1m")
    assert candles.subscribe_method == "sub_kline_BTC/USDT_1m"
    assert Topic.from_method("sub_kline_BTC/USDT_1m") == candles


@given(topics())
def test_a_topic_is_found_by_its_subscribe_method_only(topic: Topic) -> None:
    assert Topic.from_method(topic.subscribe_method) == topic
    assert Topic.from_method(topic.unsubscribe_method) is None


@given(st.text())
def test_any_text_is_a_method_of_a_topic_or_of_none(method: str) -> None:
    topic = Topic.from_method(method)
    assert topic is None or topic.subscribe_method == method


@pytest.mark.parametrize(
    "method", ["", "sub_", "orders", "ping", "sub_é", "sub_a\nb", "SUB_orders"]
)
def test_no_topic(method: str) -> None:
    assert Topic.from_method(method) is None


@given(topics())
def test_topics_are_values(topic: Topic) -> None:
    other = pickle.loads(pickle.dumps(topic))
    assert other == topic
    assert hash(other) == hash(topic)
    assert str(topic) == topic.name
    assert {topic: 1}[Topic(topic.name)] == 1
    assert Topic(topic.name + "x") != topic


@pytest.mark.parametrize("name", ["", "é", "a\nb", "\x00", None, 5, b"orders"])
def test_a_name_is_printable_ascii(name: str) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII") as caught:
        Topic(name)
    assert caught.value.setting == "topic"


def test_a_refused_name_is_shown_cut() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Topic("é" * 10_000)
    assert len(str(caught.value)) < 400
