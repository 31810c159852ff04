"""An adapter for AnyIO, with topone_websockets: the same feeds and accounts on asyncio and on trio.

The framework: connections, tasks, cancel scopes.
The core: `AsyncFeed`, which brings all of a feed that is not a socket, a clock or a task.

`python -m topone_proto.testing.conformance topone_anyio.conformance:on_trio`, in this directory,
checks it.
"""

from topone_anyio.feed import open_account, open_feed, open_market_feed

__all__ = ["open_account", "open_feed", "open_market_feed"]
