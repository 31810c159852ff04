"""The judge of a feed's reading of frames: whether updates are as they were sent, which noise was
reported, how pings are answered, and how much of a frame is kept."""

from collections.abc import Callable
from typing import Never

from topone_proto.events import Event, Malformed, UnexpectedResponse, Unrecognised
from topone_proto.exchange import Publication
from topone_proto.session.actions import SendText
from topone_proto.session.step import Step
from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.link import Frame
from topone_proto.testing.simulation.watcher import content_of, published_content
from topone_proto.wire.balance import Balance, BalanceUpdate
from topone_proto.wire.orders import Order, OrderUpdate
from topone_proto.wire.topic import Topic, Update

__all__ = ["Frames"]

# Characters of what counts as a short frame.
_SHORT = 64


def _serial(update: Order | Balance) -> int:
    """Return the number that the simulated server has put into an update."""
    return int(update.deal_money if isinstance(update, Order) else update.available)


class Frames:
    """The frames of one feed.

    Args:
        plan: the client's.
        fail: raises a ``Violation`` of the rule that is its first argument.
    """

    def __init__(self, plan: ClientPlan, fail: Callable[[str, str], Never]) -> None:
        self._plan = plan
        self._fail = fail
        # What was published on the topics of a market, by topic and step.
        self._contents: dict[tuple[Topic, int], object] = {}
        # What was no update and was reported on this connection: the like is not reported again.
        self._reported: set[str] = set()

    def connected(self) -> None:
        """A connection begins."""
        self._reported.clear()

    def published(self, publication: Publication, number: int) -> int:
        """Return the number by which an update of this step of the exchange is known."""
        update = publication.update
        if isinstance(update, Order | Balance):
            return _serial(update)
        # A step publishes one update of a topic.
        self._contents[publication.topic, number] = published_content(update)
        return number

    def told(self, update: Update, frame: Frame) -> int:
        """Return the number by which an update is known: it must be as it was sent."""
        match update:
            case OrderUpdate(order=order):
                return _serial(order)
            case BalanceUpdate(balance=balance):
                return _serial(balance)
            case _:
                sent = self._contents.get((update.topic, frame.number))
                if sent is not None and sent != content_of(update):
                    self._fail("I1", f"{sent} was sent, and this is delivered: {update}")
                return frame.number

    def reported(self, events: tuple[Event, ...], frame: Frame | None) -> None:
        """A short frame that was no update is reported once on a connection."""
        match events:
            case (Malformed(topics=()) | Unrecognised(topics=()),):
                if frame is None or frame.kind != "text":
                    return
                # A long one may be short once it is compressed.
                if len(frame.data) <= _SHORT or self._plan.is_compressed:
                    self._reported.add(frame.data)
            case _:
                pass

    def quiet(self, text: str, step: Step) -> None:
        """No event comes of a frame. A ping of the server is answered in the very step that reads
        it, in kind."""
        if text == "ping":
            answer = "pong"
        elif text.startswith('{"method":"ping"'):
            answer = '{"method":"pong"}'
        elif text.startswith('{"ping":'):
            answer = text.replace("ping", "pong")
        elif text in self._reported or '"method":"req_' in text:
            # A piece of a pull is for whoever waits for the whole.
            return
        else:
            self._fail("I1", f"nothing comes of this frame: {text}")
        if step.actions != (SendText(answer),):
            self._fail("ping", f"{text} is answered with {step.actions}")

    def check_size(self, event: Event) -> None:
        """Check that what an anomaly keeps stays within the limit."""
        keep = self._plan.config.max_kept
        kept: list[str] = []
        match event:
            case Malformed(frame=text):
                kept = [text]
            case Unrecognised(frame=text, method=method):
                kept = [text, method or ""]
            case UnexpectedResponse(response=response):
                kept = [response.id or "", response.method or "", response.msg]
            case _:
                pass
        if any(len(text) > keep for text in kept):
            self._fail("I4", f"it keeps more than {keep} characters: {event!r:.200}")
