"""Virtual time: a clock that only moves when there is nothing left to do at its moment, and a
record of what happened."""

import heapq
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import attrs

from topone_proto._values import value
from topone_proto.secrets.token import Token
from topone_proto.wire.topic import Topic

__all__ = ["Entry", "Violation", "World", "brief"]

# Far more than any scenario needs: who gets here goes round in circles.
_MOST_STEPS: Final = 200_000


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, rule: str, who: str, what: str, at: float) -> None:
        super().__init__(f"{rule} broken for {who} at {at:.3f} s: {what}")
        self.rule = rule
        """The invariant's name, such as ``"I1"``; see ``topone_proto.testing.simulation``."""
        self.who = who
        """The client."""
        self.what = what
        """The thing that was seen."""
        self.at = at
        """The virtual time."""


@value
class Entry:
    """One line of a timeline."""

    at: float
    """Virtual seconds since the beginning."""
    who: str
    """A client's name, or ``exchange``."""
    what: str
    """The event, in words."""


class World:
    """Time and the things that wait for it. What is due at the same moment happens in the order in
    which it was asked for.

    Args:
        timeline: where to record what happens; None records nothing, which is a good deal faster.
    """

    def __init__(self, timeline: list[Entry] | None = None) -> None:
        self.now: float = 0.0
        """Seconds since the beginning."""
        self.timeline = timeline
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._steps = 0

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call at a time, or now if that is past."""
        self._count += 1
        heapq.heappush(self._due, (max(when, self.now), self._count, call, args))

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """Call at this very moment, after what was asked for before."""
        self.at(self.now, call, *args)

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._due)
            call(*args)
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise Violation("progress", "the simulation", "it goes round in circles", self.now)
        self.now = until

    def note(self, who: str, what: str, *details: object) -> None:
        """Record a line, if lines are recorded."""
        if self.timeline is not None:
            self.timeline.append(Entry(self.now, who, " ".join((what, *map(brief, details)))))


def brief(thing: object) -> str:
    """A value in few words: of a value class only what says something."""
    if isinstance(thing, (Topic, str, Token)):
        return f"{thing}"
    if isinstance(thing, Enum):
        return thing.name
    cls = type(thing)
    if not attrs.has(cls):
        return repr(thing)
    told: list[str] = []
    for attribute in attrs.fields(cls):
        value_of = getattr(thing, attribute.name)
        if attribute.repr and value_of is not None and value_of != attribute.default:
            told.append(f"{attribute.name}={brief(value_of)}")
    return f"{cls.__name__}({', '.join(told)})"
