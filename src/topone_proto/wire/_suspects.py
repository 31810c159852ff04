"""Frames that cannot be read: what they may have been updates of, and what is kept of them."""

import re
from collections.abc import Collection
from typing import Any, Final

import msgspec

from topone_proto.wire._members import as_json, text_of
from topone_proto.wire.families import lone_topics
from topone_proto.wire.topic import Family, Topic

__all__ = ["GZIP", "canonical", "excerpt", "has_marks", "marked", "suspects"]

GZIP: Final = b"\x1f\x8b"
"""The first bytes of whatever is compressed with gzip."""

# Possessive, so that no frame makes it look twice.
_METHOD: Final = re.compile(rb'"method"\s*+:\s*+("(?:[^"\\]++|\\.)*+")', re.DOTALL)

_decode_any: Final = msgspec.json.Decoder().decode


def suspects(frame: str | bytes, followed: Collection[Topic] | None = None) -> tuple[Topic, ...]:
    """Return the topics that a frame that cannot be read may have been an update of.

    Args:
        frame: the frame.
        followed: the topics that it may be of if it does not say; None for those without
            parameters.
    """
    topics = lone_topics() if followed is None else tuple(followed)
    raw = frame.encode(errors="replace") if isinstance(frame, str) else frame
    if raw.startswith(GZIP):
        return topics
    # An update is an object.
    if b"{" not in raw:
        return ()
    methods = [text_of(found) for found in _METHOD.findall(raw)]
    if methods and None not in methods:
        named = (Topic.from_method(method) for method in methods if method is not None)
        return tuple(dict.fromkeys(topic for topic in named if topic is not None))
    return tuple(topic for topic in topics if _is_named(topic, raw)) or topics


def _is_named(topic: Topic, raw: bytes) -> bool:
    method = topic.subscribe_method.encode()
    return raw.count(method) > raw.count(b"un" + method)


def marked(raw: bytes, followed: Collection[Topic] | None = None) -> tuple[Topic, ...]:
    """Return the topics whose updates have members such as are in this JSON.

    Args:
        raw: the JSON, as of ``canonical``.
        followed: see ``suspects``.
    """
    topics = lone_topics() if followed is None else followed
    return tuple(
        topic for topic in topics if topic.family is not None and has_marks(topic.family, raw)
    )


def has_marks(family: Family[Any], raw: bytes) -> bool:
    """Return True if updates of this family have members such as are in this JSON."""
    return any(mark in raw for mark in family.marks)


def canonical(frame: str | bytes) -> bytes:
    """Return the same JSON without escapes in its names; as it is, if it cannot be read in
    full."""
    try:
        return as_json(_decode_any(frame))
    except (ValueError, RecursionError):
        return frame.encode(errors="replace") if isinstance(frame, str) else frame


def excerpt(frame: str | bytes, keep: int) -> str:
    """Return what an anomaly keeps of a frame: at most ``keep`` characters, as text that any file
    and terminal can take."""
    text = (
        frame[:keep] if isinstance(frame, str) else frame[:keep].decode(errors="backslashreplace")
    )
    if not text.isprintable():
        # Pretty-printed JSON is left as it is; what commands a terminal, or cannot be encoded, is
        # escaped.
        text = "".join(
            character
            if character.isprintable() or character in "\t\r\n"
            else ascii(character)[1:-1]
            for character in text
        )
    return text[:keep]
