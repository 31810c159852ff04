"""The first events of a healed account, for the tests of the command."""

from decimal import Decimal
from typing import Any

from accounts import order
from topone_proto import (
    BALANCE,
    ORDERS,
    Balance,
    Connected,
    Order,
    Subscribed,
    Topic,
)
from topone_proto.account import (
    AccountEvent,
    AggregatedFill,
    BalanceChanged,
    Knowledge,
    KnowledgeChanged,
    OrderChanged,
    Resynced,
)

UNKNOWN, STALE, WHOLE = Knowledge.UNKNOWN, Knowledge.STALE, Knowledge.WHOLE
BTC = Balance("BTC", Decimal("12.5"), Decimal(0))


def changed(new: Order, *, healed: bool = False) -> OrderChanged:
    return OrderChanged(None, new, None if healed else 5, healed)


def known(topic: Topic, before: Knowledge, after: Knowledge) -> KnowledgeChanged:
    return KnowledgeChanged(topic, before, after)


def resynced(topic: Topic, *differences: Any, is_audit: bool = False) -> Resynced:
    return Resynced(topic, differences, 1, 2, is_audit)


FIRST: tuple[AccountEvent, ...] = (
    Connected(1),
    Subscribed(ORDERS, 1, 1),
    Subscribed(BALANCE, 1, 1),
    changed(order(1, 2), healed=True),
    AggregatedFill(order(1, 2), None, Decimal(2), Decimal(4), healed=True),
    known(ORDERS, UNKNOWN, WHOLE),
    resynced(ORDERS, changed(order(1, 2), healed=True)),
    BalanceChanged(None, BTC, None, healed=True),
    known(BALANCE, UNKNOWN, WHOLE),
    resynced(BALANCE, BalanceChanged(None, BTC, None, healed=True)),
)
