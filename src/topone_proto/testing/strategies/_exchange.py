"""Values of the simulated exchange: its settings, and what it has on its markets.

The client never sees one of these: they are what the gateway is set to, and what it publishes from.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from topone_proto.exchange import Fill, GatewayConfig, HttpConfig, Market, OriginRule, PingForm
from topone_proto.exchange.candles import Bar
from topone_proto.exchange.market import Depth, Trade
from topone_proto.models import Side
from topone_proto.testing.strategies._wire import (
    LAST_TIME,
    decimals,
    orders,
    timestamps,
    wire_enums,
)

__all__ = ["EXCHANGE_STRATEGIES"]


def _markets() -> st.SearchStrategy[Market]:
    """Markets whose price is a multiple of their tick."""
    powers = st.integers(0, 8).map(lambda digits: Decimal(1).scaleb(-digits))
    counts = st.integers(1, 10**8)
    return st.tuples(counts, powers, powers).map(
        lambda drawn: Market(drawn[0] * drawn[1], drawn[1], drawn[2])
    )


def _gateway_configs() -> st.SearchStrategy[GatewayConfig]:
    """Settings that ``GatewayConfig`` accepts, all defaults among them."""
    given: dict[str, st.SearchStrategy[Any]] = {
        "path": st.sampled_from([None, "/", "/ws/user/"]),
        "origin": st.sampled_from(OriginRule),
        "ok_form": st.booleans(),
        "start_ts": timestamps(),
        "ping_interval": st.none() | st.floats(0.001, 3600),
        "ping_form": st.sampled_from(PingForm),
        "pong_timeout": st.none() | st.floats(0.001, 3600),
    }
    return st.fixed_dictionaries({}, optional=given).map(lambda chosen: GatewayConfig(**chosen))


def _http_configs() -> st.SearchStrategy[HttpConfig]:
    """Settings that ``HttpConfig`` accepts, all defaults among them."""
    given: dict[str, st.SearchStrategy[Any]] = {
        "token_interval": st.floats(0.001, 3600),
        "token_block": st.floats(0.001, 3600),
        "kills_old_tokens": st.booleans(),
        "page_cap": st.integers(1, 500),
        "lag": st.floats(0, 60),
    }
    return st.fixed_dictionaries({}, optional=given).map(lambda chosen: HttpConfig(**chosen))


def _pairs() -> st.SearchStrategy[tuple[tuple[Decimal, Decimal], ...]]:
    return st.lists(st.tuples(decimals(), decimals()), max_size=3).map(tuple)


def _ids() -> st.SearchStrategy[int]:
    return st.integers(0, 2**31)


EXCHANGE_STRATEGIES: Final[dict[type[Any], Callable[[], st.SearchStrategy[Any]]]] = {
    Market: _markets,
    GatewayConfig: _gateway_configs,
    HttpConfig: _http_configs,
    Bar: lambda: st.builds(Bar, st.integers(0, int(LAST_TIME)), *[decimals()] * 6),
    Depth: lambda: st.builds(Depth, st.floats(0, LAST_TIME), _pairs(), _pairs()),
    Trade: lambda: st.builds(
        Trade,
        st.floats(0, LAST_TIME),
        decimals(),
        decimals(),
        wire_enums(Side),
        st.none() | _ids(),
    ),
    Fill: lambda: st.builds(Fill, _ids(), st.floats(0, LAST_TIME), orders(), *[decimals()] * 3),
}
"""A strategy for each class of the exchange that cannot be made of anything."""
