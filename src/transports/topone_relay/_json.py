"""Entries of a bus as machines store them for each other."""

from typing import TypeVar

import msgspec

__all__ = ["entry_of"]

_T = TypeVar("_T")


def entry_of(data: bytes, kind: type[_T]) -> _T | None:
    """Return an entry that was written as JSON; None if it is none, such as one of another
    program."""
    try:
        return msgspec.json.decode(data, type=kind)
    # Some versions of msgspec raise a UnicodeDecodeError, which is no DecodeError.
    except (ValueError, RecursionError):
        return None
