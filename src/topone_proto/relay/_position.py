"""The place of a consumer in the stream of an account."""

import re
from typing import Any, Final, Self

from attrs import field, frozen

from topone_proto.errors import ConfigurationError

__all__ = ["Position", "unchecked"]

_set: Final = object.__setattr__

_FORM: Final = re.compile(r"(\d{1,19})-(\d{1,19})-(\d{1,19})(g?)", re.ASCII)


def _count(_: object, __: object, count: Any) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ConfigurationError(
            setting="position",
            problem=f"{count!r:.80} is no number of a place in a stream",
            remedy="use a position that a cursor gave",
        )


@frozen(order=True)
class Position:
    """The place in the stream of an account up to which everything was delivered.

    Store it as text, together with what the program did because of the event that it came with. A
    cursor that starts from it goes on with the next event.

    >>> str(Position(epoch=3, number=17, index=2))
    '3-17-2'
    >>> Position.parse("3-17-2")
    Position(epoch=3, number=17, index=2, gap_due=False)

    Raises:
        ConfigurationError: a number is none.
    """

    epoch: int = field(validator=_count)
    """The lease under which the messages are published; the first is 1 or later."""
    number: int = field(validator=_count)
    """The message that comes next, or of which a part has been delivered."""
    index: int = field(default=0, validator=_count)
    """The number of that message's items that were delivered."""
    gap_due: bool = field(default=False, order=False)
    """True while a ``Gap`` is still to be delivered: the account was taken over, or messages were
    lost, and the topic's ``Subscribed`` has not come yet."""

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}-{self.index}{'g' * self.gap_due}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the position that was written as ``text``.

        Raises:
            ConfigurationError: it is no position.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                setting="position",
                problem=f"{text!r:.80} is no position",
                remedy="use what str(position) gave, such as 3-17-2",
            )
        epoch, number, index, mark = found.groups()
        return cls(int(epoch), int(number), int(index), gap_due=bool(mark))


def unchecked(epoch: int, number: int, index: int) -> Position:
    """Return a position whose numbers are known to be some, in a third of the time."""
    made = Position.__new__(Position)
    _set(made, "epoch", epoch)
    _set(made, "number", number)
    _set(made, "index", index)
    _set(made, "gap_due", False)  # noqa: FBT003 - a field
    return made
