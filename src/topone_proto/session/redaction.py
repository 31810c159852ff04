"""The removal of tokens from what a session reports.

A server may repeat a token in any text: in a frame that cannot be read, in the message of a
refusal, in a close reason, in the name of an asset. Each of these passes through here before it
becomes an event.

A text that is to be cut is redacted first: a cut through a token would leave a piece of it that is
too short to be known for one. For the same reason the connection keeps ``MARGIN`` more characters
of a frame than an event may have, and what is left of them is cut off again here.
"""

from collections.abc import Container
from typing import Any, Final, TypeVar, assert_never

import attrs

from topone_proto.events import (
    Closed,
    Conflated,
    Connected,
    Disconnected,
    Event,
    Gap,
    Malformed,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
    UnexpectedResponse,
    UnexpectedUpdate,
    Unrecognised,
    Unsubscribed,
)
from topone_proto.failures import Failure
from topone_proto.secrets.redaction import Redactor
from topone_proto.session.answers import PullEnd, PullRefused, PullUnreadable
from topone_proto.wire.messages import Response
from topone_proto.wire.topic import Topic, Update

__all__ = ["MARGIN", "EventRedactor"]

MARGIN: Final = 32
"""The characters of a text that are kept beyond its limit until it is redacted."""

# A close reason and a failure's other words in characters, and how many are looked at for them.
_MAX_REASON: Final = 128
_MAX_DETAIL: Final = 512
_MAX_SEARCHED: Final = 4096

_A = TypeVar("_A", bound=Malformed | Unrecognised | SubscriptionRejected | Response)


class EventRedactor:
    """Removes the tokens of one feed from its events and failures.

    Args:
        redactor: knows the tokens.
        keep: the characters of a frame that an event may have.
    """

    def __init__(self, redactor: Redactor, keep: int) -> None:
        self._redactor = redactor
        self._keep = keep

    def event(self, event: Event, known: Container[Topic]) -> Event:
        """Return the event without any token.

        Args:
            event: the event.
            known: the topics that were asked for; their names are the application's own.
        """
        match event:
            case Malformed() | Unrecognised() | SubscriptionRejected():
                return self._anomaly(event, known)
            case UnexpectedResponse(response=response):
                return attrs.evolve(event, response=self._anomaly(response, known))
            case Update() | UnexpectedUpdate():
                return self._redactor.clean(event)
            case Connected() | Disconnected() | Closed() | Conflated():
                # Why, went through ``failure``.
                return event
            case Subscribed() | Unsubscribed() | Gap() | RequestTimedOut():
                # All their words are the application's own.
                return event
            case _:
                assert_never(event)

    def answer(self, end: PullEnd) -> PullEnd:
        """Return the end of a pull without any token in its error."""
        match end.error:
            case PullRefused(msg=msg) as error:
                return attrs.evolve(end, error=attrs.evolve(error, msg=self._kept(msg)))
            case PullUnreadable(problem=problem) as error:
                return attrs.evolve(end, error=attrs.evolve(error, problem=self._kept(problem)))
            case _:
                return end

    def failure(self, failure: Failure) -> Failure:
        """Return the failure without any token, and with no more words than a log wants."""
        return attrs.evolve(failure, detail=self._words(failure.detail, _MAX_DETAIL))

    def reason(self, reason: str) -> str:
        """Return a close reason without any token, cut to what a close frame may have."""
        return self._words(reason, _MAX_REASON)

    def _words(self, text: str, most: int) -> str:
        return self._redactor.redact(text[:_MAX_SEARCHED])[:most]

    def _kept(self, text: str) -> str:
        clean = self._redactor.redact(text)
        if len(text) < self._keep + MARGIN:
            return clean[: self._keep]
        # Cut before, so it may end with a piece of a token that is too short to be known.
        return clean[: max(0, len(clean) - MARGIN)][: self._keep]

    def _anomaly(self, anomaly: _A, known: Container[Topic]) -> _A:
        changed: dict[str, Any] = {
            name: self._kept(text)
            for name, text in attrs.asdict(anomaly, recurse=False).items()
            if isinstance(text, str)
        }
        if isinstance(anomaly, (Malformed, Unrecognised)):
            changed["topics"] = tuple(
                topic if topic in known else self._redactor.clean(topic) for topic in anomaly.topics
            )
        return attrs.evolve(anomaly, **changed)
