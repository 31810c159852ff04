"""The interface between an adapter and the application that it works for."""

from typing import Any, Protocol

__all__ = ["Application"]


class Application(Protocol):
    """The application, which takes the events of a feed."""

    @property
    def is_waiting(self) -> bool:
        """True if a call of ``subscribe`` or ``unsubscribe`` waits for its answer."""
        ...

    def wake(self) -> None:
        """There are events to take."""

    def carry_out(self, action: Any) -> None:
        """Carry out what a session alone does not ask for."""
