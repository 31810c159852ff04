"""A session that writes down its own life."""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from topone_proto.actions import SendPing, SendText
from topone_proto.capture._format import CAPTURE_VERSION, FORMAT, Json
from topone_proto.config import SessionConfig
from topone_proto.endpoint import Endpoint, Token
from topone_proto.errors import ConfigurationError
from topone_proto.events import Closed
from topone_proto.failures import Failure
from topone_proto.plain import to_plain
from topone_proto.session import Session, SessionInput
from topone_proto.step import Step
from topone_proto.topics import Topic

__all__ = ["RecordedSession"]

_I = SessionInput

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
                "format": FORMAT,
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
