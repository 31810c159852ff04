"""Calls of a library that may miss that the task which makes them is cancelled.

``asyncio.wait_for`` of Python 3.11 returns a result that comes at the same moment as a
cancellation, and forgets the cancellation. redis-py and nats-py call it, and nats-py also catches
``CancelledError`` where it flushes. A task that reads a bus for ever would go on for ever.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["heeding_cancellation"]

_T = TypeVar("_T")


async def heeding_cancellation(answer: Awaitable[_T]) -> _T:
    """Return an answer.

    Raises:
        asyncio.CancelledError: the task was cancelled meanwhile, even if the library has missed it.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        return await answer
    finally:
        if task is not None and task.cancelling() > before:
            # Goes before whatever else was raised.
            raise asyncio.CancelledError
