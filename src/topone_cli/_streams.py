"""The standard streams, made safe: no write to them ever raises, and none is missing.

A terminal can hang up, a disk can fill up, a pipe's reader can leave, and a caller can close any of
the three. What was not written is remembered here, so that whoever writes in a loop can end, and
the exit code can say it.
"""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["output_failure", "secure_streams", "settle"]

_FAILED: Final = 1


class _Guard(io.RawIOBase):
    """A file that keeps its first failure, and from there on only seems to write.

    Args:
        raw: the file below; None if it is closed.
    """

    def __init__(self, raw: io.RawIOBase | None) -> None:
        self._raw = raw
        self.failure: OSError | None = None
        """The cause of the first failure to write; None if there was none."""

    def fileno(self) -> int:
        return super().fileno() if self._raw is None else self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw is not None and self._raw.isatty()

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer") -> int:
        if self.failure is None and self._raw is not None:
            try:
                while (written := self._raw.write(data)) is None:
                    # Another program has made the pipe or terminal that both share non-blocking.
                    select.select([], [self.fileno()], [])
            except OSError as error:
                self.failure = error
            else:
                return written
        return memoryview(data).nbytes


_guards: Final[dict[str, _Guard]] = {}


def secure_streams() -> bool:
    """Put guards around standard output and standard error, and something harmless in the place of
    what is closed. For the start of the process.

    Returns:
        False if standard output is closed: nothing can be shown.
    """
    # A socket must never get the number of a standard stream.
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)
    can_show = sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison]  # closed: None
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed: None
        sys.stdin = io.StringIO()
    for name in ("stdout", "stderr"):
        setattr(sys, name, _guarded(getattr(sys, name), name))
    return can_show


def _guarded(stream: TextIO | None, name: str) -> TextIO:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if stream is not None and not isinstance(raw, io.RawIOBase):
        return stream
    guard = _guards[name] = _Guard(raw)
    return io.TextIOWrapper(
        io.BufferedWriter(guard),
        encoding="utf-8" if stream is None else stream.encoding,
        # The exchange's words may be in any language, and the encoding of a pipe in none.
        errors="backslashreplace",
        line_buffering=True,
    )


def output_failure() -> OSError | None:
    """Return why standard output cannot be written to any more; None if it can."""
    guard = _guards.get("stdout")
    return None if guard is None else guard.failure


def settle(code: int) -> int:
    """Write what is left, at the end of the process.

    Returns:
        The exit code: ``code``, or 1 if that is 0 and standard output was not written to its end.
    """
    sys.stdout.flush()
    failure = output_failure()
    # Whoever has left, as `head` does, needs no explanation.
    if failure is not None and failure.errno != errno.EPIPE:
        sys.stderr.write(f"topone: cannot write to standard output: {failure.strerror}\n")
    sys.stderr.flush()
    return code or (_FAILED if failure is not None else 0)
