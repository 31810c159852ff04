"""The inputs of a session, and how each of their arguments is written into a line and read from it.

The recorder and the replay know an input by its row in this one table.
"""

import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final

from topone_proto._values import value
from topone_proto.capture._format import CaptureError, CaptureLine, Json, is_time
from topone_proto.errors import ConfigurationError
from topone_proto.events import Closed
from topone_proto.failures import Failure
from topone_proto.plain import from_plain, to_plain
from topone_proto.secrets.masking import Masker
from topone_proto.secrets.token import Token
from topone_proto.session.session import SessionInput
from topone_proto.wire.topic import Topic

__all__ = ["INPUTS", "Argument", "payload"]

_I = SessionInput

_GZIP: Final = b"\x1f\x8b"
_MAX_SIZE: Final = 2**24
"""The most that is unpacked of a frame, in bytes."""


@value
class Argument:
    """One argument of an input, ``now`` apart."""

    name: str
    """Its name, by which it may be passed."""
    write: Callable[[Masker, Any], Json]
    """Returns the members of the line that have it, without any token."""
    read: Callable[[CaptureLine], Any]
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


def _as_bytes(line: CaptureLine) -> bytes:
    data = line.payload
    return data if isinstance(data, bytes) else data.encode()


def _topic(line: CaptureLine) -> Topic:
    try:
        return Topic(line.field("topic", str))
    except ConfigurationError:
        raise CaptureError(number=line.number, problem="its topic cannot be used") from None


def _write_failure(masker: Masker, failure: Failure) -> Json:
    plain = to_plain(Closed(failure))["failure"]
    return {"failure": plain | {"detail": masker.mask(failure.detail)}}


def _failure(line: CaptureLine) -> Failure:
    try:
        closed = from_plain({"event": "Closed", "failure": line.field("failure", dict)})
    except ValueError:
        raise CaptureError(number=line.number, problem="its failure cannot be used") from None
    assert isinstance(closed, Closed)
    assert closed.failure is not None
    return closed.failure


def _time(line: CaptureLine) -> float:
    at: float = line.field("at", float, int)
    if not is_time(at):
        raise CaptureError(number=line.number, problem="its time cannot be used")
    return at


def _text(name: str) -> Argument:
    return Argument(
        name,
        lambda masker, text: {name: masker.mask(text)},
        lambda line: line.field(name, str),
    )


_TOPIC: Final = Argument("topic", lambda masker, topic: {"topic": masker.mask(topic.name)}, _topic)
_TOKEN: Final = Argument(
    "token",
    lambda masker, token: {"token": masker.stand_in(token)},
    lambda line: Token(line.field("token", str)),
)
_FAILURE: Final = Argument("failure", _write_failure, _failure)
_CODE: Final = Argument(
    "code", lambda _, code: {"code": code}, lambda line: line.field("code", int, NoneType)
)

INPUTS: Final[Mapping[SessionInput, tuple[Argument, ...]]] = MappingProxyType(
    {
        _I.START: (),
        _I.SUBSCRIBE: (_TOPIC,),
        _I.UNSUBSCRIBE: (_TOPIC,),
        _I.CLOSE: (),
        _I.TOKEN_OBTAINED: (_TOKEN,),
        _I.TOKEN_FAILED: (_text("detail"),),
        _I.CONNECTION_MADE: (),
        _I.CONNECTION_FAILED: (_FAILURE,),
        _I.MESSAGE_RECEIVED: (Argument("frame", payload, lambda line: line.payload),),
        _I.PONG_RECEIVED: (Argument("payload", payload, _as_bytes),),
        _I.BYTES_RECEIVED: (Argument("at", lambda _, at: {"at": at}, _time),),
        _I.READING_PAUSED: (),
        _I.READING_RESUMED: (),
        _I.CONNECTION_LOST: (_CODE, _text("reason")),
        _I.DEADLINE_REACHED: (),
    }
)
"""The arguments of every input, in their order; after them comes ``now``."""
