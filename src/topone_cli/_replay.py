"""Replay in the recorded time, some times faster, or as fast as it goes."""

import threading
import time
from collections.abc import Callable

from topone_cli._output import Output
from topone_cli._streams import output_failure
from topone_proto import Closed, Failure
from topone_proto.capture import Capture, replay

__all__ = ["Player"]


class Player:
    """A player of recordings, with the time of day in them.

    Args:
        speed: how many recorded seconds pass in one; None does not wait.
        clock: monotonic seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        speed: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        # Of the latest line: its time of day, and when it was due here.
        self._wall = 0.0
        self._due = 0.0

    def time(self) -> float:
        """Return the recorded time of day in seconds since 1970 UTC."""
        if self._speed is None or not self._wall:
            return self._wall
        return self._wall + (self._clock() - self._due) * self._speed

    def play(self, capture: Capture, output: Output) -> Failure | None:
        """Hand every event to ``output`` when it is due, with its recorded time.

        Returns:
            Why the recorded feed ended by itself; None if it did not.

        Raises:
            CaptureError: a line cannot be read or lived.
        """
        before: float | None = None
        failure: Failure | None = None
        for line, step in replay(capture):
            if before is None:
                self._due = self._clock()
            elif self._speed is not None:
                self._due += (line.now - before) / self._speed
                self._wait()
            before, self._wall = line.now, line.wall
            for event in step.events:
                output.event(event, line.wall)
                if isinstance(event, Closed):
                    failure = event.failure
            if output_failure() is not None:
                break
        return failure

    def _wait(self) -> None:
        # Whoever is late does not wait, and catches up.
        seconds = self._due - self._clock()
        if seconds > 0:
            self._sleep(min(seconds, threading.TIMEOUT_MAX))
