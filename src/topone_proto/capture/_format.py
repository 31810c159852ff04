"""The lines of a recording, and how they are read."""

import json
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from types import NoneType
from typing import Any, Final, TypeGuard, cast

import attrs

from topone_proto._values import value
from topone_proto.errors import ConfigurationError, TopOneError
from topone_proto.secrets.token import Token
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.wire.topic import Topic

__all__ = ["CAPTURE_VERSION", "FORMAT", "Capture", "CaptureError", "CaptureLine", "Json", "is_time"]

CAPTURE_VERSION: Final = 1
"""The version of the format that is written and read here."""

FORMAT: Final = "topone-capture"
"""The name of the format, in every header."""


Json = dict[str, Any]
"""An object of JSON."""


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
        """The defect."""


@value
class CaptureLine:
    """One line of a capture."""

    number: int
    """Its place in the file, from 1."""
    data: Mapping[str, Any] = attrs.field(hash=False)
    """Everything that it says."""
    kind: str = "header"
    """The kind of line: an input of a session by its name, ``text_sent``, ``ping_sent``, or
    something that this version does not know."""
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


# By its name: gzip, which can read files, is not loaded for it.
_BAD_GZIP: Final = "BadGzipFile"

_BEGINNING: Final = f'{{"format":"{FORMAT}"'
_KNOWN: Final = len(_BEGINNING)
_NO_HEADER: Final = "there is no header of a capture"
_CUT: Final = (
    "it breaks off before its header is whole: the recorder was ended before it had written more"
)
_EMPTY: Final = "it is empty: nothing was recorded, or the recorder was ended before it could write"


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
        self._first: str | None = None
        self._rows = self._read(lines)
        first = next(self._rows, None)
        if first is None:
            raise CaptureError(number=1, problem=self._no_header())
        header = CaptureLine(*first)
        if header.data.get("format") != FORMAT:
            raise CaptureError(number=header.number, problem=_NO_HEADER)
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
                socket=header.data.get("socket", "private"),
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
            if not (isinstance(kind, str) and is_time(now) and is_time(wall)):
                raise CaptureError(number=number, problem="it has no kind or no times")
            yield CaptureLine(number, plain, kind, now, wall)

    def _no_header(self) -> str:
        """The words for lines that have no first one that can be read."""
        if self._first is None:
            return _CUT if self.is_truncated else _EMPTY
        return _CUT if self._first and _BEGINNING.startswith(self._first[:_KNOWN]) else _NO_HEADER

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
            except (OSError, UnicodeDecodeError, zlib.error) as error:
                if isinstance(error, OSError) and type(error).__name__ != _BAD_GZIP:
                    raise
                raise CaptureError(number=number, problem="the file is damaged here") from None
            if broken is not None:
                raise broken
            if number == 1:
                self._first = text if isinstance(text, str) else text.decode("latin-1")
            try:
                plain = json.loads(text)
            except (ValueError, RecursionError):
                plain = None
            if isinstance(plain, dict):
                yield number, cast("Json", plain)
            else:
                broken = CaptureError(number=number, problem="it is no JSON object")
        self.is_truncated = broken is not None


def is_time(plain: object) -> TypeGuard[float]:
    """True for a number that can be a time."""
    return type(plain) in {float, int} and -_LONG < cast("float", plain) < _LONG


_LONG: Final = 1e15
