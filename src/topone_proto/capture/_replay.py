"""A recorded life, lived again."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Final

from topone_proto.capture._format import Capture, CaptureError, CaptureLine, is_time
from topone_proto.endpoint import Token
from topone_proto.errors import ConfigurationError, LocalProtocolError
from topone_proto.events import Closed
from topone_proto.failures import Failure
from topone_proto.plain import from_plain
from topone_proto.session import Session, SessionInput
from topone_proto.step import Step
from topone_proto.topics import Topic

__all__ = ["replay"]

_I = SessionInput


def _failure(line: CaptureLine) -> Failure:
    try:
        closed = from_plain({"event": "Closed", "failure": line.field("failure", dict)})
    except ValueError:
        raise CaptureError(number=line.number, problem="its failure cannot be used") from None
    assert isinstance(closed, Closed)
    assert closed.failure is not None
    return closed.failure


def _topic(line: CaptureLine) -> Topic:
    try:
        return Topic(line.field("topic", str))
    except ConfigurationError:
        raise CaptureError(number=line.number, problem="its topic cannot be used") from None


def _at(line: CaptureLine) -> float:
    at: float = line.field("at", float, int)
    if not is_time(at):
        raise CaptureError(number=line.number, problem="its time cannot be used")
    return at


def _bytes(line: CaptureLine) -> bytes:
    payload = line.payload
    return payload if isinstance(payload, bytes) else payload.encode()


# How each input is read from its line. What is not here is no input.
_ARGUMENTS: Final[Mapping[str, Callable[[CaptureLine], tuple[Any, ...]]]] = {
    _I.START.value: lambda _: (),
    _I.SUBSCRIBE.value: lambda line: (_topic(line),),
    _I.UNSUBSCRIBE.value: lambda line: (_topic(line),),
    _I.CLOSE.value: lambda _: (),
    _I.TOKEN_OBTAINED.value: lambda line: (Token(line.field("token", str)),),
    _I.TOKEN_FAILED.value: lambda line: (line.field("detail", str),),
    _I.CONNECTION_MADE.value: lambda _: (),
    _I.CONNECTION_FAILED.value: lambda line: (_failure(line),),
    _I.MESSAGE_RECEIVED.value: lambda line: (line.payload,),
    _I.PONG_RECEIVED.value: lambda line: (_bytes(line),),
    _I.BYTES_RECEIVED.value: lambda line: (_at(line),),
    _I.READING_PAUSED.value: lambda _: (),
    _I.READING_RESUMED.value: lambda _: (),
    _I.CONNECTION_LOST.value: lambda line: (
        line.field("code", int, NoneType),
        line.field("reason", str),
    ),
    _I.DEADLINE_REACHED.value: lambda _: (),
}


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
        read = _ARGUMENTS.get(line.kind)
        if read is None:
            continue
        arguments = read(line)
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
