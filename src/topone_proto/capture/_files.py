"""Recordings as files."""

import errno
import os
import re
from io import BytesIO, TextIOWrapper
from typing import IO, BinaryIO, Final, Literal, cast

__all__ = ["open_capture"]

_LINE: Final = re.compile(r'\{"kind":"(\w+)","now":(-?[\d.e+-]+)')

# The kinds of a busy feed. All others are few.
_FREQUENT: Final = frozenset({"message_received", "bytes_received", "text_sent"})

# A file is on the disk so many seconds later at the latest, if anything is written then.
_SECONDS: Final = 1.0

# Errors of what has no disk below it.
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EROFS})


class _Lines(TextIOWrapper):
    """A text file that passes its lines on in time.

    The clock is the lines' own: what the session was given as ``now``.
    """

    _synced_at: float | None = None

    def write(self, text: str, /) -> int:
        count = super().write(text)
        found = _LINE.match(text)
        now = None if found is None else _number(found[2])
        since = self._synced_at
        if now is None or since is None or not since <= now < since + _SECONDS:
            self._synced_at = now
            self.flush()
            self._sync()
        elif found is not None and found[1] not in _FREQUENT:
            self.flush()
        return count

    def _sync(self) -> None:
        try:
            os.fsync(self.fileno())
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def open_capture(path: str, mode: Literal["r", "w", "x"] = "r") -> IO[str]:
    """Open a file of captures by its name; one that ends with ``.gz`` is compressed.

    To record pass its ``write`` to a feed's ``record`` or to a ``RecordedSession``; to read pass
    the file to ``Capture``.

    Lines go to the disk at the first one that is a second younger than what is there; the lines of
    connections and requests go out of the process at once, and all lines of a plain file do. So a
    recorder that is killed, or whose machine loses its power, loses the last second of what it has
    written at most, and what is left reads as truncated. Writing waits for the disk once a second.

    Args:
        path: the name.
        mode: ``"r"`` reads, ``"w"`` writes, and ``"x"`` writes unless there is such a file.

    Raises:
        OSError: it cannot be opened.
    """
    import gzip  # noqa: PLC0415 - importing the core loads nothing that does I/O

    compressed = path.endswith(".gz")
    if mode == "r":
        if compressed and os.stat(path).st_size == 1:  # noqa: PTH116 - as below
            # It breaks off in the two bytes that gzip knows its files by.
            return TextIOWrapper(BytesIO(), encoding="utf-8")
        if compressed:
            return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8"))
        return open(path, encoding="utf-8")  # noqa: PTH123 - the caller closes it
    file = gzip.open(path, f"{mode}b") if compressed else open(path, f"{mode}b")  # noqa: PTH123, SIM115 - as above
    return _Lines(cast("BinaryIO", file), encoding="utf-8", line_buffering=not compressed)
