"""A task that is cancelled ends, even while a library of a bus does not heed it."""

import asyncio
from collections.abc import Callable

import pytest

from topone_redis._errors import as_bus_errors
from topone_relay import BusUnavailable
from topone_relay._cancelling import heeding_cancellation


class Library:
    """A library that forgets the first cancellation."""

    def __init__(self, outcome: Callable[[], int]) -> None:
        self._outcome = outcome
        self.is_asked = asyncio.Event()
        self.is_asked_again = asyncio.Event()

    async def ask(self) -> int:
        if self.is_asked.is_set():
            self.is_asked_again.set()
            await asyncio.Event().wait()
        try:
            self.is_asked.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return self._outcome()


def answer() -> int:
    return 1


def fail() -> int:
    raise OSError("the connection is lost")


@pytest.mark.asyncio
@pytest.mark.parametrize("outcome", [answer, fail])
async def test_a_cancellation_that_a_library_forgets_is_heeded(outcome: Callable[[], int]) -> None:
    library = Library(outcome)

    async def read() -> None:
        while True:
            try:
                await as_bus_errors("read", library.ask(), 60.0)
            except BusUnavailable:
                continue

    task = asyncio.create_task(read())
    await library.is_asked.wait()
    task.cancel()
    again = asyncio.create_task(library.is_asked_again.wait())
    await asyncio.wait({task, again}, return_when=asyncio.FIRST_COMPLETED)
    assert task.cancelled()
    again.cancel()


@pytest.mark.asyncio
async def test_a_deadline_that_a_library_forgets_is_heeded() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await heeding_cancellation(Library(answer).ask())


@pytest.mark.asyncio
async def test_an_answer_in_a_task_that_was_cancelled_before_is_one() -> None:
    """Code that cleans up after a cancellation may still ask."""

    async def clean() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await heeding_cancellation(asyncio.sleep(0, 5))
        return 0

    task = asyncio.create_task(clean())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 5
