"""One side of a book: the orders of others, as lots by price in ticks."""

from bisect import bisect_left
from random import Random
from typing import Final

__all__ = ["MOST_LOTS", "Ladder"]

MOST_LOTS: Final = 20_000
"""The most lots that one level begins with."""
# Ticks from the market's price to each level: close ones first, then wider.
_DISTANCES: Final = tuple(n + n**3 // 10 for n in range(1, 41))
# Levels between one of these distances and the next, at most.
_CROWD: Final = 2
# Ticks that the best level may be away before the ladder is arranged anew.
_SPREAD: Final = 3


class Ladder:
    """The levels of one side."""

    def __init__(self, direction: int, random: Random) -> None:
        """Begin without levels.

        Args:
            direction: 1 for asks, whose prices go up from the best one; -1 for bids.
            random: the source of all chance.
        """
        self.levels: dict[int, int] = {}
        """Lots by price in ticks."""
        self._direction = direction
        self._random = random

    @property
    def best(self) -> int | None:
        """The price in ticks that a taker meets first; None if there is no level."""
        return min(self.levels, key=self._direction.__mul__, default=None)

    def arrange(self, start: int) -> None:
        """Have levels beyond ``start`` and nowhere else, the best of them near it."""
        best = self.best
        if best is not None and 0 < (best - start) * self._direction <= _SPREAD:
            return
        crowd = [0] * len(_DISTANCES)
        arranged: dict[int, int] = {}
        for price, lots in self.levels.items():
            distance = (price - start) * self._direction
            place = bisect_left(_DISTANCES, distance)
            if distance > 0 and place < len(crowd) and crowd[place] < _CROWD:
                crowd[place] += 1
                arranged[price] = lots
        for place, distance in enumerate(_DISTANCES):
            price = start + self._direction * distance
            if not crowd[place] and price > 0:
                arranged[price] = self._some()
        self.levels = arranged

    def change_one(self) -> None:
        """Give one level another amount."""
        self.levels[self._random.choice(list(self.levels))] = self._some()

    def take(self, price: int, lots: int) -> None:
        """Take lots from a level; it is gone once it has none."""
        left = self.levels[price] - lots
        if left > 0:
            self.levels[price] = left
        else:
            del self.levels[price]

    def _some(self) -> int:
        return self._random.randint(1, MOST_LOTS)
