"""Recordings of a feed: every input of a session as a line of JSON, and the same life again from
them.

The format is described in ``docs/recording.md``. Lines go out through a callable and come in as an
iterable; the one function that opens a file is ``open_capture``, for those who have a name.
"""
# ruff: noqa: D102 - what the inputs of a RecordedSession do is said at Session's

import json
import re
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from types import NoneType
from typing import IO, Any, Final, Literal, TypeGuard, cast

import attrs

from topone_proto._values import value
from topone_proto.actions import SendPing, SendText
from topone_proto.config import SessionConfig
from topone_proto.endpoint import Endpoint, Token
from topone_proto.errors import ConfigurationError, LocalProtocolError, TopOneError
from topone_proto.events import Closed
from topone_proto.failures import Failure
from topone_proto.plain import from_plain, to_plain
from topone_proto.session import Session, SessionInput
from topone_proto.step import Step
from topone_proto.topics import Topic

__all__ = [
    "CAPTURE_VERSION",
    "Capture",
    "CaptureError",
    "CaptureLine",
    "RecordedSession",
    "open_capture",
    "replay",
]

CAPTURE_VERSION: Final = 1
"""The version of the format that is written and read here."""

_FORMAT: Final = "topone-capture"
_I = SessionInput

Json = dict[str, Any]


class CaptureError(TopOneError, ValueError):
    """A capture cannot be read, or not be replayed.

    ``number`` and ``problem`` say where and why: it is no capture, it is damaged before its end, or
    another version of this project made it. Read it with that one.
    """

    def __init__(self, *, number: int, problem: str) -> None:
        super().__init__(f"line {number} of the capture: {problem}")
        self.number = number
        """The line, from 1."""
        self.problem = problem
        """What is wrong with it."""


# --- the token -----------------------------------------------------------------------------------

_FILLER: Final = "x"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwyz"  # without the filler
_MAX_MASKS: Final = 16


def _stand_in(secret: str, number: int) -> str:
    """A text that is no secret, and that a session treats just as it does ``secret``: as long, with
    the same characters that a URL or JSON escapes, and another one for every number."""
    shape = [_FILLER if plain.isalnum() or plain in "-._~" else plain for plain in secret]
    rest = number
    for at in reversed(range(len(shape))):
        if rest and shape[at] == _FILLER:
            rest, digit = divmod(rest, len(_DIGITS))
            shape[at] = _DIGITS[digit]
    stand_in = "".join(shape)
    # A token of such characters only has no secret in it.
    is_secret = stand_in == secret and _FILLER in stand_in.translate(_TO_FILLER)
    return _stand_in(secret, number + 1) if is_secret else stand_in


_TO_FILLER: Final = str.maketrans(dict.fromkeys(_DIGITS, _FILLER))


class _Mask:
    """Puts a stand-in in the place of one token, plain or escaped as JSON or a URL would."""

    def __init__(self, token: Token, number: int) -> None:
        secret = token.reveal()
        self.stand_in = _stand_in(secret, number)
        self._changes = [kept != plain for kept, plain in zip(self.stand_in, secret, strict=True)]
        self._pattern = re.compile("".join(_spellings(plain) for plain in secret))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        """The stand-in, every character in the spelling that was found."""
        pieces: list[str] = []
        groups = found.groups()
        for plain, changes, as_it_is, in_hex in zip(
            self.stand_in, self._changes, groups[::2], groups[1::2], strict=True
        ):
            if not changes:
                pieces.append(as_it_is or in_hex)
            elif in_hex:
                pieces.append(f"{in_hex[:-2]}{ord(plain):02x}")
            else:
                pieces.append(plain)
        return "".join(pieces)


def _spellings(plain: str) -> str:
    """A pattern of two groups for one character: as it is, or by its number in hexadecimal."""
    # What JSON may write behind a backslash.
    before = r"\\*" if plain in '"\\/' else ""
    return rf"(?:({before}{re.escape(plain)})|((?:\\+u00|%)(?i:{ord(plain):02x})))"


# --- writing -------------------------------------------------------------------------------------


class _Recorder:
    """Writes the lines of one session."""

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
        # The tokens of the last dials: a server may repeat an old one.
        self._masks: dict[Token, _Mask] = {}
        self._tokens = 0

    def draw(self) -> float:
        number = self._jitter()
        self._draws.append(number)
        return number

    def header(
        self, topics: tuple[Topic, ...], endpoint: Endpoint, token: Token | None, config: Json
    ) -> None:
        stand_in = None if token is None else self.stand_in(token)
        self._put(
            {
                "format": _FORMAT,
                "version": CAPTURE_VERSION,
                "wall": self._wall(),
                "topics": [topic.name for topic in topics],
                "url": self.masked(endpoint.url),
                "origin": endpoint.origin and self.masked(endpoint.origin),
                "insecure": endpoint.insecure,
                "token": stand_in,
                "config": config,
            }
        )

    def stand_in(self, token: Token) -> str:
        """What is written for a token."""
        mask = self._masks.get(token)
        if mask is None:
            self._tokens += 1
            try:
                token.require_usable()
            except ConfigurationError:
                # Nothing is dialled with it. It has a number, but is not remembered: it may be in
                # any text, an empty one in all.
                return f"unusable {self._tokens}"
            mask = self._masks[token] = _Mask(token, self._tokens)
            if len(self._masks) > _MAX_MASKS:
                del self._masks[next(iter(self._masks))]
        return mask.stand_in

    def masked(self, text: str) -> str:
        """``text`` without any token."""
        for mask in self._masks.values():
            text = mask(text)
        return text

    def payload(self, data: str | bytes) -> Json:
        """``data`` as it is written, without any token."""
        if isinstance(data, str):
            return {"text": self.masked(data)}
        # A token is ASCII, whatever is around it.
        data = self.masked(data.decode("latin-1")).encode("latin-1")
        try:
            return {"utf8": data.decode()}
        except UnicodeDecodeError:
            return {"base64": b64encode(data).decode()}

    def record(self, step: Step, by: SessionInput, now: float, **fields: object) -> Step:
        """Write down an input and what it sends."""
        times = {"now": now, "wall": self._wall()}
        draws = {"jitter": self._draws} if self._draws else {}
        self._put({"kind": by.value, **times, **fields, **draws})
        self._draws = []
        for action in step.actions:
            match action:
                case SendText(text=text):
                    self._put({"kind": "text_sent", **times, **self.payload(text)})
                case SendPing(payload=payload):
                    self._put({"kind": "ping_sent", **times, **self.payload(payload)})
                case _:
                    pass
        return step

    def _put(self, plain: Json) -> None:
        # A recording that has failed once does not go on: the feed has still to be closed.
        write, self._write = self._write, len
        write(json.dumps(plain, separators=(",", ":")) + "\n")
        self._write = write


class RecordedSession(Session):
    """A session that writes down its own life, one line for every input.

    It does just what a ``Session`` does. The token is not in the lines: in its place there is a
    stand-in of the same length.

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
        topics = tuple(topics)
        endpoint = endpoint if endpoint is not None else Endpoint()
        config = config if config is not None else SessionConfig()
        recorder = self._recorder = _Recorder(write, wall, jitter)
        super().__init__(
            topics, endpoint=endpoint, token=token, config=config, jitter=recorder.draw
        )
        recorder.header(topics, endpoint, token, attrs.asdict(config))

    def start(self, now: float) -> Step:
        return self._recorder.record(super().start(now), _I.START, now)

    def subscribe(self, topic: Topic, now: float) -> Step:
        step = super().subscribe(topic, now)
        return self._recorder.record(step, _I.SUBSCRIBE, now, topic=topic.name)

    def unsubscribe(self, topic: Topic, now: float) -> Step:
        step = super().unsubscribe(topic, now)
        return self._recorder.record(step, _I.UNSUBSCRIBE, now, topic=topic.name)

    def close(self, now: float) -> Step:
        return self._recorder.record(super().close(now), _I.CLOSE, now)

    def token_obtained(self, token: Token, now: float) -> Step:
        step = super().token_obtained(token, now)
        stand_in = self._recorder.stand_in(token)
        return self._recorder.record(step, _I.TOKEN_OBTAINED, now, token=stand_in)

    def token_failed(self, detail: str, now: float) -> Step:
        step = super().token_failed(detail, now)
        detail = self._recorder.masked(detail)
        return self._recorder.record(step, _I.TOKEN_FAILED, now, detail=detail)

    def connection_made(self, now: float) -> Step:
        return self._recorder.record(super().connection_made(now), _I.CONNECTION_MADE, now)

    def connection_failed(self, failure: Failure, now: float) -> Step:
        step = super().connection_failed(failure, now)
        failure = attrs.evolve(failure, detail=self._recorder.masked(failure.detail))
        plain = to_plain(Closed(failure))["failure"]
        return self._recorder.record(step, _I.CONNECTION_FAILED, now, failure=plain)

    def message_received(self, frame: str | bytes, now: float) -> Step:
        step = super().message_received(frame, now)
        return self._recorder.record(
            step, _I.MESSAGE_RECEIVED, now, **self._recorder.payload(frame)
        )

    def pong_received(self, payload: bytes, now: float) -> Step:
        step = super().pong_received(payload, now)
        return self._recorder.record(step, _I.PONG_RECEIVED, now, **self._recorder.payload(payload))

    def bytes_received(self, at: float, now: float) -> Step:
        return self._recorder.record(super().bytes_received(at, now), _I.BYTES_RECEIVED, now, at=at)

    def reading_paused(self, now: float) -> Step:
        return self._recorder.record(super().reading_paused(now), _I.READING_PAUSED, now)

    def reading_resumed(self, now: float) -> Step:
        return self._recorder.record(super().reading_resumed(now), _I.READING_RESUMED, now)

    def connection_lost(self, code: int | None, reason: str, now: float) -> Step:
        step = super().connection_lost(code, reason, now)
        reason = self._recorder.masked(reason)
        return self._recorder.record(step, _I.CONNECTION_LOST, now, code=code, reason=reason)

    def deadline_reached(self, now: float) -> Step:
        return self._recorder.record(super().deadline_reached(now), _I.DEADLINE_REACHED, now)


# --- reading -------------------------------------------------------------------------------------


@value
class CaptureLine:
    """One line of a capture."""

    number: int
    """Its place in the file, from 1."""
    data: Mapping[str, Any] = attrs.field(hash=False)
    """Everything that it says."""
    kind: str = "header"
    """What it tells: an input of a session by its name, ``text_sent``, ``ping_sent``, or something
    that this version does not know."""
    now: float = 0.0
    """The time that the session was given, in seconds on the recorder's monotonic clock."""
    wall: float = 0.0
    """The time of day, in seconds since 1970 UTC."""

    @property
    def payload(self) -> str | bytes:
        """The frame or the payload that the line has.

        Raises:
            CaptureError: it has none.
        """
        if "text" in self.data:
            return cast("str", self.field("text", str))
        if "utf8" in self.data:
            return cast("str", self.field("utf8", str)).encode()
        try:
            return b64decode(self.field("base64", str), validate=True)
        except ValueError:
            raise CaptureError(number=self.number, problem="its base64 is none") from None

    def field(self, name: str, *types: type[Any]) -> Any:
        """One of ``data``, which has to be of one of these types.

        Raises:
            CaptureError: it is not there, or is something else.
        """
        plain = self.data.get(name)
        if not isinstance(plain, types):
            raise CaptureError(
                number=self.number, problem=f"its {name!r} cannot be used (kind: {self.kind})"
            )
        return plain


_SETTINGS: Final = frozenset(field.name for field in attrs.fields(SessionConfig))


class Capture:
    """A recording, read line by line as it is iterated over, once.

    A last line that breaks off, because the recorder was killed, is left out.

    Args:
        lines: the lines, with or without their ends: an open file, for example.

    Raises:
        CaptureError: it is no capture, or one of another version. While iterating: a line cannot be
            read and is not the last.
    """

    def __init__(self, lines: Iterable[str | bytes]) -> None:
        self.is_truncated: bool = False
        """True once the lines came to their end and the last of them was broken off."""
        self._rows = self._read(lines)
        nothing: tuple[int, Json] = (1, {})
        header = CaptureLine(*next(self._rows, nothing))
        if header.data.get("format") != _FORMAT:
            raise CaptureError(number=header.number, problem="there is no header of a capture")
        version = header.data.get("version")
        if version != CAPTURE_VERSION:
            raise CaptureError(
                number=header.number,
                problem=f"the format has version {version!r:.20}, and this program reads version "
                f"{CAPTURE_VERSION}: use the topone-proto that it was made with",
            )
        try:
            self.topics: tuple[Topic, ...] = tuple(
                Topic(name) for name in header.field("topics", list)
            )
            """What was desired from the start."""
            self.endpoint: Endpoint = Endpoint(
                header.field("url", str),
                header.field("origin", str, NoneType),
                header.field("insecure", bool),
            )
            """Where it dialled."""
            self.config: SessionConfig = SessionConfig(
                **{
                    name: plain
                    for name, plain in header.field("config", dict).items()
                    if name in _SETTINGS
                }
            )
            """Its settings."""
            stand_in = header.field("token", str, NoneType)
            self.token: Token | None = None if stand_in is None else Token(stand_in)
            """The stand-in of the token that was the same for every dial, if there was one."""
        except ConfigurationError as error:
            raise CaptureError(number=header.number, problem=str(error)) from None

    def __iter__(self) -> Iterator[CaptureLine]:
        for number, plain in self._rows:
            kind, now, wall = (plain.get(name) for name in ("kind", "now", "wall"))
            if not (isinstance(kind, str) and _is_time(now) and _is_time(wall)):
                raise CaptureError(number=number, problem="it has no kind or no times")
            yield CaptureLine(number, plain, kind, now, wall)

    def _read(self, lines: Iterable[str | bytes]) -> Iterator[tuple[int, Json]]:
        broken: CaptureError | None = None
        rows = iter(lines)
        for number in count(1):  # pragma: no branch - it has no end of its own
            try:
                text = next(rows)
            except StopIteration:
                break
            except EOFError:
                # What gzip says of a file that breaks off.
                self.is_truncated = True
                return
            if broken is not None:
                raise broken
            try:
                plain = json.loads(text)
            except (ValueError, RecursionError):
                plain = None
            if isinstance(plain, dict):
                yield number, cast("Json", plain)
            else:
                broken = CaptureError(number=number, problem="it is no JSON object")
        self.is_truncated = broken is not None


def _is_time(plain: object) -> TypeGuard[float]:
    return type(plain) in {float, int} and -_LONG < cast("float", plain) < _LONG


_LONG: Final = 1e15


# --- living it again -----------------------------------------------------------------------------


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
    if not _is_time(at):
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
            draws.extend(filter(_is_time, line.field("jitter", list)))
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
