"""Feeds of market data: the page market-data.md, and pulls."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import topone_trio
from frames import TOKEN
from topone_proto import (
    Candle,
    ConfigurationError,
    Connect,
    DealsUpdate,
    DepthUpdate,
    Event,
    FeedClosed,
    KlineUpdate,
    kline,
)
from topone_simulator import run_in_thread

PAGE = Path(__file__).parent.parent / "docs" / "market-data.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
KINDS = {KlineUpdate, DepthUpdate, DealsUpdate}


class Guided:
    """A feed whose iteration ends once an update of each kind has come."""

    def __init__(self, feed: topone_trio.Feed) -> None:
        self.feed = feed
        self.pull = feed.pull

    async def __aiter__(self) -> AsyncIterator[Event]:
        missing = set(KINDS)
        async for event in self.feed:
            yield event
            missing.discard(type(event))
            if not missing:
                break


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_of_the_page_run(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_market_feed = topone_trio.open_market_feed
    with run_in_thread(market_rate=200.0, history=86400.0 * 3) as simulator:

        @asynccontextmanager
        async def guided(**given: Any) -> AsyncIterator[Guided]:
            async with open_market_feed(**given, url=simulator.market_url) as feed:
                yield Guided(feed)

        monkeypatch.setattr(topone_trio, "open_market_feed", guided)
        run = trio.run

        async def bounded(main: Any) -> None:
            with trio.fail_after(60):
                await main()

        monkeypatch.setattr(trio, "run", lambda main: run(bounded, main))
        exec(BLOCKS[number], {"__name__": "page"})
    lines = capsys.readouterr().out.splitlines()
    if "pull" in BLOCKS[number]:
        # One piece would have 300.
        assert len(lines) > 500
    else:
        assert len(lines) >= len(KINDS)


class Line:
    """A WebSocket of the public exchange that answers what it is told to."""

    def __init__(self) -> None:
        self.put, self.inbox = trio.open_memory_channel[str](100)
        self.asked: list[dict[str, Any]] = []

    async def receive(self) -> str:
        return await self.inbox.receive()

    async def send_text(self, text: str) -> None:
        self.asked.append(json.loads(text))

    async def send_ping(self, payload: bytes) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...

    def answer(self, candles: list[list[Any]]) -> None:
        request = self.asked[-1]
        frame = {key: request[key] for key in ("id", "method")}
        data = {"list": candles}
        self.put.send_nowait(json.dumps({**frame, "code": 0, "msg": "", "ts": 1, "data": data}))


def test_a_pull_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    line = Line()

    @asynccontextmanager
    async def open_websocket(_: Connect, __: object) -> AsyncIterator[Line]:
        yield line

    async def main() -> None:
        topic = kline("BTC/USDT", "1m")
        async with topone_trio.open_market_feed(topics=[], open_websocket=open_websocket) as feed:
            with trio.move_on_after(1):
                await feed.pull(topic, 0, 600)
            assert [request["method"] for request in line.asked] == ["req_kline_BTC/USDT_1m"]
            candles: list[tuple[Candle, ...]] = []

            async def pull() -> None:
                candles.append(await feed.pull(topic, 6000, datetime(1970, 1, 1, 2, tzinfo=UTC)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pull)
                await trio.sleep(1)
                assert line.asked[-1]["params"] == {"from": 6000, "to": 7201}
                line.answer([[6060, "1", "2", "3", "0.5", "7", "8"]])
            [[candle]] = candles
            assert (candle.time, candle.open, candle.close) == (6060, Decimal(1), Decimal(2))
            assert feed.metrics().waiting == 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_pulls_are_answered_one_after_the_other() -> None:
    line = Line()

    @asynccontextmanager
    async def open_websocket(_: Connect, __: object) -> AsyncIterator[Line]:
        yield line

    async def main() -> None:
        pulled: list[int] = []
        async with topone_trio.open_market_feed(topics=[], open_websocket=open_websocket) as feed:

            async def pull(start: int) -> None:
                [candle] = await feed.pull(kline("BTC/USDT", "1m"), start, start)
                pulled.append(candle.time)

            async with trio.open_nursery() as nursery:
                for number in range(1, 3):
                    nursery.start_soon(pull, 60 * number)
                    await trio.testing.wait_all_tasks_blocked()
                for number in range(1, 3):
                    await trio.sleep(1)
                    assert len(line.asked) == number
                    line.answer([[60 * number, "1", "2", "3", "0.5", "7", "8"]])
            assert pulled == [60, 120]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_pull_ends_with_the_feed() -> None:
    line = Line()
    errors: list[Exception] = []

    @asynccontextmanager
    async def open_websocket(_: Connect, __: object) -> AsyncIterator[Line]:
        yield line

    async def main() -> None:
        async with (
            trio.open_nursery() as nursery,
            topone_trio.open_market_feed(topics=[], open_websocket=open_websocket) as feed,
        ):

            async def pull() -> None:
                try:
                    await feed.pull(kline("BTC/USDT", "1m"), 0, 600)
                except FeedClosed as error:
                    errors.append(error)

            nursery.start_soon(pull)
            await trio.testing.wait_all_tasks_blocked()
            await feed.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(errors) == 1


def test_a_token_that_somebody_puts_into_the_url_is_masked() -> None:
    with pytest.raises(ConfigurationError) as caught:
        topone_trio.open_market_feed(topics=[], url=f"ftp://x/?token={TOKEN}")
    assert TOKEN not in str(caught.value)
