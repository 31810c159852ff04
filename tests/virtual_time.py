"""An event loop of asyncio whose clock jumps to the next timer as soon as nothing else is to do:
minutes take milliseconds, and what happens is the same in every run."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["run_virtually"]


class _Selector(selectors.SelectSelector):
    """Never waits for as long as it is told to: the clock does."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen any more"
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_virtually(main: Callable[[], Awaitable[None]], *, limit: float = 100_000.0) -> None:
    """Run a program in virtual time; it fails after ``limit`` seconds of that."""

    async def bounded() -> None:
        async with asyncio.timeout(limit):
            await main()
        left: set[asyncio.Task[Any]] = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    with asyncio.Runner(loop_factory=_Loop, debug=False) as runner:
        runner.run(bounded())
