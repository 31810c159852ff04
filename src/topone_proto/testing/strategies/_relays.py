"""Values of a relay, and of what comes over its bus."""

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from topone_proto.account import BusAnomaly, Resumed, Snapshot, Stalled, TakenOver
from topone_proto.relay import Envelope, Item, Position, RelayConfig
from topone_proto.testing.strategies._wire import (
    balances,
    depth_updates,
    kline_updates,
    orders,
    server_times,
    topics,
)

__all__ = ["RELAY_STRATEGIES"]

_MAX: Final = 2**63 - 1


def _numbers(least: int = 1) -> st.SearchStrategy[int]:
    return st.integers(least, _MAX)


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


def _snapshots() -> st.SearchStrategy[Snapshot]:
    return st.builds(
        Snapshot,
        topics=st.lists(topics(), max_size=3, unique=True).map(tuple),
        balances=_some(balances()),
        open_orders=_some(orders()),
        other_orders=_some(orders()),
        unknown_outcomes=_some(orders()),
        latest_ts=server_times(),
        market=_some(kline_updates() | depth_updates()),
    )


def _items() -> st.SearchStrategy[Item]:
    return st.builds(Item, st.text(), st.dictionaries(st.text(), st.none() | st.text(), max_size=3))


def _configs() -> st.SearchStrategy[RelayConfig]:
    return st.builds(
        RelayConfig,
        ttl=st.floats(5, 3600),
        margin=st.floats(0.1, 2),
        renew_interval=st.floats(0.1, 1),
        retry_interval=st.floats(0.1, 1),
        acquire_interval=st.floats(0.1, 60),
        keep_open=st.floats(0, 3600),
        capacity=st.integers(1, 10**6),
        max_waiting=st.integers(1, 10**9),
        max_message_size=st.integers(1, 10**6),
        snapshot_interval=st.floats(0.1, 3600),
        beat_interval=st.floats(0.1, 3600),
    )


RELAY_STRATEGIES: Final[dict[type[Any], Callable[[], st.SearchStrategy[Any]]]] = {
    Snapshot: _snapshots,
    TakenOver: lambda: st.builds(TakenOver, st.text(), _numbers()),
    BusAnomaly: lambda: st.builds(BusAnomaly, st.text(), st.text()),
    Stalled: lambda: st.builds(Stalled, st.text(), st.text()),
    Resumed: lambda: st.builds(Resumed),
    Envelope: lambda: st.builds(Envelope, st.text(), _numbers(), _numbers(), _some(_items())),
    Item: _items,
    Position: lambda: st.builds(
        Position, _numbers(0), _numbers(0), _numbers(0), gap_due=st.booleans()
    ),
    RelayConfig: _configs,
}
"""A strategy for each class of a relay that cannot be made of anything."""

# Not among the plugin's types: their package is not for everybody who imports Hypothesis to load.
for _cls in (Envelope, Item, Position, RelayConfig):
    st.register_type_strategy(_cls, RELAY_STRATEGIES[_cls]())
