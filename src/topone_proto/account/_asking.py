"""The questions about one topic: which are to be asked, which are under way, and which answers can
still be used.

A list is asked for until one is accepted, another one for each audit, and by name whatever is in
doubt or suspected. Each question is asked once, and again only after ``retry``; each kind has a
pace of its own (``pace``), and waits until an answer reflects what it is about.
"""

from typing import Final, Generic, TypeVar

from attrs import define

from topone_proto.account._config import AccountConfig
from topone_proto.account._pace import Horizon, Pace
from topone_proto.account._questions import Query

__all__ = ["NOT_TOLD", "Asking", "Doubt"]

NOT_TOLD: Final = -1
"""The position of what was never told."""

_K = TypeVar("_K", int, str)


@define(eq=False)
class Doubt:
    """A thing that has to be asked for by name, in doubt or only suspected."""

    position: int
    """The position at which the doubt arose: an answer to an earlier question does not settle
    it."""
    is_lasting: bool
    """True if a contradiction is the cause, which no new list can remove."""
    is_asked: bool = False
    """True while a question is under way."""
    tries: int = 0
    """The number of answers that lacked it."""
    is_suspicion: bool = False
    """True if an audit differs from what is known, and nobody has confirmed it yet."""


class Asking(Generic[_K]):
    """The questions about one topic."""

    def __init__(self, config: AccountConfig) -> None:
        self.followed_since: int | None = None
        """The position from which on every update arrives; None while there is no subscription."""
        self.doubts: dict[_K, Doubt] = {}
        self._list_pace, self._name_pace = Pace(config), Pace(config)
        self._is_listed = False
        self._is_list_asked = False
        self._list_after = NOT_TOLD
        """The position that the next list has to reflect."""
        self._has_clock = False
        self._is_audit_wanted = self._is_audit_asked = False

    @property
    def unresolved(self) -> tuple[_K, ...]:
        """The keys that are in doubt."""
        return tuple(name for name in sorted(self.doubts) if not self.doubts[name].is_suspicion)

    @property
    def suspected(self) -> tuple[_K, ...]:
        """The keys that an audit suspects."""
        return tuple(name for name in sorted(self.doubts) if self.doubts[name].is_suspicion)

    @property
    def is_auditing(self) -> bool:
        """True if a list to compare with is to be asked for, or not answered yet."""
        return self._is_audit_wanted or self._is_audit_asked

    def wanted_audit(self, now: float | None, horizon: int) -> bool:
        """Return True, once, if a list to compare with is to be asked for now."""
        since = self.followed_since
        is_due = since is not None and horizon >= since and self._list_pace.is_due(now)
        if not self._wants_audit or not is_due:
            return False
        self._is_audit_asked = True
        self._list_pace.asked(now)
        return True

    def wanted(self, now: float | None, horizon: int) -> tuple[tuple[_K, ...] | None, ...]:
        """Return what is to be asked for and is not asked for yet: everything (None), or some by
        name."""
        self._has_clock = now is not None
        if self.followed_since is None:
            return ()
        wanted: list[tuple[_K, ...] | None] = []
        if self._wants_list and horizon >= self._list_after and self._list_pace.is_due(now):
            self._is_list_asked = True
            self._list_pace.asked(now)
            wanted.append(None)
        names = tuple(name for name in self._unasked() if self.doubts[name].position <= horizon)
        if names and self._name_pace.is_due(now):
            for name in names:
                self.doubts[name].is_asked = True
            self._name_pace.asked(now)
            wanted.append(names)
        return tuple(wanted)

    def deadline(self, horizon: Horizon) -> float | None:
        """The time at which there will be something to ask; None if not before something is
        told."""
        if self.followed_since is None:
            return None
        times: list[float] = []
        if self._wants_list:
            times.append(max(self._list_pace.not_before, horizon.reaches(self._list_after)))
        if self._wants_audit:
            times.append(max(self._list_pace.not_before, horizon.reaches(self.followed_since)))
        if unasked := self._unasked():
            position = min(self.doubts[name].position for name in unasked)
            times.append(max(self._name_pace.not_before, horizon.reaches(position)))
        return min(times, default=None)

    def retry(self) -> None:
        """Ask again for all that was asked for."""
        self._is_list_asked = self._is_audit_asked = False
        for doubt in self.doubts.values():
            doubt.is_asked = False

    def retry_one(self, query: Query, names: tuple[_K, ...] | None) -> None:
        """Ask again for what this question was for."""
        if not self._is_of_present(query):
            return
        if query.is_audit:
            self._is_audit_asked = False
            return
        if names is None:
            self._is_list_asked = False
            return
        for name in names:
            if (doubt := self.doubts.get(name)) is not None:
                doubt.is_asked = False

    def is_awaited(self, query: Query, names: tuple[_K, ...] | None) -> bool:
        """True if the answer can be used: it was asked for on the present subscription, and nobody
        has answered it already."""
        if query.is_audit:
            return self._is_of_present(query) and self._is_audit_asked
        return self._is_of_present(query) and (names is not None or not self._is_listed)

    @property
    def _wants_list(self) -> bool:
        return not self._is_listed and not self._is_list_asked

    @property
    def _wants_audit(self) -> bool:
        return self._is_audit_wanted and not self._is_audit_asked

    def _unasked(self) -> tuple[_K, ...]:
        return tuple(name for name in sorted(self.doubts) if not self.doubts[name].is_asked)

    def _is_of_present(self, query: Query) -> bool:
        return self.followed_since is not None and query.position >= self.followed_since

    def _is_since_followed(self, position: int) -> bool:
        return self.followed_since is not None and position > self.followed_since

    def _ask_again(self, name: _K) -> None:
        """The answer came too early to settle it."""
        if (doubt := self.doubts.get(name)) is not None:
            doubt.is_asked = False
