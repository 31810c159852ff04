"""The time that storing takes, as far as a budget has to know it.

Theory. A request that counts is noted and stored before it leaves. Other processes count from the
note, and the exchange from when the request leaves; the margin of the budget covers the time in
between. A request whose note took longer to store does not leave. The next note is dated ahead, by
twice the time that storing took, so that a slow disk makes requests rarer and does not end them.
"""

from typing import Final

__all__ = ["LONGEST", "Storing"]

LONGEST: Final = 10.0
"""The most seconds that a note is dated ahead: what takes longer to store cannot be waited for."""


class Storing:
    """Judges how long each note took to store.

    Args:
        margin: the seconds that the budget has to spare.
    """

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self.ahead = 0.0
        """The seconds by which the next note is to be dated ahead."""

    def is_in_time(self, seconds: float) -> bool:
        """Return True if a request may leave whose note took so long to store. Negative if the
        clock was set back meanwhile: then it may not."""
        if 0 <= seconds <= self._margin + self.ahead:
            if seconds <= self._margin:
                self.ahead /= 2
            return True
        if seconds > 0:
            self.ahead = min(2 * seconds, LONGEST)
        return False
