"""Feeds without a socket: what an adapter costs beyond the core."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import trio

import topone_asyncio
import topone_trio
from benchmarks import frames
from benchmarks.driven import answer_to
from topone_proto import ORDERS, Connect, Subscribed

__all__ = ["on_asyncio", "on_trio"]


class _Memory:
    """A WebSocket that has every order update in it, so many times, and all of them at once."""

    def __init__(self, times: int, make_event: Callable[[], Any]) -> None:
        self._frames = iter(frames.orders() * times)
        self._answer: str | None = None
        self._is_asked = make_event()
        self._is_over = make_event()

    async def receive(self) -> str | bytes:
        if self._is_asked is not None:
            await self._is_asked.wait()
            self._is_asked = None
            assert self._answer is not None
            return self._answer
        for frame in self._frames:
            return frame
        await self._is_over.wait()
        raise AssertionError

    async def send_text(self, text: str) -> None:
        if self._is_asked is not None:
            self._answer = answer_to(text)
            self._is_asked.set()

    async def send_ping(self, payload: bytes) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        pass


async def _take(open_feed: Callable[..., Any], times: int, make_event: Callable[[], Any]) -> float:
    @asynccontextmanager
    async def open_websocket(
        _connect: Connect, _on_pong: Callable[[bytes], object]
    ) -> AsyncIterator[_Memory]:
        yield _Memory(times, make_event)

    async with open_feed(token="token", topics=[ORDERS], open_websocket=open_websocket) as feed:
        async for event in feed:
            if isinstance(event, Subscribed):
                break
        left = times * frames.COUNT
        started = perf_counter()
        async for _event in feed:
            left -= 1
            if not left:
                break
        return perf_counter() - started


def on_asyncio(times: int) -> float:
    """Every order update, so many times, through a feed on asyncio."""
    return asyncio.run(_take(topone_asyncio.open_feed, times, asyncio.Event))


def on_trio(times: int) -> float:
    """Every order update, so many times, through a feed on trio."""
    return trio.run(_take, topone_trio.open_feed, times, trio.Event)
