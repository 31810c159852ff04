"""The end of a pull: its values, or the error that it ended with.

An answer is for the caller that asked, so it is no event: a step has it in ``Step.answers``, and a
feed's ``pull`` returns the values or raises the error.
"""

from typing import Any

from attrs import field

from topone_proto._values import value
from topone_proto.errors import TopOneError
from topone_proto.failures import Failure
from topone_proto.wire.topic import Topic

__all__ = ["PullEnd", "PullError", "PullLost", "PullRefused", "PullTimedOut", "PullUnreadable"]


class PullError(TopOneError):
    """Base of every way in which a pull comes to nothing while the feed goes on. The
    exchange was only asked: pull again when the cause is gone."""

    topic: Topic
    """The topic that was pulled."""


@value(auto_exc=False)
class PullRefused(PullError):
    """The exchange answered a pull with a code other than 0.

    Look at ``code`` and ``msg``: the exchange publishes no list of its codes. A market that does
    not exist is a common cause.
    """

    topic: Topic
    """The topic that was pulled."""
    code: int
    """The exchange's number for the cause, never 0. -1 stands for one that is no number: it is at
    the beginning of ``msg`` then."""
    msg: str
    """The exchange's words for it, in the language of ``SessionConfig.lang``."""

    def __str__(self) -> str:
        return (
            f"the exchange refused to send {self.topic} with code {self.code} "
            f"({self.msg or 'no message'}): check the market and the times"
        )


@value(auto_exc=False)
class PullTimedOut(PullError):
    """A request of a pull was not answered in time. The connection goes on.

    If this goes on, the exchange is in trouble, or does not serve pulls.
    """

    topic: Topic
    """The topic that was pulled."""
    timeout: float
    """The time for which the answer was awaited, in seconds: ``SessionConfig.pull_timeout``."""

    def __str__(self) -> str:
        return (
            f"the exchange did not send {self.topic} within {self.timeout:g} s: pull again later, "
            "or raise SessionConfig.pull_timeout"
        )


@value(auto_exc=False)
class PullUnreadable(PullError):
    """The answer to a pull is no list of values. Nothing of it is returned, since a part would look
    like the whole."""

    topic: Topic
    """The topic that was pulled."""
    problem: str
    """The defect of the answer, in a few words."""

    def __str__(self) -> str:
        return (
            f"the answer for {self.topic} cannot be read ({self.problem}): "
            "the exchange may have changed its format; look for a newer topone-proto"
        )


@value(auto_exc=False)
class PullLost(PullError):
    """Connections ended, or could not be made, as often as a pull tries again."""

    topic: Topic
    """The topic that was pulled."""
    failure: Failure
    """The end of the last of them."""

    def __str__(self) -> str:
        return f"{self.topic} was not received, {self.failure}; pull again once it is connected"


@value
class PullEnd:
    """The answer to one pull."""

    number: int
    """The number of the pull: the first of a session has number 1. On a ``Connection`` alone, the
    number of the request."""
    topic: Topic
    """The topic that was pulled."""
    values: tuple[Any, ...] = field(default=(), hash=False)
    """The values, the oldest first; empty if there is an error."""
    error: TopOneError | None = None
    """The reason why there are none: a ``PullError``, or the end of the feed. None for a
    success."""
