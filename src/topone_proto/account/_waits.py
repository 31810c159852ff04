"""The waits of requests that a budget or a block does not allow yet: each is said once.

Theory. A request that has failed is reported with the time of the next try. A request that was
never sent has no such report, and a process could wait for an hour without a word: one that starts
within a block, say. So whoever has to wait says here until when, at each look. What is later than
everything that was said of the same budget is a wait that nobody knows of yet.
"""

from collections.abc import Iterable
from typing import Final

from attrs import evolve

from topone_proto.account._actions import AccountEvent
from topone_proto.account._reports import DelayCause, FetchDelayed, FetchFailed, FetchKind

__all__ = ["Waits"]

_NEVER: Final = float("-inf")

_WORTH_SAYING: Final = 1.0
"""Seconds of a wait, or by which a wait becomes longer, that are worth a report."""


class Waits:
    """The waits of one account session: for the budget of tokens, and for that of orders."""

    def __init__(self) -> None:
        # By whether it is the budget of tokens.
        self._said_until: dict[bool, float] = {}
        self._present: dict[bool, tuple[FetchDelayed, float]] = {}

    def note(self, events: Iterable[AccountEvent], now: float) -> None:
        """Note what the reports of failures say."""
        for event in events:
            match event:
                case FetchFailed(kind=FetchKind.BALANCES):
                    pass  # they have no budget
                case FetchFailed(kind=kind, retry_in=wait) if wait is not None:
                    self._say(kind, now + wait)
                case _:
                    pass

    def over(self, kind: FetchKind) -> None:
        """Nothing waits for the budget of this question any more."""
        is_token = kind is FetchKind.TOKEN
        self._present.pop(is_token, None)
        self._said_until.pop(is_token, None)

    def found(
        self, kind: FetchKind, cause: DelayCause, until: float, now: float
    ) -> tuple[FetchDelayed, ...]:
        """A question has to wait until then. Return what is to be reported."""
        report, is_token = FetchDelayed(kind, cause, until - now), kind is FetchKind.TOKEN
        self._present[is_token] = report, until
        if until <= max(now, self._said_until.get(is_token, _NEVER)) + _WORTH_SAYING:
            return ()
        self._say(kind, until)
        return (report,)

    def present(self, now: float) -> tuple[FetchDelayed, ...]:
        """Return what waits now, each with the seconds that are left. Possible in any thread."""
        return tuple(
            evolve(report, retry_in=until - now)
            for report, until in tuple(self._present.values())
            if until > now
        )

    def _say(self, kind: FetchKind, until: float) -> None:
        is_token = kind is FetchKind.TOKEN
        self._said_until[is_token] = max(self._said_until.get(is_token, _NEVER), until)
