"""The time for which an account may suspect something and still claim to be right.

Theory. What an audit finds may be an update that is under way, so its topic stays ``WHOLE`` while
the account asks for it by name. That takes seconds. But nobody may be able to answer: the budget is
spent, the exchange blocks for an hour, HTTP is down, or there will be no token any more. Nobody
should act on a claim that something contradicts and that cannot be checked. So what is still
suspected after ``answer_lag`` and ``retry_cap`` is put in doubt, and its topic is not ``WHOLE``
until it is settled. By then an update that was under way has come, and a question has had its first
tries.
"""

from topone_proto.account._account import Account
from topone_proto.account._changes import Change
from topone_proto.account._config import AccountConfig

__all__ = ["Suspicions"]


class Suspicions:
    """The things that audits suspect, and since when."""

    def __init__(self, account: Account, config: AccountConfig) -> None:
        self._account = account
        self._patience = config.answer_lag + config.retry_cap
        self._since: dict[int | str, float] = {}

    @property
    def deadline(self) -> float | None:
        """The time at which to ``review`` again; None if nothing is suspected."""
        return min(self._since.values()) + self._patience if self._since else None

    def review(self, now: float) -> tuple[Change, ...]:
        """Put what is suspected for too long in doubt. Return what that changes."""
        suspected = self._account.suspected
        if not suspected and not self._since:
            return ()
        self._since = {name: self._since.get(name, now) for name in suspected}
        overdue = [name for name, since in self._since.items() if now >= since + self._patience]
        changes: list[Change] = []
        for name in overdue:
            del self._since[name]
            changes += self._account.doubt(name)
        return tuple(changes)
