"""The state machine that both topics share: how far a topic is known. What is left to ask, and
when, says ``asking``.

Positions count what the account was told, events and answers alike; they are the only order that is
trusted. Server times decide nothing: they step back, differ between nodes, and a cancel does not
move the time of its order.

States of a topic::

    not followed ── follow ──> to be listed ── a list is accepted ──> listed
         ^                          ^                                  │  │
         └──────── lose ────────────┴──── miss, or the list is refuted ┘  └─ no doubts left: WHOLE

- *Not followed*: there is no subscription. Nothing is asked, since what an answer says would be
  outdated before it could be followed.
- *To be listed*: everything is asked for, as one list. Whatever an answer reflects has changed
  since only by updates that the present subscription brings.
- *Listed*: the list was accepted. What it leaves open is a *doubt*, and asked for by name.

A thing is in doubt if it was known and the list lacks it, or if something contradicts what is known
of it. The doubt has a position: only an answer that was asked for after it can settle it. It ends

- with a state that the stream tells and that contradicts nothing,
- with an answer by name that was asked for after the doubt and not crossed by an update of that
  thing: this is the truth, even where it contradicts what is held,
- after ``max_tries`` answers by name that lack it, explicitly: its outcome is unknown.

An audit compares a list with a topic that is WHOLE, and does not end that: a stream may have left
out an update without a sign, but what differs may as well be under way. It is a *suspicion*, asked
for by name like a doubt. An update, or an answer that is not crossed by one, settles it; what the
answer changes was missed, and is reported as found by an audit. If ``_MAX_UNANSWERED`` answers lack
the thing, the suspicion becomes a doubt. So does one that cannot be settled for too long
(``suspicions``): what nobody can confirm or refute is not known to be right.

Invariants:

- ``WHOLE`` exactly while followed, listed, and without a doubt; a suspicion is none.
- What the present subscription told stands against any answer that may be older; a question's
  position is the horizon from which on its answer may be (``pace``).
- A failed request is not an answer: ``retry`` counts nothing.

An account that is followed elsewhere asks nothing. It is WHOLE from each ``Snapshot`` on until its
holder, or its place in the stream, is lost: ``restore``. A snapshot is for it what an answer by
name is for others, of everything: it settles what was in doubt before it came. What it contradicts
and nobody has doubted is in doubt from then on, until the stream tells a state that fits, or the
next snapshot settles it. So where one snapshot contradicts what was told, because it is wrong or
older, it is not believed and the topic is not WHOLE; where a second one says so, too, it is
believed.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import Final, TypeVar

from topone_proto.account._asking import NOT_TOLD, Asking, Doubt
from topone_proto.account._changes import (
    Change,
    Difference,
    Knowledge,
    KnowledgeChanged,
    Resynced,
)
from topone_proto.account._config import AccountConfig
from topone_proto.account._questions import Query
from topone_proto.account._snapshot import Snapshot
from topone_proto.wire.topic import Topic

__all__ = ["Ledger"]

_MAX_UNANSWERED: Final = 2
"""The answers that may lack a thing before the suspicion about it becomes a doubt."""

_K = TypeVar("_K", int, str)


class Ledger(Asking[_K], ABC):
    """The knowledge of one topic, and the questions about it."""

    def __init__(self, topic: Topic, config: AccountConfig) -> None:
        super().__init__(config)
        self.topic = topic
        self.knowledge = Knowledge.UNKNOWN
        self.audits = 0
        """The audits of this topic so far."""
        self.audit_differences = 0
        """The differences that they have found, which the stream had left out."""
        self._max_tries = config.max_tries
        self._is_audit_finding = False
        """True if a suspicion has become a doubt."""
        self._differences: list[Difference] = []
        self._asked_ts: int | None = None
        self._answered_ts: int | None = None
        self._broken_at = NOT_TOLD
        """The latest position up to which updates may be missing."""

    @property
    def is_settled(self) -> bool:
        """True if nothing is to be asked."""
        is_whole = self.knowledge is Knowledge.WHOLE and not self.doubts
        return is_whole or self.followed_since is None

    # The connection.

    def follow(self, position: int) -> tuple[Change, ...]:
        """Every update from here on arrives. What was answered before may be outdated."""
        self.followed_since = self._list_after = position
        return self._mark_stale(position)

    def lose(self, position: int) -> tuple[Change, ...]:
        """Updates may not arrive any more."""
        self.followed_since = None
        return self._mark_stale(position)

    def miss(self, position: int) -> tuple[Change, ...]:
        """Updates up to here may be missing."""
        self._broken_at = position
        return () if self.followed_since is None else self.follow(position)

    def restore(self, snapshot: Snapshot, position: int) -> tuple[Change, ...]:
        """The machine that follows the account has told all that it knows, and that is whole."""
        was_whole = self.knowledge is Knowledge.WHOLE
        settled = frozenset(self.doubts)
        self.doubts.clear()
        changes: tuple[Change, ...] = self._replace(snapshot, settled, position)
        # What was told in it was told on this subscription.
        self.followed_since, self._list_after = position - 1, position
        self.retry()
        self._is_listed, self._is_audit_wanted = True, False
        self._asked_ts, self._answered_ts = snapshot.latest_ts, None
        found = [change for change in changes if isinstance(change, Difference)]
        if was_whole and not self.doubts:
            self.audit_differences += len(found)
            return (*changes, self._resynced(found, None, is_audit=True)) if found else ()
        self._differences += found
        # It was whole, so the stream has left out what differs.
        self._is_audit_finding = self._is_audit_finding or was_whole
        return (*changes, *self._settled())

    # Questions.

    def audit(self) -> None:
        """Let ``wanted_audit`` ask for a list to compare with, if the topic is whole."""
        self._is_audit_wanted = self.knowledge is Knowledge.WHOLE

    # Knowledge.

    def is_current(self, name: _K) -> bool:
        """True if what is known of it is right, be the rest as it may."""
        doubt = self.doubts.get(name)
        return (doubt is None or doubt.is_suspicion) and self._is_right(name)

    def _finish(
        self,
        changes: Iterable[Change],
        answered_ts: int | None = None,
        *,
        was_suspect: bool = False,
    ) -> tuple[Change, ...]:
        """Return what an answer or a decision changed, and whether the topic is whole by now."""
        changes = tuple(changes)
        self._answered_ts = answered_ts
        found = [change for change in changes if isinstance(change, Difference)]
        if self.knowledge is not Knowledge.WHOLE:
            self._differences += found
            return changes + self._settled()
        if not was_suspect or not found:
            return changes
        self.audit_differences += len(found)
        return (*changes, self._resynced(found, answered_ts, is_audit=True))

    def _accept_list(self, query: Query, found: set[_K], position: int) -> None:
        """The list shows everything there is: whatever it lacks has to be asked for by name."""
        self._is_listed = True
        self._asked_ts = query.asked_ts
        for name in self._listable() - found:
            # What was told later than the list may be is on the stream, and stands.
            if name not in self.doubts and self._position_of(name) <= query.position:
                self.doubts[name] = Doubt(position, is_lasting=False)

    def _reopen_list(self, position: int) -> tuple[Change, ...]:
        """The list proves nothing: read it again, as it is from here on."""
        self._is_listed = self._is_list_asked = False
        self._list_after = position
        return self._lower()

    def _put_in_doubt(self, name: _K, position: int, *, is_lasting: bool) -> tuple[Change, ...]:
        """Something contradicts what is known of it: ask for it by name."""
        doubt = self.doubts.get(name)
        if doubt is None:
            self.doubts[name] = Doubt(position, is_lasting)
        else:
            doubt.position, doubt.is_asked, doubt.is_suspicion = position, False, False
            doubt.is_lasting = doubt.is_lasting or is_lasting
        return self._lower()

    def _is_suspect(self, names: Iterable[_K] | None) -> bool:
        """True if an audit suspects one of these."""
        doubts = (self.doubts.get(name) for name in names or ())
        return any(doubt is not None and doubt.is_suspicion for doubt in doubts)

    def _suspect(self, name: _K, position: int) -> None:
        """An audit differs from what is known of it: ask for it by name."""
        self.doubts.setdefault(name, Doubt(position, is_lasting=False, is_suspicion=True))

    def _audited(self, query: Query, found: set[_K], position: int) -> None:
        """The list of an audit was compared, and had these."""
        self._is_audit_wanted = self._is_audit_asked = False
        self.audits += 1
        self._asked_ts = query.asked_ts
        for name in self._listable() - found:
            if self._position_of(name) <= query.position:
                self._suspect(name, position)

    def doubt(self, name: _K) -> tuple[Change, ...]:
        """Nobody can say in time whether an audit is right about it: put it in doubt."""
        doubt = self.doubts.get(name)
        if doubt is None or not doubt.is_suspicion:
            return ()
        # The question that is under way is as good for a doubt.
        doubt.is_suspicion, self._is_audit_finding = False, True
        return self._lower()

    def _harden(self, name: _K) -> tuple[Change, ...]:
        """Nobody has what an audit suspects: put it in doubt."""
        doubt = self.doubts[name]
        self._is_audit_finding = True
        return self._put_in_doubt(name, doubt.position, is_lasting=False)

    def _resolve(self, name: _K) -> None:
        self.doubts.pop(name, None)

    def _not_found(self, query: Query, names: Iterable[_K]) -> list[Change]:
        """An answer lacked these, though they were asked for by name."""
        changes: list[Change] = []
        for name in names:
            doubt = self.doubts.get(name)
            if doubt is None:
                continue
            if query.position < doubt.position:
                doubt.is_asked = False
                continue
            doubt.tries += 1
            # Without a clock the caller has to wait, and to call ``retry`` then.
            doubt.is_asked = not self._has_clock
            if doubt.is_suspicion:
                if doubt.tries >= _MAX_UNANSWERED:
                    changes += self._harden(name)
            elif doubt.tries >= self._max_tries:
                changes += self._give_up(name)
        return changes

    def _settled(self) -> tuple[Change, ...]:
        """The topic is whole, if nothing is open any more."""
        if self.knowledge is Knowledge.WHOLE or not self._is_listed or self.unresolved:
            return ()
        # What the stream has settled by itself was under way, and is no finding.
        is_audit = self._is_audit_finding and bool(self._differences)
        self._is_audit_finding = False
        resynced = self._resynced(self._differences, self._answered_ts, is_audit=is_audit)
        self.audit_differences += is_audit and len(self._differences)
        self._differences.clear()
        return (*self._know(Knowledge.WHOLE), resynced)

    def _resynced(
        self, differences: Iterable[Difference], answered_ts: int | None, *, is_audit: bool
    ) -> Resynced:
        return Resynced(
            self.topic, tuple(differences), self._asked_ts, answered_ts, is_audit=is_audit
        )

    def _mark_stale(self, position: int) -> tuple[Change, ...]:
        self._broken_at = position
        self.doubts = {name: doubt for name, doubt in self.doubts.items() if doubt.is_lasting}
        for doubt in self.doubts.values():
            doubt.position = position
        self._is_listed = self._is_audit_wanted = self._is_audit_finding = False
        self._differences.clear()
        self.retry()
        return self._lower()

    def _lower(self) -> tuple[Change, ...]:
        return self._know(Knowledge.STALE) if self.knowledge is Knowledge.WHOLE else ()

    def _know(self, after: Knowledge) -> tuple[Change, ...]:
        before, self.knowledge = self.knowledge, after
        return (KnowledgeChanged(self.topic, before, after),)

    def _is_crossed(self, query: Query, name: _K) -> bool:
        """True if the answer may be older than what is known of it, or than the doubt about it."""
        doubt = self.doubts.get(name)
        doubted = NOT_TOLD if doubt is None else doubt.position
        return query.position < max(self._position_of(name), doubted)

    @abstractmethod
    def _replace(
        self, snapshot: Snapshot, settled: Collection[_K], position: int
    ) -> tuple[Change, ...]:
        """Replace what is known by what a snapshot has, where the two do not contradict each other
        or the thing is among the ``settled``; put the rest in doubt. Return the changes."""

    @abstractmethod
    def _listable(self) -> set[_K]:
        """The names of all that a complete list has, as far as is known here."""

    @abstractmethod
    def _position_of(self, name: _K) -> int:
        """Return the position at which what is known of it was told or confirmed."""

    @abstractmethod
    def _is_right(self, name: _K) -> bool:
        """True if what is known of it is right, unless it is in doubt."""

    @abstractmethod
    def _give_up(self, name: _K) -> tuple[Change, ...]:
        """The exchange does not have it: what is known of it ends here, and nothing is assumed."""
