"""The judgement whether the peer of a connection is still there.

**Alive is what sends bytes.** Whatever comes shows that the peer is there: a frame, a part of one,
a ping, a pong. Two limits are set to hearing nothing. After a ping of ours something has to come
within ``pong_timeout``, be it the pong or not: a pong may be queued behind a burst, and some
servers answer no ping. Independent of pings, something has to come within ``silence_timeout``.

**A pause proves nothing.** While the caller does not read because its application is slow, no limit
runs on; when it reads again each goes on where it was. It does not begin anew: an application that
pauses again and again would never notice a dead peer. Pings go on during a pause, and with them the
answer to the server's own application ping, unasked, in the form in which it was last given: a ping
that lies unread in the socket must not cost the connection.

**A deadline noticed late proves nothing** either: see ``lateness``.

The time of the latest frame only ever moves limits to later. So receiving leaves the deadline
alone, and ``deadline_reached`` finds out that nothing is due yet: the hot path pays for one
assignment.
"""

import math

from topone_proto.failures import FailureKind
from topone_proto.session.actions import Action, SendPing, SendText
from topone_proto.session.config import SessionConfig
from topone_proto.session.lateness import Lateness

__all__ = ["Liveness"]


class Liveness:
    """The liveness of one connection. ``begin`` comes first.

    Args:
        config: the intervals and limits.
        shortest: see ``Lateness``.
    """

    def __init__(self, config: SessionConfig, shortest: float) -> None:
        self._config = config
        self._lateness = Lateness(shortest)
        self.last_received: float = 0.0
        """The time at which anything was received last; the beginning if nothing was."""
        self.paused_at: float | None = None
        """The time at which reading stopped; None while the caller reads."""
        self.last_answer: str | None = None
        """The latest answer to an application ping of the server."""
        self.part_at: float = -math.inf
        """The time at which bytes came last that were no whole frame by then."""
        self._ping_at: float | None = None
        self._ping_sent_at: float | None = None
        self._ping_payload = b""
        self._pings = 0

    def begin(self, now: float) -> None:
        """Note that the connection is open."""
        self.last_received = now
        if self._config.ping_interval is not None:
            self._ping_at = now + self._config.ping_interval

    def hear(self, at: float, now: float) -> None:
        """Note that bytes came at the time ``at``."""
        if self.paused_at is None:
            if at > self.last_received:
                self.part_at = min(at, now)
            # Never from the future: what is not yet cannot put a limit off.
            self.last_received = max(self.last_received, min(at, now))

    def pong(self, payload: bytes, now: float) -> None:
        """Note a pong."""
        self.last_received = now
        if payload == self._ping_payload:
            self._ping_sent_at = None

    def resume(self, now: float) -> float:
        """Note that the caller reads again, and return when it had stopped."""
        assert self.paused_at is not None
        paused_at, self.paused_at = self.paused_at, None
        if self._ping_sent_at is not None:
            is_answered = self.last_received > self._ping_sent_at
            self._ping_sent_at = None if is_answered else self._ping_sent_at + now - paused_at
        self.last_received += now - max(paused_at, self.last_received)
        self._lateness.resume(paused_at, now)
        return paused_at

    @property
    def deadline(self) -> float | None:
        """The time at which the first limit may be over; None if reading is paused or there is no
        limit."""
        if self.paused_at is not None:
            return None
        due: list[float] = []
        if self._ping_sent_at is not None:
            due.append(self._ping_sent_at + self._config.pong_timeout)
        if self._config.silence_timeout is not None:
            due.append(self.last_received + self._config.silence_timeout)
        return max(min(due), self._lateness.excused_until) if due else None

    @property
    def ping_at(self) -> float | None:
        """The time at which the next ping is due; None if none is sent."""
        return self._ping_at

    def excuse(self, due: float | None, now: float) -> None:
        """Put off what runs out now, if the caller was held up; see ``Requests.excuse``."""
        since = self.last_received
        if self._ping_sent_at is not None:
            since = max(since, self._ping_sent_at)
        self._lateness.excuse(due, now, since=since)

    def judge(self, now: float) -> FailureKind | None:
        """Return why the peer is taken for dead; None if it is not."""
        if self.paused_at is not None or now < self._lateness.excused_until:
            return None
        sent_at = self._ping_sent_at
        if sent_at is not None and now >= sent_at + self._config.pong_timeout:
            if self.last_received <= sent_at:
                return FailureKind.PONG_TIMEOUT
            self._ping_sent_at = None
        silence = self._config.silence_timeout
        if silence is not None and now >= self.last_received + silence:
            return FailureKind.SILENCE
        return None

    def ping(self, now: float) -> tuple[Action, ...]:
        """Return the next ping if it is due, and what else keeps a paused connection open."""
        if self._ping_at is None or now < self._ping_at:
            return ()
        assert self._config.ping_interval is not None
        self._pings += 1
        self._ping_payload = str(self._pings).encode()
        self._ping_at = now + self._config.ping_interval
        ping = SendPing(self._ping_payload)
        if self.paused_at is not None:
            return (ping,) if self.last_answer is None else (SendText(self.last_answer), ping)
        # A ping that was followed by anything is as good as answered: from now on this one is
        # waited for.
        if self._ping_sent_at is None or self.last_received > self._ping_sent_at:
            self._ping_sent_at = now
        return (ping,)
