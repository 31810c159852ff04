"""The adapters of this project, as the conformance kit is shown them."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio

import topone_asyncio
import topone_threads
import topone_trio
from topone_proto.adapters import conceal
from topone_proto.testing.conformance import Adapter, Main
from topone_trio import over_websockets


def run_trio(main: Main, timeout: float) -> None:
    async def bounded() -> None:
        with trio.move_on_after(timeout):
            await main()

    trio.run(bounded)


def run_asyncio(main: Main, timeout: float) -> None:
    asyncio.run(asyncio.wait_for(main(), timeout), debug=True)


def open_over_websockets(
    *, token: Any, url: str, ssl_context: Any, **arguments: Any
) -> AbstractAsyncContextManager[topone_trio.Feed]:
    # A traceback shows what this function was given as well.
    token, url = conceal(token, url)
    open_websocket = partial(over_websockets.open_websocket, ssl_context=ssl_context)
    return topone_trio.open_feed(token=token, url=url, open_websocket=open_websocket, **arguments)


TRIO = Adapter("trio", topone_trio.open_feed, run_trio, trio.sleep, topone_trio.open_market_feed)
TRIO_OVER_WEBSOCKETS = Adapter(
    "trio over websockets",
    open_over_websockets,
    run_trio,
    trio.sleep,
    partial(topone_trio.open_market_feed, open_websocket=over_websockets.open_websocket),
)
ASYNCIO = Adapter(
    "asyncio",
    topone_asyncio.open_feed,
    run_asyncio,
    asyncio.sleep,
    topone_asyncio.open_market_feed,
)
THREADS = Adapter.blocking("threads", topone_threads.open_feed, topone_threads.open_market_feed)
ADAPTERS = (ASYNCIO, THREADS, TRIO, TRIO_OVER_WEBSOCKETS)
