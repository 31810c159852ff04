"""A page of an aiohttp application that shows balances and orders as they change.

The framework: the web server, its life and its tasks, server-sent events.
The core: an open feed by `topone_asyncio`, and the account that its events add up to.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from aiohttp import web

import topone_asyncio
import topone_simulator
from topone_proto import (
    BALANCE,
    ORDERS,
    Closed,
    Connected,
    Disconnected,
    FeedFailed,
    Gap,
    Order,
    OrderType,
    SessionConfig,
)
from topone_proto.account import Account

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Balances and orders</title>
<style>
  :root { color-scheme: light dark }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 44rem;
    padding: 0 1rem }
  h1 { font-size: 1.3rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem }
  #feed { margin: 0; opacity: .8 }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
  th, td { border-bottom: 1px solid #8884; padding: .3rem .4rem; text-align: right }
  th { font-size: .8rem; font-weight: 600; opacity: .7 }
  th:first-child, td:first-child { padding-left: 0; text-align: left }
  .buy { color: light-dark(#17723a, #6fd08c) } .sell { color: light-dark(#a3231f, #f08a80) }
  @media (max-width: 30rem) { body { font-size: 14px } .wide { display: none } }
</style>
<h1>Balances and orders</h1>
<p id="feed" role="status">connecting</p>
<h2>Balances seen</h2>
<table><thead><tr><th>asset<th>available<th>frozen</thead><tbody id="balances"></tbody></table>
<h2>Open orders seen</h2>
<table><thead><tr><th>market<th>side<th>price<th>left<th class="wide">amount</thead>
<tbody id="orders"></tbody></table>
<script>
  const find = id => document.getElementById(id)
  const row = cells => {
    const made = document.createElement("tr")
    for (const [text, look] of cells) {
      const cell = made.insertCell()
      cell.textContent = text
      cell.className = look ?? ""
    }
    return made
  }
  const source = new EventSource("events")
  source.onerror = () => { find("feed").textContent = "the page is not connected" }
  source.onmessage = ({data}) => {
    const {feed, balances, orders} = JSON.parse(data)
    find("feed").textContent = feed
    find("balances").replaceChildren(...balances.map(
      ([asset, available, frozen]) => row([[asset], [available], [frozen]])))
    find("orders").replaceChildren(...orders.map(
      ([market, side, price, left, amount]) =>
        row([[market], [side, side], [price], [left], [amount, "wide"]])))
  }
</script>
"""


class Board:
    """The content of the page, and those who wait for it to change."""

    def __init__(self) -> None:
        self.account, self.gaps, self.feed = Account(), 0, "connecting"
        self.is_over, self.changed = False, asyncio.Event()

    async def follow(self, feed: topone_asyncio.Feed) -> None:
        async for event in feed:
            print(event)
            self.account.apply(event)
            match event:
                case Connected(epoch=epoch):
                    self.feed = f"connected, connection {epoch}"
                case Disconnected(reason=reason):
                    self.feed = f"not connected: {reason.kind}"
                case Gap():
                    self.gaps += 1
                case Closed(failure=failure) if failure is not None:
                    self.feed = f"the feed has ended: {failure}"
                case _:
                    pass
            self.ring()

    def ring(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def end(self, _: web.Application) -> None:
        self.is_over = True
        self.ring()

    def state(self) -> str:
        balances = self.account.balances().value.values()
        orders = self.account.open_orders().value.values()
        missed = f"; updates may be missing: {self.gaps} gaps" if self.gaps else ""
        return json.dumps(
            {
                "feed": self.feed + missed,
                "balances": sorted(
                    (b.asset, f"{b.available:f}", f"{b.freeze:f}") for b in balances
                ),
                "orders": [
                    (o.market, o.side.name.lower(), price_of(o), f"{o.left:f}", f"{o.amount:f}")
                    for o in orders
                ],
            }
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The newest state, whenever it changes: a slow browser sees fewer of them."""
        headers = {"Cache-Control": "no-store", "Content-Type": "text/event-stream"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        with suppress(ConnectionError):
            while not self.is_over:
                changed = self.changed
                await response.write(f"data: {self.state()}\n\n".encode())
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), 15)  # then see who is still there
        return response


def price_of(order: Order) -> str:
    return "market" if order.type is OrderType.MARKET else f"{order.price:f}"


FOLLOWER = web.AppKey("follower", asyncio.Task[None])


async def page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


def add_account(app: web.Application, **settings: Any) -> None:
    """Give an application the page. ``settings`` are those of ``open_feed``."""
    board = Board()

    async def live(app: web.Application) -> AsyncIterator[None]:
        async with topone_asyncio.open_feed(**settings) as feed:
            app[FOLLOWER] = asyncio.create_task(board.follow(feed))
            yield
        await asyncio.wait([app[FOLLOWER]])

    app.cleanup_ctx.append(live)
    app.on_shutdown.append(board.end)
    app.add_routes([web.get("/", page), web.get("/events", board.stream)])


def main(url: str, config: SessionConfig | None = None) -> None:
    """Serve the page, and print events, until Ctrl-C."""

    async def serve() -> None:
        app = web.Application()
        token = os.environ.get("TOPONE_TOKEN", "demo")
        add_account(app, url=url, token=token, topics=[ORDERS, BALANCE], config=config)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", int(os.environ.get("PORT", "8080"))).start()
            host, port = runner.addresses[0]
            print(f"open http://{host}:{port}/ in a browser")
            await asyncio.wait([app[FOLLOWER]])
        finally:
            await runner.cleanup()
        await app[FOLLOWER]

    try:
        asyncio.run(serve())
    except FeedFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1])
    else:
        with topone_simulator.run_in_thread(rate=5) as simulator:
            main(simulator.url)
