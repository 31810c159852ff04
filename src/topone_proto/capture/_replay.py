"""A recorded life, lived again."""

from collections import deque
from collections.abc import Iterator

from topone_proto.capture._format import Capture, CaptureError, CaptureLine, is_time
from topone_proto.capture._inputs import ARGUMENTS
from topone_proto.errors import LocalProtocolError
from topone_proto.session.session import Session
from topone_proto.session.step import Step

__all__ = ["replay"]


def replay(capture: Capture) -> Iterator[tuple[CaptureLine, Step]]:
    """Live a recorded life again in a fresh session: every input's line, and the step it leads to.

    Lines of a kind that is not known here are passed over.

    Raises:
        CaptureError: a line cannot be used, or does not fit what the session did before: it was
            recorded by a version that decides differently.
    """
    draws: deque[float] = deque()
    session = Session(
        capture.topics,
        endpoint=capture.endpoint,
        token=capture.token,
        config=capture.config,
        jitter=draws.popleft,
    )
    for line in capture:
        known = ARGUMENTS.get(line.kind)
        if known is None:
            continue
        arguments = [argument.read(line, argument.name) for argument in known]
        if "jitter" in line.data:
            draws.extend(filter(is_time, line.field("jitter", list)))
        try:
            step: Step | None = getattr(session, line.kind)(*arguments, line.now)
        except (LocalProtocolError, IndexError):
            step = None
        if step is None or draws:
            raise CaptureError(
                number=line.number,
                problem="it does not fit the lines before; was it recorded by another version?",
            )
        yield line, step
