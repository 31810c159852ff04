"""An account as a pure fold over events: balances, orders, fills, and how far each can be trusted.

And what to ask the exchange over HTTP when it cannot: the questions and the merging of the answers
are decided here, the asking is the caller's.
"""

from topone_proto.account._account import Account
from topone_proto.account._actions import (
    AccountAction,
    AccountEvent,
    AccountStep,
    Fetch,
    RenewToken,
)
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
from topone_proto.account._live import AccountSession
from topone_proto.account._questions import BalancesQuery, HistoryQuery, OrdersQuery, Query
from topone_proto.account._reports import (
    ClockCorrected,
    DelayCause,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    Report,
    StateNotStored,
)
from topone_proto.account._snapshot import (
    BusAnomaly,
    RelayEvent,
    Resumed,
    Snapshot,
    Stalled,
    TakenOver,
)
from topone_proto.account._stored import LoadState, StoredState, StoreState, read_state, write_state

__all__ = [
    "Account",
    "AccountAction",
    "AccountConfig",
    "AccountEvent",
    "AccountSession",
    "AccountStep",
    "AggregatedFill",
    "BalanceChanged",
    "BalanceUnlisted",
    "BalancesQuery",
    "BusAnomaly",
    "Change",
    "ClockCorrected",
    "DelayCause",
    "Difference",
    "Fetch",
    "FetchDelayed",
    "FetchFailed",
    "FetchKind",
    "FillCorrected",
    "HistoryQuery",
    "Knowledge",
    "KnowledgeChanged",
    "LoadState",
    "MovedBackwards",
    "OrderChanged",
    "OrdersQuery",
    "OutcomeUnknown",
    "Query",
    "Reading",
    "RelayEvent",
    "RenewToken",
    "Report",
    "Resumed",
    "Resynced",
    "Snapshot",
    "Stalled",
    "StateNotStored",
    "StoreState",
    "StoredState",
    "TakenOver",
    "read_state",
    "write_state",
]
