"""The adapter, as the conformance kit is shown it."""

from functools import partial

import anyio

from topone_anyio.feed import open_feed, open_market_feed
from topone_proto.testing.conformance import Adapter, Main


def run(backend: str, main: Main, timeout: float) -> None:
    async def bounded() -> None:
        with anyio.move_on_after(timeout):
            await main()

    anyio.run(bounded, backend=backend)


on_asyncio = Adapter(
    "AnyIO on asyncio", open_feed, partial(run, "asyncio"), anyio.sleep, open_market_feed
)
on_trio = Adapter("AnyIO on trio", open_feed, partial(run, "trio"), anyio.sleep, open_market_feed)
