"""Recordings as files."""

from typing import IO, Literal, cast

__all__ = ["open_capture"]


def open_capture(path: str, mode: Literal["r", "w", "x"] = "r") -> IO[str]:
    """Open a file of captures by its name; one that ends with ``.gz`` is compressed.

    To record pass its ``write`` to a feed's ``record`` or to a ``RecordedSession``; to read pass
    the file to ``Capture``. A plain file is written line by line, so that a crash loses the last
    one at most.

    Args:
        path: the name.
        mode: ``"r"`` reads, ``"w"`` writes, and ``"x"`` writes unless there is such a file.

    Raises:
        OSError: it cannot be opened.
    """
    if path.endswith(".gz"):
        import gzip  # noqa: PLC0415 - importing the core loads nothing that does I/O

        return cast("IO[str]", gzip.open(path, f"{mode}t", encoding="utf-8"))
    return open(path, mode, buffering=1, encoding="utf-8")  # noqa: PTH123 - the caller closes it
