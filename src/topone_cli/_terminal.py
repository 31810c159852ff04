"""Live displays at a terminal, taken away again however it ends."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["started"]


class _Shown(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def started(shown: _Shown) -> Generator[None, None, None]:
    """Start one of rich's live displays, and stop it in the end.

    Their own ``with`` block leaves the terminal as it is, without a cursor or on its second screen,
    if Ctrl-C comes while it is entered or left.
    """
    try:
        with _uninterrupted():
            shown.start()
        yield
    finally:
        with _uninterrupted():
            shown.stop()


@contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """Have Ctrl-C wait for the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if is_interrupted:
        signal.raise_signal(signal.SIGINT)
