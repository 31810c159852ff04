"""The one shape of all that the core returns."""

from topone_proto._values import value
from topone_proto.events import Event
from topone_proto.session.actions import Action
from topone_proto.session.answers import PullEnd

__all__ = ["Step"]


@value
class Step:
    """Everything that one input caused. Nothing stays behind in the core to be fetched later."""

    events: tuple[Event, ...] = ()
    """To be handed to the application, in order."""
    actions: tuple[Action, ...] = ()
    """To be carried out, in order."""
    deadline: float | None = None
    """The time to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""
    answers: tuple[PullEnd, ...] = ()
    """The ends of pulls, for whoever asked: a session's by the pull's number."""
