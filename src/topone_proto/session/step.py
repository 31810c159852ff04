"""The one shape of every answer of the core: what happened, what to do, when to call again."""

from topone_proto._values import value
from topone_proto.events import Event
from topone_proto.session.actions import Action

__all__ = ["Step"]


@value
class Step:
    """Everything that one input caused. Nothing stays behind in the core to be fetched later."""

    events: tuple[Event, ...] = ()
    """To be handed to the application, in order."""
    actions: tuple[Action, ...] = ()
    """To be carried out, in order."""
    deadline: float | None = None
    """When to call ``deadline_reached`` if no other input comes first, on the clock of ``now``;
    None for never. Calling early is harmless."""
