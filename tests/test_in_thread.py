"""Calls that may block, in threads that hold nobody up; and the store that blocks never."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from topone_asyncio._dial import in_thread as in_thread_of_asyncio
from topone_proto.account import StoredState
from topone_proto.adapters import MemoryStore
from topone_trio._dial import in_thread as in_thread_of_trio


async def cancelled_in_asyncio(function: Callable[[], object], is_called: threading.Event) -> None:
    task = asyncio.create_task(in_thread_of_asyncio(function))
    await in_thread_of_asyncio(is_called.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_in_trio(function: Callable[[], object], is_called: threading.Event) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread_of_trio, function)
            await in_thread_of_trio(is_called.wait)
            scope.cancel()
    assert scope.cancelled_caught


def run_asyncio(function: Callable[..., Any], *arguments: Any) -> Any:
    return asyncio.run(function(*arguments))


LOOPS = {
    "asyncio": (run_asyncio, in_thread_of_asyncio, cancelled_in_asyncio),
    "trio": (trio.run, in_thread_of_trio, cancelled_in_trio),
}


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> Any:
    return LOOPS[request.param]


def test_a_call_in_a_thread_has_its_result_or_its_error(loop: Any) -> None:
    run, in_thread, _ = loop
    main = threading.current_thread()
    assert run(in_thread, threading.current_thread) is not main
    with pytest.raises(ZeroDivisionError):
        run(in_thread, lambda: 1 // 0)


def test_a_call_that_is_given_up_is_waited_for_by_nobody(loop: Any) -> None:
    run, _, cancelled = loop
    is_called, may_end, has_ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        is_called.set()
        may_end.wait()
        has_ended.set()

    run(cancelled, hang, is_called)
    assert not has_ended.is_set()
    may_end.set()
    assert has_ended.wait(10)


@pytest.mark.parametrize("adapter", ["asyncio", "trio"])
def test_a_call_that_hangs_does_not_keep_python_from_exiting(adapter: str) -> None:
    call = {
        "asyncio": "asyncio.run(asyncio.wait_for(in_thread(hang), 0.01))",
        "trio": "trio.run(bounded)",
    }[adapter]
    program = f"""
import asyncio, contextlib, threading, trio
from topone_{adapter}._dial import in_thread

def hang():
    threading.Event().wait()

async def bounded():
    with trio.fail_after(0.01):
        await in_thread(hang)

with contextlib.suppress(TimeoutError, trio.TooSlowError):
    {call}
print("over")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("over\n", "", 0)


def test_a_store_in_memory_keeps_what_was_there_first() -> None:
    store = MemoryStore()
    assert store.load() == StoredState()
    first, second = StoredState(order_calls=(1.0,)), StoredState(order_calls=(2.0,))
    assert store.save(first, StoredState()) is None
    assert store.save(second, StoredState()) == first
    assert store.load() == first
    assert store.save(second, first) is None
    assert store.load() == second
