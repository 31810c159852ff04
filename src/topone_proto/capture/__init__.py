"""Recordings of a feed: every input of a session as a line of JSON, and the same life again from
them.

The format is described in ``docs/recording.md``. Lines go out through a callable and come in as an
iterable; the one function that opens a file is ``open_capture``, for those who have a name.
"""

from topone_proto.capture._files import open_capture
from topone_proto.capture._format import CAPTURE_VERSION, Capture, CaptureError, CaptureLine
from topone_proto.capture._recorder import RecordedSession
from topone_proto.capture._replay import replay

__all__ = [
    "CAPTURE_VERSION",
    "Capture",
    "CaptureError",
    "CaptureLine",
    "RecordedSession",
    "open_capture",
    "replay",
]
