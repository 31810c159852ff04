"""The state machine that both topics share: how far it is known, and what is left to ask."""

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from topone_proto.account.changes import Change, Difference, Knowledge, KnowledgeChanged, Resynced
from topone_proto.account.questions import Query
from topone_proto.topics import Topic

__all__ = ["NOT_HEARD", "Ledger"]

NOT_HEARD: Final = -1

_K = TypeVar("_K", int, str)


class Ledger(ABC, Generic[_K]):
    """What is the same for both topics: how far it is known, and what is left to ask.

    First everything is listed. What the list leaves open is then asked for by name:

    - ``absent``: known here and not listed there. What became of it only the exchange can say.
    - ``contested``: told by an update while it was asked for. Which of both is newer cannot be
      told. The number is how often it was asked for.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.knowledge = Knowledge.UNKNOWN
        self.followed_since: int | None = None
        """The position from which on every update arrives; None while there is no subscription."""
        self.absent: set[_K] = set()
        self.contested: dict[_K, int] = {}
        self._is_listed = False
        self._is_list_asked = False
        self._asked: set[_K] = set()
        self._differences: list[Difference] = []
        self._asked_ts: int | None = None
        self._answered_ts: int | None = None

    @property
    def unresolved(self) -> tuple[_K, ...]:
        return tuple(sorted(self.absent.union(self.contested)))

    def follow(self, position: int) -> tuple[Change, ...]:
        """Every update from here on arrives. What was answered before may be outdated."""
        self.followed_since = position
        return self._doubt()

    def lose(self) -> tuple[Change, ...]:
        """Updates may not arrive any more."""
        self.followed_since = None
        return self._doubt()

    def miss(self, position: int) -> tuple[Change, ...]:
        """Updates up to here may be missing."""
        return () if self.followed_since is None else self.follow(position)

    def wanted(self) -> tuple[tuple[_K, ...] | None, ...]:
        """What to ask for and is not asked for yet: nothing, everything, or some by name."""
        if self.followed_since is None or self.knowledge is Knowledge.WHOLE:
            return ()
        if not self._is_listed:
            is_asked, self._is_list_asked = self._is_list_asked, True
            return () if is_asked else (None,)
        names = tuple(name for name in self.unresolved if name not in self._asked)
        self._asked.update(names)
        return (names,) if names else ()

    def retry(self) -> None:
        """Whatever was asked for, ask for it again."""
        self._is_list_asked = False
        self._asked.clear()

    def retry_one(self, query: Query, names: tuple[_K, ...] | None) -> None:
        """What this question was for, ask for it again."""
        if not self.is_awaited(query):
            return
        if names is None:
            self._is_list_asked = False
        else:
            self._asked.difference_update(names)

    def is_awaited(self, query: Query) -> bool:
        """True if the answer can be used: it was asked for on the present subscription."""
        return (
            self.knowledge is not Knowledge.WHOLE
            and self.followed_since is not None
            and query.position >= self.followed_since
        )

    def is_current(self, name: _K) -> bool:
        """True if what is known of it is right, be the rest as it may."""
        return self.is_told(name) or (self.knowledge is Knowledge.WHOLE and self.is_known(name))

    def answered(
        self,
        query: Query,
        names: tuple[_K, ...] | None,
        found: set[_K],
        changes: tuple[Change, ...],
        answered_ts: int | None,
    ) -> tuple[Change, ...]:
        """An answer was merged: these names were found in it, and these changes made."""
        # By the time of an answer to a question for names, updates may have settled some of them.
        expected = self._listable() if names is None else set(names).intersection(self.unresolved)
        for name in expected - found:
            if self.is_told(name):
                self._resolve(name)
            else:
                self.absent.add(name)
        if names is None:
            self._is_listed = True
            self._asked_ts = query.asked_ts
        self._answered_ts = answered_ts
        self._differences += [change for change in changes if isinstance(change, Difference)]
        return changes + self.settled()

    def settled(self) -> tuple[Change, ...]:
        """The topic is whole, if nothing is open any more."""
        if not self._is_listed or self.absent or self.contested:
            return ()
        if self.knowledge is Knowledge.WHOLE:
            return ()
        resynced = Resynced(self.topic, tuple(self._differences), self._asked_ts, self._answered_ts)
        self._differences.clear()
        return (*self._know(Knowledge.WHOLE), resynced)

    def _resolve(self, name: _K) -> None:
        self.absent.discard(name)
        self.contested.pop(name, None)

    def _doubt(self) -> tuple[Change, ...]:
        self.absent.clear()
        self.contested.clear()
        self._is_listed = False
        self._differences.clear()
        self.retry()
        return self._know(Knowledge.STALE) if self.knowledge is Knowledge.WHOLE else ()

    def _know(self, after: Knowledge) -> tuple[Change, ...]:
        before, self.knowledge = self.knowledge, after
        return (KnowledgeChanged(self.topic, before, after),)

    def _is_since_followed(self, position: int) -> bool:
        return self.followed_since is not None and position > self.followed_since

    @abstractmethod
    def _listable(self) -> set[_K]:
        """The names of all that a complete list has, as far as is known here."""

    @abstractmethod
    def is_known(self, name: _K) -> bool:
        """True if anything is known of it."""

    @abstractmethod
    def is_told(self, name: _K) -> bool:
        """True if the present subscription has told enough, so that nobody need be asked."""
