"""A session that writes down its own life."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final

import attrs

from topone_proto.capture._format import CAPTURE_VERSION, FORMAT, Json
from topone_proto.capture._inputs import ARGUMENTS, Argument, payload
from topone_proto.secrets.masking import Masker
from topone_proto.secrets.token import Token
from topone_proto.session.actions import SendPing, SendText
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.session import Session
from topone_proto.session.states import INPUTS
from topone_proto.session.step import Step
from topone_proto.wire.topic import Topic

__all__ = ["RecordedSession"]


class _Recorder:
    """Writes the lines of one session, up to the first error."""

    def __init__(
        self,
        write: Callable[[str], object],
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._write = write
        self._wall = wall
        self._jitter = jitter
        self._draws: list[float] = []
        self._masker = Masker()
        # What is written while ``write`` calls for more of it has to wait.
        self._lines: deque[str] = deque()
        self._is_writing = False
        self.error: BaseException | None = None

    def draw(self) -> float:
        number = self._jitter()
        if self.error is None:
            self._draws.append(number)
        return number

    def header(
        self, topics: tuple[Topic, ...], endpoint: Endpoint, token: Token | None, config: Json
    ) -> None:
        try:
            masker = self._masker
            stand_in = None if token is None else masker.stand_in(token)
            self._put(
                {
                    "format": FORMAT,
                    "version": CAPTURE_VERSION,
                    "wall": self._wall(),
                    "topics": [masker.mask(topic.name) for topic in topics],
                    "url": masker.mask(endpoint.url),
                    "origin": endpoint.origin and masker.mask(endpoint.origin),
                    "insecure": endpoint.insecure,
                    "socket": endpoint.socket,
                    "token": stand_in,
                    "config": config,
                }
            )
        except BaseException as error:  # noqa: BLE001 - whatever it is, the session is made
            self._fail(error)
        self._write_out()

    def record(
        self,
        step: Step,
        by: str,
        arguments: tuple[tuple[Argument, Any], ...],
        now: float,
    ) -> None:
        """Write down an input and what it sends."""
        if self.error is not None:
            return
        try:
            times = {"now": now, "wall": self._wall()}
            line: Json = {"kind": by, **times}
            for argument, given in arguments:
                line |= argument.write(self._masker, argument.name, given)
            if self._draws:
                line["jitter"] = self._draws
                self._draws = []
            self._put(line)
            for action in step.actions:
                match action:
                    case SendText(text=text):
                        self._put({"kind": "text_sent", **times, **payload(self._masker, text)})
                    case SendPing(payload=data):
                        self._put({"kind": "ping_sent", **times, **payload(self._masker, data)})
                    case _:
                        pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the step is taken
            self._fail(error)
        self._write_out()

    def _put(self, plain: Json) -> None:
        self._lines.append(json.dumps(plain, separators=(",", ":")) + "\n")

    # Apart from what has a text with a token in it among its variables: a traceback may show them.
    def _write_out(self) -> None:
        if self._is_writing:
            return
        self._is_writing = True
        try:
            while self._lines and self.error is None:
                self._write(self._lines.popleft())
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        finally:
            self._is_writing = False

    def _fail(self, error: BaseException) -> None:
        self.error = error
        self._lines.clear()
        self._draws = []


class RecordedSession(Session):
    """A session that writes down its own life, one line for every input.

    It does just what a ``Session`` does, whatever becomes of the recording: an error of ``write``
    is kept in ``recording_error``, and nothing is written any more. The token is not in the lines:
    in its place there is a stand-in of the same length.

    Args:
        topics: as for a session; so are ``endpoint``, ``token``, ``config`` and ``jitter``.
        endpoint: see there.
        token: see there.
        config: see there.
        jitter: see there.
        write: takes each line, line end included; a text file's ``write``.
        wall: the time of day in seconds since 1970 UTC, such as ``time.time``; for people only.
    """

    def __init__(
        self,
        topics: Iterable[Topic] = (),
        *,
        endpoint: Endpoint | None = None,
        token: Token | None = None,
        config: SessionConfig | None = None,
        jitter: Callable[[], float],
        write: Callable[[str], object],
        wall: Callable[[], float],
    ) -> None:
        endpoint = endpoint if endpoint is not None else Endpoint()
        config = config if config is not None else SessionConfig()
        recorder = self._recorder = _Recorder(write, wall, jitter)
        super().__init__(
            topics, endpoint=endpoint, token=token, config=config, jitter=recorder.draw
        )
        recorder.header(self.desired, endpoint, token, attrs.asdict(config))

    @property
    def recording_error(self) -> BaseException | None:
        """The error that ended the recording; None as long as it goes on."""
        return self._recorder.error

    def take_frame(self, frame: str | bytes, now: float) -> Step:
        """Take a text frame in: ``message_received``, which writes it down."""
        return self.message_received(frame, now)


def _recorded(by: str) -> Callable[..., Step]:
    """The method of a session for an input, with a line for it when it was taken."""
    take: Final[Callable[..., Step]] = getattr(Session, by)
    arguments = ARGUMENTS[by]
    names = (*(argument.name for argument in arguments), "now")

    @wraps(take)
    def method(self: RecordedSession, *args: Any, **named: Any) -> Step:
        step = take(self, *args, **named)
        *given, now = (*args, *(named[name] for name in names[len(args) :]))
        recorder = self._recorder  # pyright: ignore[reportPrivateUsage]  # it becomes a method
        recorder.record(step, by, tuple(zip(arguments, given, strict=True)), now)
        return step

    return method


for _input in INPUTS:
    setattr(RecordedSession, _input, _recorded(_input))
