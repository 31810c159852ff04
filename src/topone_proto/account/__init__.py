"""An account as a pure fold over events: balances, orders, fills, and how far each can be trusted.

And what to ask the exchange over HTTP when it cannot: the questions and the merging of the answers
are decided here, the asking is the caller's.
"""

from topone_proto.account._account import Account
from topone_proto.account._changes import (
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    Change,
    Difference,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Reading,
    Resynced,
)
from topone_proto.account._config import AccountConfig
from topone_proto.account._questions import BalancesQuery, OrdersQuery, Query

__all__ = [
    "Account",
    "AccountConfig",
    "AggregatedFill",
    "BalanceChanged",
    "BalanceUnlisted",
    "BalancesQuery",
    "Change",
    "Difference",
    "FillCorrected",
    "Knowledge",
    "KnowledgeChanged",
    "MovedBackwards",
    "OrderChanged",
    "OrdersQuery",
    "OutcomeUnknown",
    "Query",
    "Reading",
    "Resynced",
]
