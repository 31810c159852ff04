"""An account as a pure fold over events: balances, orders, fills, and how far each can be trusted.

And what to ask the exchange over HTTP when it cannot: the questions and the merging of the answers
are decided here, the asking is the caller's.
"""

from topone_proto.account.account import Account
from topone_proto.account.changes import (
    AggregatedFill,
    BalanceChanged,
    Change,
    Difference,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    Reading,
    Resynced,
)
from topone_proto.account.questions import BalancesQuery, OrdersQuery, Query

__all__ = [
    "Account",
    "AggregatedFill",
    "BalanceChanged",
    "BalancesQuery",
    "Change",
    "Difference",
    "Knowledge",
    "KnowledgeChanged",
    "MovedBackwards",
    "OrderChanged",
    "OrdersQuery",
    "Query",
    "Reading",
    "Resynced",
]
