"""The turns that a client's program gets: none while it does something else."""

from collections.abc import Callable
from typing import Any

from topone_proto.testing.simulation.world import World

__all__ = ["Turns"]


class Turns:
    """A program of one thread, which may be busy with something else.

    Args:
        world: the time.
        before: called with the seconds that the program was busy, before anything else that was
            due.
        after: called after everything that was due.
    """

    def __init__(
        self, world: World, *, before: Callable[[float], None], after: Callable[[], None]
    ) -> None:
        self.blocked_until: float = 0.0
        """The time at which the program is, or was, no longer busy."""
        self._world = world
        self._before = before
        self._after = after
        self._blocked_since: float | None = None
        self._is_over = False
        # What would have been done meanwhile, in order.
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    @property
    def is_blocked(self) -> bool:
        """True while the program is busy."""
        return self._blocked_since is not None

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call at a time, or as soon afterwards as the program has a turn for it."""
        self._world.at(when, self.in_turn, call, args)

    def soon(self, call: Callable[..., None], *args: Any) -> None:
        """Call at this very moment, or as soon as the program has a turn for it."""
        self.at(self._world.now, call, *args)

    def in_turn(self, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Call now, or as soon as the program has a turn for it."""
        if self._is_over:
            return
        if self.is_blocked:
            self._held.append((call, args))
        else:
            call(*args)

    def stop(self) -> None:
        """Have no turn any more."""
        self._is_over = True
        self._held.clear()

    def block(self, seconds: float) -> None:
        """Be busy for so long."""
        now = self._world.now
        self._blocked_since = now if self._blocked_since is None else self._blocked_since
        self.blocked_until = max(self.blocked_until, now + seconds)
        self._world.at(now + seconds, self._unblock)

    def _unblock(self) -> None:
        now = self._world.now
        if self._is_over or self._blocked_since is None or now < self.blocked_until:
            return
        seconds, self._blocked_since = now - self._blocked_since, None
        self._before(seconds)
        held, self._held = self._held, []
        for call, args in held:
            self.soon(call, *args)
        self._after()
