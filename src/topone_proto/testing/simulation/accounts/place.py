"""The place where the processes of one machine store their state, and the machine's clock."""

from topone_proto.account import StoredState, read_state, write_state
from topone_proto.testing.simulation.world import World

__all__ = ["Machine"]

# Seconds since 1970 UTC at the beginning, by the exchange's clock.
_OPENED = 1561948335.075


class Machine:
    """Everything that processes share: a file, a disk that may be full, and the time of day.

    Args:
        world: the time.
        clock_lead: the seconds by which the machine's clock is ahead of the exchange's.
    """

    def __init__(self, world: World, clock_lead: float) -> None:
        self.clock_lead: float = clock_lead
        """The seconds by which its clock is ahead of the exchange's."""
        self.is_full: bool = False
        """True while nothing can be stored or read."""
        self.slowness: float = 0.0
        """The least time that a write or a read takes, in seconds."""
        self._world = world
        # As text, as in a file: what is not in the text is lost.
        self._text = ""

    @property
    def state(self) -> StoredState:
        """The state that is stored."""
        return read_state(self._text)

    def time_of_day(self) -> float:
        """Return the time of day in seconds since 1970 UTC, as the machine has it."""
        return _OPENED + self._world.now + self.clock_lead

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state if what is stored is ``previous``. Returns what is stored if it is not.

        Raises:
            OSError: the disk is full.
        """
        self._check()
        if self.state != previous:
            return self.state
        self._text = write_state(state)
        return None

    def load(self) -> StoredState:
        """Return what is stored.

        Raises:
            OSError: the disk is full.
        """
        self._check()
        return self.state

    def _check(self) -> None:
        if self.is_full:
            raise OSError("the disk is full")
