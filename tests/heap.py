"""Follows a feed to its end in a process of its own, and prints which objects still have the token.

The token comes over standard input, as the exchange knows it. The two halves of its secret part
come as arguments, so that the whole is nowhere but where the feed has it.
"""

import gc
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from topone_proto import ORDERS, Closed, SessionConfig, Subscribed, Token

CONFIG = SessionConfig(max_attempts=1, retry_first=1e-6)
ENDS = (Subscribed, Closed)


def read_token() -> Token:
    # Not by sys.stdin, whose buffer would keep it.
    return Token(os.read(0, 1000).decode().strip())


def follow(adapter: str, url: str) -> list[Any]:
    """Returns the feed, closed, and the last event."""
    name, _, over = adapter.partition(" over ")
    kept: list[Any] = []
    more: dict[str, Any] = {}
    if name == "threads":
        import topone_threads  # noqa: PLC0415 - one adapter in one process

        with topone_threads.open_feed(
            token=read_token(), url=url, topics=[ORDERS], config=CONFIG
        ) as blocking:
            for event in blocking:
                kept += [blocking, event]
                if isinstance(event, ENDS):
                    break
            blocking.close()
        return kept
    module: Any
    if name == "trio":
        import topone_trio as module  # noqa: PLC0415
    else:
        import topone_asyncio as module  # noqa: PLC0415
    if over:
        from importlib import import_module  # noqa: PLC0415

        more["open_websocket"] = import_module(f"{module.__name__}.over_{over}").open_websocket

    async def main() -> None:
        async with module.open_feed(
            token=read_token(), url=url, topics=[ORDERS], config=CONFIG, **more
        ) as feed:
            async for event in feed:
                kept.extend([feed, event])
                if isinstance(event, ENDS):
                    break
            await feed.close()

    if name == "trio":
        import trio  # noqa: PLC0415

        trio.run(main)
    else:
        import asyncio  # noqa: PLC0415

        asyncio.run(main())
    return kept


def holders(first: str, second: str) -> Iterator[str]:
    """Yield all that refers to a text or to bytes with the token, of all that Python knows of."""

    def has(text: str | bytes | bytearray) -> bool:
        plain = text if isinstance(text, str) else text.decode("latin-1")
        at = plain.find(first)
        return at >= 0 and plain[at + len(first) :].startswith(second)

    gc.collect()
    waiting = gc.get_objects()
    seen = {id(each) for each in waiting}
    while waiting:
        each = waiting.pop()
        # CPython 3.12 shows dead objects that _asyncio keeps to use again. Freed a second time they
        # make the last collection of the process endless.
        is_risky = isinstance(each, ModuleType) and each.__name__ == "_asyncio"
        for inner in [vars(each)] if is_risky else gc.get_referents(each):
            if isinstance(inner, (str, bytes, bytearray)):
                if has(inner):
                    yield f"{type(each).__module__}.{type(each).__qualname__} has a text of it"
            elif id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)


if __name__ == "__main__":
    lives = follow(sys.argv[1], sys.argv[2])
    found = [type(lives[-1]).__name__, *holders(sys.argv[3], sys.argv[4])]
    sys.stdout.write("\n".join(found))
