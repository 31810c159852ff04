"""The judgement of frames that fit nothing: noise, and responses to nothing that was asked."""

import re
from typing import Final

from topone_proto.wire.messages import Malformed, Response, Unrecognised

__all__ = ["Noise", "bounded", "is_of_another"]

_SHORT: Final = 64
_MAX_NOISE: Final = 16
_NUMBERS: Final = re.compile(r"[0-9]+")


class Noise:
    """The kinds of short frames that were no update and have been reported on this connection.

    Some servers keep a connection alive with one every second. Frames that differ in their numbers
    only are of one kind, and so many kinds are remembered.
    """

    def __init__(self) -> None:
        self._shapes: set[str] = set()

    def is_reported(self, anomaly: Malformed | Unrecognised, size: int) -> bool:
        """True if one of its kind was reported before; otherwise this one counts as reported."""
        if anomaly.topics or size > _SHORT:
            return False
        shape = _NUMBERS.sub("0", anomaly.frame)
        if shape in self._shapes:
            return True
        if len(self._shapes) < _MAX_NOISE:
            self._shapes.add(shape)
        return False


def is_of_another(method: str | None, asked: str) -> bool:
    """True if a response says that it answers another request than its id says. A method that no
    request has is an echo in a form of the server's own."""
    if method is None or method == asked:
        return False
    return method.startswith(("sub_", "unsub_", "req_")) or method.endswith("pong")


def bounded(response: Response, keep: int) -> Response:
    """Return the response with no more in it than an anomaly may keep."""
    return Response(
        id=response.id and response.id[:keep],
        method=response.method and response.method[:keep],
        code=response.code,
        msg=response.msg[:keep],
        ts=response.ts,
    )
