"""Scenarios about market data."""

from decimal import Decimal
from typing import Final

from attrs import evolve

from topone_proto.errors import ConfigurationError, FeedClosed
from topone_proto.events import Subscribed
from topone_proto.exchange import DropConnections
from topone_proto.models import Side
from topone_proto.session.answers import PullRefused
from topone_proto.testing.conformance.kit import QUICK, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.deals import DealsUpdate, deals
from topone_proto.wire.kline import kline
from topone_proto.wire.orders import ORDERS

__all__ = ["MARKET"]

MARKET: Final = Collection(Group.MARKET)
"""These scenarios."""

_NAME: Final = "ETH/BTC"
_DEALS: Final = deals(_NAME)
_PRICE: Final = Decimal("0.08132")
_AMOUNT: Final = Decimal("1.389")
_BRISK: Final = evolve(QUICK, pull_interval=0.001)


def _trade(kit: Kit) -> None:
    kit.simulator.market(_NAME, lambda market, now: market.trade(_PRICE, _AMOUNT, Side.BUY, now))


def _check_deal(kit: Kit, update: DealsUpdate) -> None:
    seen = [(deal.price, deal.amount, deal.side) for deal in update.deals]
    kit.same(seen, [(_PRICE, _AMOUNT, Side.BUY)], "the deals")


@MARKET.add(["connected 1", f"subscribed {_DEALS} 1", "DealsUpdate", f"unsubscribed {_DEALS} 1"])
async def market_data_needs_no_token(kit: Kit) -> None:
    """``open_market_feed`` takes no token, dials the public WebSocket and delivers what was
    subscribed to there."""
    async with kit.open_market(topics=[_DEALS]) as feed:
        await feed.until(Subscribed)
        _trade(kit)
        _check_deal(kit, await feed.take(DealsUpdate))
        await feed.unsubscribe(_DEALS)
        await feed.next()


@MARKET.add(
    [
        "connected 1",
        f"subscribed {_DEALS} 1",
        "disconnected lost, retry",
        "connected 2",
        f"subscribed {_DEALS} 2",
        f"gap {_DEALS} 2",
        "DealsUpdate",
    ]
)
async def market_data_comes_back_with_a_gap(kit: Kit) -> None:
    """A feed of market data dials again and says what may be missing, as any feed does."""
    async with kit.open_market(topics=[_DEALS], config=QUICK) as feed:
        await feed.until(Subscribed)
        kit.simulator.inject(DropConnections())
        await feed.until(Subscribed)
        await feed.next()
        _trade(kit)
        _check_deal(kit, await feed.take(DealsUpdate))


@MARKET.add()
async def a_pull_returns_candles(kit: Kit) -> None:
    """``pull`` waits for the answers to all its requests, of at most 300 periods each, and returns
    the candles, while updates go on."""
    _trade(kit)
    async with kit.open_market(topics=[], config=_BRISK) as feed:
        candles = await feed.pull(kline(_NAME, "1d"), 0, 86400 * 1000)
        kit.same([(each.close, each.amount) for each in candles], [(_PRICE, _AMOUNT)], "candles")
        pulls = [text for text in kit.simulator.requests if "req_kline" in str(text)]
        kit.same(len(pulls), 4, "the number of requests for 1001 days")


@MARKET.add()
async def a_pull_that_is_refused_raises(kit: Kit) -> None:
    """The error says so, with the exchange's code. The feed goes on."""
    async with kit.open_market(topics=[], config=_BRISK) as feed:
        with kit.raises(PullRefused) as caught:
            await feed.pull(kline("NO/SUCH", "1m"), 0, 60)
        kit.check(caught.error.code, "the code of the refusal is 0")
        await feed.subscribe(_DEALS)


@MARKET.add()
async def a_pull_that_cannot_be_is_refused_at_once(kit: Kit) -> None:
    """Deals cannot be pulled, no span ends before it begins, and a closed feed pulls nothing."""
    async with kit.open_market(topics=[]) as feed:
        for topic, end in ((_DEALS, 60), (kline(_NAME, "1m"), -1)):
            with kit.raises(ConfigurationError):
                await feed.pull(topic, 0, end)
        await feed.close()
        with kit.raises(FeedClosed):
            await feed.pull(kline(_NAME, "1m"), 0, 60)


@MARKET.add()
async def a_topic_of_the_other_websocket_is_refused_where_it_is_asked_for(kit: Kit) -> None:
    """Orders are not served by the public WebSocket, nor deals by the private one."""
    with kit.raises(ConfigurationError):
        await kit.open_market(topics=[ORDERS]).__aenter__()
    async with kit.open_market(topics=[]) as feed:
        with kit.raises(ConfigurationError):
            await feed.subscribe(ORDERS)
    async with kit.open(topics=[]) as feed:
        with kit.raises(ConfigurationError):
            await feed.subscribe(_DEALS)
