"""The common part of several families of topics: numbers of the exchange, and the side of a
trade."""

from enum import IntEnum
from typing import Any, Self

__all__ = ["Side", "WireEnum"]


class WireEnum(IntEnum):
    """Numbers of the exchange. One that its page does not list keeps its number as
    ``UNKNOWN_<number>``."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if type(value) is not int:
            return None
        # Made anew each time and not registered: a hostile peer cannot grow the class.
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        # By its number: Python 3.11.2 looks a member up by name, which only known ones have.
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        """True if the exchange's page lists this number."""
        return self._name_ in type(self).__members__


class Side(WireEnum):
    """The side of an order."""

    SELL = 1
    """Gives stock for money."""
    BUY = 2
    """Gives money for stock."""
