"""The demonstration: an exchange of its own, its account made whole over HTTP, and one accident."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from topone_cli._access import Access
from topone_cli._account_source import AccountSource
from topone_cli._account_words import differences_in_words
from topone_cli._files import Recorder
from topone_cli._output import Output
from topone_cli._run import Adapter, run_feed
from topone_cli._topics import ACCOUNT_TOPICS
from topone_proto.account import AccountConfig, AccountEvent, Resynced
from topone_proto.exchange import DropConnections, RefuseHandshake

if TYPE_CHECKING:
    from topone_simulator import Simulator

__all__ = ["run_demo"]

_DROP_AFTER: Final = 4.0
# This exchange answers at once and is never behind its stream.
_ANSWER_LAG: Final = 0.2


def run_demo(
    simulator: "Simulator",
    output: Output,
    adapter: Adapter,
    seconds: float | None,
    recorder: Recorder | None = None,
) -> None:
    """Follow the simulator's account, drop the connection once on the way, and refuse the dials
    that come next, so that something is missed: two, or one if there is little time.

    Raises: as ``run_feed``.
    """
    drop_after, refused = (
        (_DROP_AFTER, 2) if seconds is None else (min(_DROP_AFTER, seconds / 4), 1)
    )

    dials = "dial" if refused == 1 else "dials"

    def drop() -> None:
        output.note(
            f"the demo now resets the connection and refuses the next {dials}; meanwhile the "
            "account lives on",
            time.time(),
        )
        simulator.inject(RefuseHandshake(503, times=refused))
        simulator.inject(DropConnections())

    with _later(drop_after, drop) as start_timer:
        lives = _Lives(output, start_timer)
        source = AccountSource(
            access=Access(simulator.credentials, None, "the demo"),
            url=simulator.url,
            http_url=simulator.http_url,
            topics=ACCOUNT_TOPICS,
            config=AccountConfig(answer_lag=_ANSWER_LAG),
        )
        run_feed(adapter, source, lives.take, seconds, recorder)


class _Lives:
    """Shows every event, and says what an accident cost."""

    def __init__(self, output: Output, is_whole: Callable[[], None]) -> None:
        self._output = output
        self._is_whole = is_whole
        self._waiting = set(ACCOUNT_TOPICS)
        self._missed = 0
        self._rounds = 0

    def take(self, event: AccountEvent) -> None:
        self._output.event(event, time.time())
        if not isinstance(event, Resynced):
            return
        self._waiting.discard(event.topic)
        self._missed += len(differences_in_words(event.differences))
        if self._waiting:
            return
        self._rounds += 1
        if self._rounds == 1:
            self._is_whole()
        else:
            changes = "1 change was" if self._missed == 1 else f"{self._missed} changes were"
            self._output.note(
                f"whole again: {changes} missed, and asked for over HTTP", time.time()
            )
        self._waiting, self._missed = set(ACCOUNT_TOPICS), 0


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
