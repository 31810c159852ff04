"""The arguments of a session's inputs, as they are written into a line and read from it.

An input is declared once: it is a method of ``Session`` that has a place in the table
``states.TRANSITIONS``. The recorder and the replay read its parameters off that method, and know by
the type of each how it is written: a new input needs nothing here unless it has a parameter of a
new type.
"""

import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final, get_type_hints

from topone_proto._values import value
from topone_proto.capture._format import CaptureError, CaptureLine, Json, is_time
from topone_proto.errors import ConfigurationError
from topone_proto.events import Closed
from topone_proto.failures import Failure
from topone_proto.plain import from_plain, to_plain
from topone_proto.secrets.masking import Masker
from topone_proto.secrets.token import Token
from topone_proto.session.pulls import Moment, seconds
from topone_proto.session.session import Session
from topone_proto.session.states import INPUTS
from topone_proto.wire.topic import Topic

__all__ = ["ARGUMENTS", "Argument", "payload"]

_GZIP: Final = b"\x1f\x8b"
_MAX_SIZE: Final = 2**24
"""The most that is unpacked of a frame, in bytes."""


_Write = Callable[[Masker, str, Any], Json]
_Read = Callable[[CaptureLine, str], Any]


@value
class Argument:
    """One argument of an input, ``now`` apart."""

    name: str
    """Its name, by which it may be passed and under which a line has it."""
    write: _Write
    """Returns the members of the line that have it, without any token."""
    read: _Read
    """Returns it. Raises ``CaptureError`` if the line does not have it."""


def payload(masker: Masker, data: str | bytes) -> Json:
    """Return ``data`` as it is written."""
    if isinstance(data, str):
        return {"text": masker.mask(data)}
    if data.startswith(_GZIP):
        plain = _unpacked(data)
        # As it came, unless it has a token in it: a session reads both alike.
        data = data if masker.is_clean(plain.decode("latin-1")) else plain
    # A token is ASCII, whatever is around it.
    data = masker.mask(data.decode("latin-1")).encode("latin-1")
    try:
        return {"utf8": data.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _unpacked(data: bytes) -> bytes:
    """A frame that was compressed with gzip, as far as it can be unpacked."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _MAX_SIZE)
    except zlib.error:
        return b""


def _topic(line: CaptureLine, name: str) -> Topic:
    try:
        return Topic(line.field(name, str))
    except ConfigurationError:
        raise CaptureError(number=line.number, problem="its topic cannot be used") from None


def _write_failure(masker: Masker, name: str, failure: Failure) -> Json:
    plain = to_plain(Closed(failure))["failure"]
    return {name: plain | {"detail": masker.mask(failure.detail)}}


def _failure(line: CaptureLine, name: str) -> Failure:
    try:
        closed = from_plain({"event": "Closed", "failure": line.field(name, dict)})
    except ValueError:
        raise CaptureError(number=line.number, problem="its failure cannot be used") from None
    assert isinstance(closed, Closed)
    assert closed.failure is not None
    return closed.failure


def _time(line: CaptureLine, name: str) -> float:
    at: float = line.field(name, float, int)
    if not is_time(at):
        raise CaptureError(number=line.number, problem="its time cannot be used")
    return at


def _bytes(line: CaptureLine, _: str) -> bytes:
    data = line.payload
    return data if isinstance(data, bytes) else data.encode()


# One way for every type that a parameter may have.
_KINDS: Final[Mapping[object, tuple[_Write, _Read]]] = MappingProxyType(
    {
        Topic: (lambda masker, name, topic: {name: masker.mask(topic.name)}, _topic),
        Token: (
            lambda masker, name, token: {name: masker.stand_in(token)},
            lambda line, name: Token(line.field(name, str)),
        ),
        Failure: (_write_failure, _failure),
        str | bytes: (lambda masker, _, data: payload(masker, data), lambda line, _: line.payload),
        bytes: (lambda masker, _, data: payload(masker, data), _bytes),
        str: (
            lambda masker, name, text: {name: masker.mask(text)},
            lambda line, name: line.field(name, str),
        ),
        int | None: (
            lambda _, name, number: {name: number},
            lambda line, name: line.field(name, int, NoneType),
        ),
        int: (
            lambda _, name, number: {name: number},
            lambda line, name: line.field(name, int),
        ),
        Moment: (lambda _, name, moment: {name: seconds(moment, name)}, _time),
        float: (lambda _, name, at: {name: at}, _time),
    }
)


def _arguments(by: str) -> tuple[Argument, ...]:
    *names, _now, _result = (hints := get_type_hints(getattr(Session, by)))
    return tuple(Argument(name, *_KINDS[hints[name]]) for name in names)


ARGUMENTS: Final = MappingProxyType({by: _arguments(by) for by in INPUTS})
"""The arguments of every input, in their order; after them comes ``now``."""
