"""The export of fills while an account is followed: a thread of its own, so that a slow disk never
delays the account."""

import threading
import time
from typing import Final

from topone_cli._fill_files import FillFile
from topone_cli._fills import Row, Seen
from topone_proto import Order

__all__ = ["Exporter"]

_MANY: Final = 10_000
# A file that is written anew each time takes a twentieth of the time at most.
_SHARE: Final = 20.0


class Exporter:
    """Changes that are handed over at once and written by a thread. To be closed.

    A failure never reaches the account: its follower looks at ``is_broken``, and ends.

    Args:
        file: where to.
        pause: the least time between two writes, in seconds.
    """

    def __init__(self, file: FillFile, pause: float = 0.0) -> None:
        self._file = file
        self._pause = pause
        self._condition = threading.Condition()
        self._states: list[tuple[Order, bool]] = []
        self._limit = _MANY
        self._seen: Seen | None = None
        self._is_closing = False
        self._failure: Exception | None = None
        self.rows = 0
        """The number of rows that were written."""
        self._thread = threading.Thread(target=self._run, name="topone export", daemon=True)
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        """True once something could not be written. Nothing is, from there on."""
        return self._failure is not None

    def take(self, order: Order, *, healed: bool) -> None:
        """Export what is filled of an order in this state, as far as the file lacks it."""
        with self._condition:
            self._states.append((order, healed))
            if len(self._states) >= self._limit:
                # The disk is slow: of each order the last state says all that counts.
                latest = {state[0].id: state for state in self._states}
                self._states = list(latest.values())
                self._limit = max(_MANY, 2 * len(self._states))
            self._condition.notify()

    def sure_of(self, seen: Seen) -> None:
        """Take note of the orders of which everything was handed over by now."""
        with self._condition:
            self._seen = seen
            self._condition.notify()

    def close(self) -> None:
        """Write what is left, and close the file. Raises CommandFailed if not all is in it."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        self._thread.join()
        self._file.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while self._write():
                pass
        except Exception as error:  # noqa: BLE001 - raised by close, in the thread that can end
            self._failure = error

    def _write(self) -> bool:
        """Wait for something to write, and write it. Return False after the last time."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._states or self._seen is not None or self._is_closing
            )
            states, self._states = self._states, []
            seen, self._seen = self._seen, None
            is_last = self._is_closing
        exported = self._file.exported
        found = (exported.next_row(order, healed=healed) for order, healed in states)
        rows: list[Row] = [row for row in found if row is not None]
        started = time.monotonic()
        self._file.write(rows, seen)
        self.rows += len(rows)
        if is_last:
            return False
        if self._pause:
            took = time.monotonic() - started
            with self._condition:
                self._condition.wait_for(lambda: self._is_closing, max(self._pause, _SHARE * took))
        return True
