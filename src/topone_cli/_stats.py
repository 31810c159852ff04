"""A recording in numbers: a pure fold of its lines and their outcome.

However long the recording is, this stays small: it counts, and rounds what it counts.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, define, frozen

from topone_proto import (
    Connected,
    Disconnected,
    Event,
    Gap,
    Topic,
    Update,
)
from topone_proto.account import Account, MovedBackwards
from topone_proto.capture import CaptureLine
from topone_proto.events import ANOMALIES
from topone_proto.plain import to_plain
from topone_proto.session.step import Step

__all__ = ["GapSeen", "Stats", "Timeline"]

_MAX_SLOTS: Final = 3600
_KEPT: Final = 1000
_PERCENTILES: Final = (50, 90, 99)
_ROUND_TIMES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400)


@frozen
class GapSeen:
    """A gap, and where it is in the recording."""

    gap: Gap
    began: float
    """Seconds from the start of the recording to the beginning of what may be missing."""
    ended: float
    """And to its end: when the feed told of it."""


@define
class Timeline:
    """The number of events, slot by slot. The slots grow with the recording, so that there are
    never more than a few thousand."""

    width: float = 1.0
    """Seconds in a slot."""
    counts: list[int] = Factory(list[int])
    """The events of each."""

    def add(self, at: float, events: int) -> None:
        """Count so many events, so many seconds after the start."""
        while at >= self.width * _MAX_SLOTS:
            self.width *= 2
            counts = [*self.counts, 0]
            self.counts = [a + b for a, b in zip(counts[::2], counts[1::2], strict=False)]
        slot = int(at / self.width)
        self.counts += [0] * (slot + 1 - len(self.counts))
        self.counts[slot] += events

    def in_parts(self, most: int) -> tuple[float, list[int]]:
        """Return the same in so many slots at most: the seconds of one, and the events of each."""
        least = max(1, math.ceil(len(self.counts) / most))
        # Minutes are read more easily than 67 seconds.
        round_ones = (seconds / self.width for seconds in _ROUND_TIMES)
        times = next((int(n) for n in round_ones if n >= least and n.is_integer()), least)
        return self.width * times, [
            sum(self.counts[n : n + times]) for n in range(0, len(self.counts), times)
        ]


@define
class Stats:
    """The numbers. Times are in seconds on the recorder's clocks."""

    topics: tuple[Topic, ...] = ()
    """The topics desired from the start."""
    url: str = ""
    began_at: float | None = None
    """The time of day of the first input, since 1970 UTC."""
    seconds: float = 0.0
    """From the first input to the last."""
    inputs: int = 0
    frames: int = 0
    """The number of messages from the server."""
    size: int = 0
    """The number of their bytes, as UTF-8."""
    events: Counter[str] = Factory(Counter[str])
    """By class."""
    connections: int = 0
    losses: Counter[str] = Factory(Counter[str])
    """The causes of missing connections, by kind."""
    gap_counts: Counter[str] = Factory(Counter[str])
    """By topic."""
    gaps: list[GapSeen] = Factory(list[GapSeen])
    """The first of them."""
    anomalies: Counter[str] = Factory(Counter[str])
    """By class."""
    busiest: int = 0
    """The most events in one second."""
    timeline: Timeline = Factory(Timeline)
    _latencies: Counter[float] = Factory(Counter[float])
    """In milliseconds, to four digits."""
    _account: Account = Factory(Account)
    _first_now: float | None = None
    _lost_at: float = 0.0
    _second: int = 0
    _in_second: int = 0

    def take(self, line: CaptureLine, step: Step) -> None:
        """Fold in an input and its outcome."""
        if self._first_now is None:
            self._first_now, self.began_at = line.now, line.wall
        self.seconds = max(0.0, line.now - self._first_now)
        self.inputs += 1
        if line.kind == "message_received":
            self.frames += 1
            payload = line.payload
            text = payload if isinstance(payload, bytes) else payload.encode(errors="replace")
            self.size += len(text)
        self.timeline.add(self.seconds, len(step.events))
        self._count_in_second(len(step.events))
        for event in step.events:
            self._take_event(event, line)

    def add_latency(self, milliseconds: float) -> None:
        """Count an update that was so many milliseconds on its way."""
        # Rounded, so that there is a limit to how many different ones are kept.
        self._latencies[float(f"{milliseconds:.4g}")] += 1

    def latencies(self) -> Mapping[str, float]:
        """Return percentiles of the time from an update's server ``ts`` to its arrival by the
        recorder's clock, in milliseconds: the way, and the difference of the two clocks. Empty if
        there were no updates."""
        count = self._latencies.total()
        if not count:
            return {}
        ordered = sorted(self._latencies.items())
        found = {"min": ordered[0][0]}
        passed = 0
        wanted = iter(_PERCENTILES)
        percent = next(wanted, None)
        for milliseconds, times in ordered:
            passed += times
            while percent is not None and passed * 100 >= count * percent:
                found[f"p{percent}"] = milliseconds
                percent = next(wanted, None)
        return found | {"max": ordered[-1][0]}

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as ``json`` can write it."""
        return {
            "url": self.url,
            "topics": [topic.name for topic in self.topics],
            "began_at": self.began_at,
            "seconds": self.seconds,
            "inputs": self.inputs,
            "frames": self.frames,
            "bytes": self.size,
            "connections": self.connections,
            "losses": dict(self.losses),
            "events": dict(self.events),
            "events_per_second": self.rate,
            "busiest_second": self.busiest,
            "latency_ms": dict(self.latencies()),
            "anomalies": dict(self.anomalies),
            "gap_counts": dict(self.gap_counts),
            "gaps": [
                {**to_plain(seen.gap), "began": seen.began, "ended": seen.ended}
                for seen in self.gaps
            ],
            "timeline": {"slot": self.timeline.width, "events": self.timeline.counts},
        }

    @property
    def rate(self) -> float:
        """Events per second, all in all."""
        return self.events.total() / self.seconds if self.seconds else 0.0

    def _take_event(self, event: Event, line: CaptureLine) -> None:
        name = type(event).__name__
        self.events[name] += 1
        if isinstance(event, ANOMALIES):
            self.anomalies[name] += 1
        match event:
            case Update(ts=int(ts)):
                self.add_latency(line.wall * 1000 - ts)
            case Connected():
                self.connections += 1
            case Disconnected(reason=reason):
                self.losses[reason.kind.value] += 1
                self._lost_at = self.seconds
            case Gap(topic=topic):
                self.gap_counts[topic.name] += 1
                if len(self.gaps) < _KEPT:
                    self.gaps.append(GapSeen(event, self._beginning(event), self.seconds))
            case _:
                pass
        for change in self._account.apply(event):
            if isinstance(change, MovedBackwards):
                self.anomalies[type(change).__name__] += 1

    def _beginning(self, gap: Gap) -> float:
        if gap.since_ts is None or gap.until_ts is None:
            return self._lost_at
        # Only the length: the server's clock need not be the recorder's.
        return max(0.0, self.seconds - max(0, gap.until_ts - gap.since_ts) / 1000)

    def _count_in_second(self, events: int) -> None:
        second = int(self.seconds)
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += events
        self.busiest = max(self.busiest, self._in_second)
