"""A comparison of what the exchange sent with what the application was told, topic by topic: the
bookkeeping behind I1."""

from collections import defaultdict
from collections.abc import Callable
from typing import Never

from topone_proto.events import Gap
from topone_proto.wire.topic import Topic, Update

__all__ = ["Streams"]


class _Sent:
    """One update that was sent to a client and not delivered yet."""

    __slots__ = ("is_covered", "is_owed", "number", "peers", "serial", "times")

    def __init__(self, serial: int, ts: int, number: int, peer: int, *, is_owed: bool) -> None:
        self.serial = serial
        self.number = number
        self.peers = [peer]
        # By the clock of each of these connections.
        self.times = {peer: ts}
        self.is_owed = is_owed
        self.is_covered = False

    @property
    def is_missing(self) -> bool:
        return self.is_owed and not self.is_covered

    def __str__(self) -> str:
        return f"update {self.serial} (ts {self.times})"


class _Stream:
    """One topic of one client. It is open from the first thing that the application is told of it
    to the last."""

    def __init__(self) -> None:
        self.is_open = False
        self.is_broken = False
        """True from a loss until the Gap that tells of it."""
        self.whole_ts: set[int | None] = set()
        """The times that the Gap may begin with: the time of the latest frame before the loss, or
        the latest time."""
        self.last_ts: int | None = None
        self.newest_ts: int | None = None
        self.last_serial = 0
        # The connection on which the stream was last whole.
        self.peer = 0
        self.sent: dict[int, _Sent] = {}

    def heard(self, ts: int | None) -> None:
        if ts is not None:
            self.last_ts = ts
            self.newest_ts = ts if self.newest_ts is None else max(ts, self.newest_ts)

    def open(self, peer: int, number: int) -> None:
        """Owe from now on all that the exchange sends on this connection after the frame with this
        number."""
        self.peer = peer
        if not self.is_open:
            self.is_open = True
            for item in self.sent.values():
                if item.number > number and peer in item.peers:
                    item.is_owed = True

    def close(self) -> None:
        self.__init__()  # type: ignore[misc]  # all of it begins anew


class Streams:
    """All topics of one client.

    Args:
        fail: raises a ``Violation`` of the rule that is its first argument.
        slack: how much longer than the interruption a gap may be, in milliseconds of server time:
            by what the clocks differ, and by what requests and their answers take.
    """

    def __init__(self, fail: Callable[[str, str], Never], *, slack: float = 0.0) -> None:
        self._fail = fail
        self._slack = slack
        self._streams: defaultdict[Topic, _Stream] = defaultdict(_Stream)
        # The connections on which a server time was heard: of any other clock nothing is known.
        self._told: set[int] = set()

    def sent(self, topic: Topic, serial: int, ts: int, number: int, peer: int) -> None:
        """The exchange has sent an update."""
        stream = self._streams[topic]
        item = stream.sent.get(serial)
        if item is None:
            stream.sent[serial] = _Sent(serial, ts, number, peer, is_owed=stream.is_open)
        else:
            item.peers.append(peer)
            item.times[peer] = ts

    def update(self, update: Update, serial: int, peer: int, number: int) -> None:
        """The application is told of an update, out of the frame with this number."""
        topic = update.topic
        stream = self._streams[topic]
        item = stream.sent.pop(serial, None)
        if item is None or serial <= stream.last_serial:
            problem = (
                "twice or out of order" if serial <= stream.last_serial else "that was not sent"
            )
            self._fail("I1", f"an update of {topic} {problem} is delivered: {serial}")
        stream.last_serial = serial
        for older in list(stream.sent.values()):
            if older.serial > serial:
                break
            # What comes later now would be out of order, so it is either covered, or a Gap has yet
            # to come.
            if not older.is_missing:
                del stream.sent[older.serial]
            elif peer in older.peers:
                self._fail("I1", f"{older} of {topic} is left out without a Gap: next is {serial}")
        stream.heard(update.ts)
        if update.ts is not None:
            self._told.add(peer)
        stream.open(peer, number)

    def subscribed(
        self, topic: Topic, ts: int | None, gap: Gap | None, peer: int, number: int
    ) -> None:
        """The application is told of an acknowledgement, and of a gap right behind it or not."""
        stream = self._streams[topic]
        if ts is not None:
            self._told.add(peer)
        self._mend(topic, gap, until_ts=ts)
        stream.heard(ts)
        if stream.is_open:
            self._settle(topic, lambda item: item.number < number)
        stream.open(peer, number)

    def ended(
        self,
        topic: Topic,
        number: int | None,
        gap: Gap | None,
        *,
        until_ts: int | None,
        peer: int | None = None,
    ) -> None:
        """Judge a topic that the application is told is not followed any more.

        Args:
            topic: the topic.
            number: the number of the frame that says so; None if it ends now.
            gap: the gap that is told beside it.
            until_ts: the end of that gap.
            peer: the connection of that frame. A stream that was whole on it owes nothing that was
                sent on older ones alone: that came after the exchange had carried out the request,
                and before its acknowledgement, which may be late.
        """
        self._mend(topic, gap, until_ts=until_ts)
        stream = self._streams[topic]
        older = peer is None or stream.peer != peer
        self._settle(
            topic,
            lambda item: number is None or (item.number < number and (older or peer in item.peers)),
        )
        stream.close()

    def refused_to_end(self, topic: Topic, ts: int | None) -> None:
        """The exchange goes on publishing."""
        self._streams[topic].heard(ts)

    def broken(self) -> None:
        """The connection is lost."""
        for stream in self._streams.values():
            if stream.is_open and not stream.is_broken:
                stream.is_broken = True
                stream.whole_ts = {stream.last_ts, stream.newest_ts}

    def settle(self) -> None:
        """Nothing is on the way any more: everything that is owed must have been delivered."""
        for topic in self._streams:
            self._settle(topic, lambda _: True)

    def _mend(self, topic: Topic, gap: Gap | None, *, until_ts: int | None) -> None:
        stream = self._streams[topic]
        if not stream.is_broken:
            if gap is not None:
                self._fail("I1", f"a Gap although {topic} was never interrupted: {gap}")
            return
        if gap is None:
            self._fail("I1", f"{topic} was interrupted, and there is no Gap")
        self._check_span(gap, stream.whole_ts, until_ts)
        stream.is_broken = False
        for item in stream.sent.values():
            # One without an end: of a clock that was set back meanwhile nobody heard.
            if gap.until_ts is None or all(
                (gap.since_ts is None or gap.since_ts <= ts) and ts <= gap.until_ts
                for peer, ts in item.times.items()
                # An older connection may be half-open for long and is of no interest any more.
                if peer in self._told and peer >= stream.peer
            ):
                item.is_covered = True

    def _check_span(self, gap: Gap, whole: set[int | None], until_ts: int | None) -> None:
        """The gap begins and ends in order, where the stream broke off and began again or further
        out, and not much further if the clocks agree."""
        since, until = gap.since_ts, gap.until_ts
        if since is not None and until is not None and until < since:
            self._fail("I1", f"the gap ends before it begins: {gap}")
        if (until is None) is not (until_ts is None) or (since is None and None not in whole):
            self._fail("I1", f"an end of the gap is not said: {gap}")
        begins = [ts for ts in whole if ts is not None]
        if since is not None and begins and since > max(begins):
            self._fail("I1", f"the gap begins later than at {whole}: {gap}")
        if since is not None and begins and since < min(begins) - self._slack:
            self._fail("I1", f"the gap begins long before {whole}: {gap}")
        if until is not None and until_ts is not None and until < until_ts:
            self._fail("I1", f"the gap ends before the acknowledgement at {until_ts}: {gap}")
        if until is not None and until_ts is not None and until > until_ts + self._slack:
            self._fail("I1", f"the gap ends long after {until_ts}: {gap}")

    def _settle(self, topic: Topic, concerns: Callable[[_Sent], bool]) -> None:
        for item in self._streams[topic].sent.values():
            if item.is_missing and concerns(item):
                self._fail("I1", f"{item} of {topic} is neither delivered nor covered by a Gap")
