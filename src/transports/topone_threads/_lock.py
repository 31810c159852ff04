"""A lock that no Ctrl-C leaves held."""

import threading
from _thread import RLock
from contextlib import suppress

__all__ = ["Lock"]


class Lock(RLock):  # type: ignore[misc]  # final in its stubs only
    """A reentrant lock whose ``with`` block is left in order whenever a signal handler raises.

    In Python 3.14 a handler may run after the lock was taken and before the block is entered, so
    that nothing would release it: python/cpython#148874.
    """

    def __enter__(self) -> bool:  # type: ignore[override]  # a block calls it without arguments
        try:
            return self.acquire()
        except BaseException:
            if self.is_held_here:
                self.release()
            raise
        # No handler runs between the end of a function that is written in Python and the block.

    @property
    def is_held_here(self) -> bool:
        """True in the thread that holds it, and in a signal handler that has interrupted that."""
        with suppress(RuntimeError):
            threading.Condition(self).notify(0)
            return True
        return False
