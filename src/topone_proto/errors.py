"""The exceptions of this project: a caller's mistake, the end of a feed, and what a WebSocket says
to its adapter.

A fault of the peer is an event for the application, not an exception: see ``events``. Every
exception derives from ``TopOneError``, carries what happened as attributes and says how to mend it.
"""

from typing import Any

from topone_proto.failures import Failure

__all__ = [
    "ConfigurationError",
    "ConnectionEnded",
    "ConnectionFailed",
    "FeedCancelled",
    "FeedClosed",
    "FeedFailed",
    "LocalProtocolError",
    "TooManyEvents",
    "TopOneError",
]


class TopOneError(Exception):
    """Base of every exception that this project raises on purpose. Its text says what to do, and
    never contains a token."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with its message, which is not what any __init__ here
        # takes.
        return _remade, (type(self), self.args), self.__getstate__()


def _remade(cls: type[TopOneError], args: tuple[Any, ...]) -> TopOneError:
    return cls.__new__(cls, *args)


class ConfigurationError(TopOneError, ValueError):
    """A setting cannot be used. Raised where it is given, before anything is dialled.

    Change the setting as ``remedy`` says.
    """

    def __init__(self, *, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.setting = setting
        """The name of the setting."""
        self.problem = problem
        """The defect."""
        self.remedy = remedy
        """The remedy."""


class LocalProtocolError(TopOneError):
    """The caller did something that the protocol does not allow in the present state.

    Never caused by the peer: whatever the exchange sends becomes an event. It is a mistake of the
    program: ``remedy`` says what to call first, or instead. Nothing was changed by the call.
    """

    def __init__(self, *, state: str, input: str, remedy: str) -> None:  # noqa: A002 - the term of the tables
        super().__init__(f"{input} is not possible while {state}: {remedy}")
        self.state = state
        """The state that the machine was in."""
        self.input = input
        """The input that it has no transition for."""
        self.remedy = remedy
        """The remedy: what to do instead."""


class FeedClosed(TopOneError):
    """The feed was closed, by ``close`` or by leaving its ``with`` block, and something was still
    asked of it.

    Ask while it is open, or open another one.
    """

    def __init__(self) -> None:
        super().__init__("this feed is closed: open a new one with open_feed(...)")


class FeedCancelled(TopOneError):
    """A task of the feed itself was cancelled by somebody else, and the feed has ended with it.

    Cancel the task that uses the feed, or close the feed. A program that cancels every task it can
    find should leave out those whose name begins with ``topone``.
    """

    def __init__(self) -> None:
        super().__init__(
            "a task of this feed was cancelled by another part of the program: cancel the task "
            "that uses the feed, or call close(), and open a new feed with open_feed(...)"
        )


class TooManyEvents(TopOneError):
    """A call waits for an acknowledgement that lies behind more events than the feed may hold, or
    was made while that many wait.

    Not reading on is what keeps the feed within its bounds, so take events in another task or
    thread while this one waits, or raise ``SessionConfig.capacity``.
    """

    def __init__(self, method: str, waiting: int, *, stands: bool = True) -> None:
        what = "the request stands" if stands else "nothing was requested"
        super().__init__(
            f"{waiting} events wait to be taken, and the answer to {method} is behind them: take "
            "events in another task or thread while this one waits, or raise "
            f"SessionConfig.capacity; {what}"
        )
        self.method = method
        """The method whose answer is awaited, such as ``sub_orders``."""
        self.waiting = waiting
        """The number of events that wait."""
        self.stands = stands
        """True if the topic is desired as the call asked, and an event tells of the
        acknowledgement; False if the call changed nothing."""


class FeedFailed(TopOneError):
    """The feed ended by itself, because trying again cannot help. ``failure`` says why and what to
    check.

    Get a new token or mend what ``failure.advice`` names, then open another feed.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure
        """The last failure: its ``kind``, ``status`` and ``advice`` are for programs and for
        people."""


class ConnectionFailed(TopOneError):
    """Raised by an ``open_websocket`` for a dial that failed in a way it can name. The adapter
    makes an event of it.

    Applications never see it. Whoever writes an ``open_websocket`` raises it, with a ``Failure``
    from ``failure_from_exception`` or ``failure_from_response``.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure
        """The failure."""


class ConnectionEnded(TopOneError):
    """Raised by an open WebSocket that has ended. The adapter makes an event of it.

    Applications never see it. Whoever writes an ``open_websocket`` raises it from what ``receive``,
    ``send_text`` and ``send_ping`` call.
    """

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(f"the connection ended with code {code}")
        self.code = code
        """The peer's close code; None if there was no close frame."""
        self.reason = reason
        """The peer's close reason, or a few words on what happened instead."""
