"""Changes of an account, and reports about its requests."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, get_args

from hypothesis import strategies as st

from topone_proto.account import (
    AggregatedFill,
    BalanceChanged,
    BalanceUnlisted,
    ClockCorrected,
    DelayCause,
    Difference,
    FetchDelayed,
    FetchFailed,
    FetchKind,
    FillCorrected,
    Knowledge,
    KnowledgeChanged,
    MovedBackwards,
    OrderChanged,
    OutcomeUnknown,
    Resynced,
    StateNotStored,
)
from topone_proto.testing.strategies._wire import (
    LAST_TIME,
    balances,
    orders,
    server_times,
    topics,
)

__all__ = ["ACCOUNT_STRATEGIES"]


def _money(least: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most).map(lambda digits: Decimal(digits).scaleb(-20))


def _aggregated_fills() -> st.SearchStrategy[AggregatedFill]:
    more = _money(1, 10**40)
    since = st.none() | st.floats(0, LAST_TIME)
    return st.builds(
        AggregatedFill, orders(), since, more, more | st.just(Decimal(0)), st.booleans()
    )


def _fill_corrections() -> st.SearchStrategy[FillCorrected]:
    less = _money(-(10**40), -1)
    any_money = _money(-(10**40), 10**40)
    return st.builds(FillCorrected, orders(), less | st.just(Decimal(0)), any_money, st.booleans())


def _differences() -> st.SearchStrategy[Any]:
    return st.one_of([ACCOUNT_STRATEGIES[cls]() for cls in get_args(Difference)])


def _seconds() -> st.SearchStrategy[float]:
    return st.floats(0, 3600)


ACCOUNT_STRATEGIES: Final[dict[type[Any], Callable[[], st.SearchStrategy[Any]]]] = {
    AggregatedFill: _aggregated_fills,
    FillCorrected: _fill_corrections,
    BalanceChanged: lambda: st.builds(
        BalanceChanged, st.none() | balances(), balances(), server_times(), st.booleans()
    ),
    BalanceUnlisted: lambda: st.builds(BalanceUnlisted, balances()),
    OrderChanged: lambda: st.builds(
        OrderChanged, st.none() | orders(), orders(), server_times(), st.booleans()
    ),
    OutcomeUnknown: lambda: st.builds(OutcomeUnknown, orders()),
    MovedBackwards: lambda: st.one_of(
        [
            st.builds(MovedBackwards, of, of, server_times(), st.text())
            for of in (orders(), balances())
        ]
    ),
    KnowledgeChanged: lambda: st.builds(
        KnowledgeChanged, topics(), st.sampled_from(Knowledge), st.sampled_from(Knowledge)
    ),
    Resynced: lambda: st.builds(
        Resynced,
        topics(),
        st.lists(_differences(), max_size=3).map(tuple),
        server_times(),
        server_times(),
        st.booleans(),
    ),
    FetchFailed: lambda: st.builds(
        FetchFailed, st.sampled_from(FetchKind), st.text(), st.none() | _seconds()
    ),
    FetchDelayed: lambda: st.builds(
        FetchDelayed, st.sampled_from(FetchKind), st.sampled_from(DelayCause), _seconds()
    ),
    ClockCorrected: lambda: st.builds(ClockCorrected, st.floats(-1e9, 1e9)),
    StateNotStored: lambda: st.builds(StateNotStored, st.text(), _seconds()),
}
"""A strategy for each event that an account adds to those of a feed."""
