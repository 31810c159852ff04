"""The demonstration: an exchange of its own, a feed of its account, and one accident."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from topone_cli._files import Recorder
from topone_cli._output import Output
from topone_cli._run import Adapter, Source, run_feed
from topone_cli._topics import ACCOUNT_TOPICS
from topone_proto import Event, Subscribed, Token
from topone_proto.exchange import DropConnections
from topone_simulator import Simulator

__all__ = ["run_demo"]

_DROP_AFTER: Final = 4.0


def run_demo(
    simulator: Simulator,
    output: Output,
    adapter: Adapter,
    seconds: float | None,
    recorder: Recorder | None = None,
) -> None:
    """Follow the simulator's account, and drop the connection once on the way.

    Raises: as ``run_feed``.
    """
    drop_after = _DROP_AFTER if seconds is None else min(_DROP_AFTER, seconds / 3)

    def drop() -> None:
        output.note(
            "the demo now resets the connection; the account lives on meanwhile", time.time()
        )
        simulator.inject(DropConnections())

    with _later(drop_after, drop) as start_timer:
        waiting = set(ACCOUNT_TOPICS)

        def handle(event: Event) -> None:
            output.event(event, time.time())
            if isinstance(event, Subscribed) and event.topic in waiting:
                waiting.remove(event.topic)
                if not waiting:
                    start_timer()

        source = Source(token=Token("demo"), url=simulator.url, topics=ACCOUNT_TOPICS)
        run_feed(adapter, source, handle, seconds, recorder)


@contextmanager
def _later(seconds: float, call: Callable[[], object]) -> Generator[Callable[[], None], None, None]:
    """Give a function that starts a timer. After the block the timer has ended, or never rings."""
    timer = threading.Timer(seconds, call)
    started = threading.Event()

    def start() -> None:
        timer.start()
        started.set()

    try:
        yield start
    finally:
        timer.cancel()
        if started.is_set():
            timer.join()
