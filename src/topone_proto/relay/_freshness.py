"""The age of what a consumer's feed hands out: fresh, behind, or nothing at all.

Theory. Nothing may look fresh that is not. Three things make it old:

- *the bus* cannot be read;
- *silence*: a holder publishes every few seconds, if only to say that it is alive. Without a
  message of it for ``timeout`` nobody seems to follow the account. Messages that are not a
  holder's, or of one that was replaced, are no sign of life;
- *a backlog*: what is read was published before the feed began, before the bus came back, or while
  the program took nothing, and more is still to be read.

The states, and what moves them::

                    ┌── a message that is not current, while behind ──┐
                    ├── silence, or the bus cannot be read ───────────┤
                    │                                                 v
    fresh or behind ┘                                              stalled
                    ^                                                 │
                    └────────────── a current message ────────────────┘

A message is *current* if the bus had no later one and it is younger than ``timeout``. A feed is
*behind* from its beginning, from an interruption, and from a long pause on, until it reads a
current message. While it is behind, nothing is said of messages that are current: a feed that
starts at an idle account's last message is not stalled for a moment.

``Stalled`` comes before the events of the first message that is not current, and ``Resumed`` after
those of the first that is. So whoever believes nothing in between believes no old snapshot.

The age of a message of the backlog is told by the bus, on its own clock alone. A bus that does not
know it is not believed: the next message that arrives while the feed waits is current.
"""

from typing import Final

from topone_proto.account import Stalled

__all__ = ["BACKLOG", "BUS", "SILENCE", "Freshness"]

BUS: Final = "the bus cannot be read"
SILENCE: Final = "nobody publishes"
BACKLOG: Final = "older messages are still to be read"

_LONG_PAUSE: Final = 1.0
"""Seconds for which a program may take nothing without being told that it was behind."""


class Freshness:
    """The age of what one feed hands out; see the theory of its module.

    Args:
        timeout: the seconds of silence after which nobody follows the account; None: silence means
            nothing.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self.is_behind: bool = True
        """True until a current message is read, from the beginning, an interruption or a pause
        on."""
        self.is_stalled: bool = False
        """True from ``Stalled`` to ``Resumed``."""
        self.stalls: int = 0
        """The number of times that nothing came."""
        self.lag: float | None = None
        """The age in seconds of the latest message when it was read, as far as it is known."""
        self._quiet_since: float | None = None
        self._paused_at: float | None = None
        self._has_outdated = False

    def opened(self, now: float) -> None:
        """The feed begins to wait for messages."""
        self._quiet_since = now

    def reads(
        self, now: float, *, age: float | None, is_last: bool, is_sign: bool
    ) -> Stalled | None:
        """A message is read; report what comes before its events.

        Args:
            now: the time.
            age: the seconds for which it had been on the bus; None if that is unknown.
            is_last: True if the bus had no later one.
            is_sign: True if it is the holder's.
        """
        self._has_outdated = not is_sign
        if not is_sign:
            return None
        self.lag = age
        self._quiet_since = now - (age or 0.0)
        is_young = age is not None and (self._timeout is None or age < self._timeout)
        if is_last and is_young:
            self.is_behind = False
            return None
        if not self.is_behind:
            return None
        if not is_last:
            return self._stall(BACKLOG, "they were published before it read on")
        return self._stall(SILENCE, _said_of(age))

    @property
    def resumes(self) -> bool:
        """True if ``Resumed`` is to be reported, after the events of the message that was read."""
        return self.is_stalled and not self.is_behind

    def resume(self) -> None:
        """``Resumed`` is reported."""
        self.is_stalled = False

    def interrupted(self, detail: str) -> Stalled | None:
        """The bus cannot be read."""
        self.is_behind = True
        return self._stall(BUS, detail)

    def restored(self, now: float) -> None:
        """The bus can be read again. The next message shows how far it is."""
        self._quiet_since = now

    def paused(self, now: float) -> None:
        """The program is behind: nothing is read."""
        self._paused_at = now

    def read_on(self, now: float) -> None:
        """The program has caught up with what was read."""
        if self._paused_at is not None and now - self._paused_at >= _LONG_PAUSE:
            self.is_behind = True
        self._paused_at = None
        self._quiet_since = now

    @property
    def deadline(self) -> float | None:
        """The time to call ``deadline_reached``; None for not before another input."""
        is_watched = not self.is_stalled and self._paused_at is None
        if self._timeout is None or self._quiet_since is None or not is_watched:
            return None
        return self._quiet_since + self._timeout

    def deadline_reached(self, now: float) -> Stalled | None:
        """Report that nobody publishes, if that is so. Calling early is harmless."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        self.is_behind = True
        if self._has_outdated:
            return self._stall(
                SILENCE,
                f"for {self._timeout:g} s only messages came that are none of its holder's, or "
                "older than the latest; if the bus has lost messages, open the feed anew, without "
                "a position",
            )
        return self._stall(SILENCE, f"there was no message for {self._timeout:g} s")

    def _stall(self, reason: str, detail: str) -> Stalled | None:
        if self.is_stalled:
            return None
        self.is_stalled = True
        self.stalls += reason != BACKLOG
        return Stalled(reason, detail)


def _said_of(age: float | None) -> str:
    if age is None:
        return "the bus does not say how old the latest message is"
    return f"the latest message is {age:.0f} s old"
