"""The pace at which a node opens accounts, so that a start of hundreds is no storm."""

import asyncio
from typing import Final

__all__ = ["Pace"]

_AT_ONCE: Final = 5


class Pace:
    """Lets a few through at once and the others at a rate.

    Args:
        per_second: how many go through in a second.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        # The time at which the next one may go if nobody had a head start.
        self._next = 0.0

    async def turn(self) -> None:
        """Return when it is one's turn. Whoever is cancelled meanwhile leaves its turn unused."""
        now = asyncio.get_running_loop().time()
        at = max(self._next, now - (_AT_ONCE - 1) * self._interval)
        self._next = at + self._interval
        if at > now:
            await asyncio.sleep(at - now)
