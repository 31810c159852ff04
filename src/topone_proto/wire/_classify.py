"""The second way to read a frame: member by member, in whatever form they are.

Three rules hold:

- A member that is not important never voids a frame that is: a time, a message, an echo that cannot
  be read becomes None, and one in another form becomes what it certainly means.
- Data is never dropped in silence. What may have been an update and cannot be read says of which
  topics: ``Malformed.topics``, ``Unrecognised.topics``.
- What cannot have been an update says so, by naming no topic. An update is a JSON object, so a
  frame without a brace is none; a frame that names its method is of no other; a broken frame that
  names none may be of any topic that is followed.
"""

import re
import zlib
from array import array
from collections.abc import Collection
from itertools import accumulate
from typing import Final

import msgspec

from topone_proto._checks import DEEPEST
from topone_proto.wire._members import (
    ABSENT,
    MISSING,
    Wrong,
    id_of,
    is_present,
    milliseconds_of,
    number_of,
    reason_and_path,
    text_of,
    unreadable,
    whole_of,
)
from topone_proto.wire._suspects import GZIP, canonical, excerpt, marked, suspects
from topone_proto.wire.messages import Malformed, Message, Ping, Response, Unrecognised
from topone_proto.wire.topic import Topic

__all__ = ["read_slowly"]

_KEEP_REASON: Final = 200
_PONGS: Final = {"ping": "pong", "server.ping": "server.pong"}
_ECHO_LENGTH: Final = 128
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
# One level more after an opening bracket, one less after a closing one.
_STEPS: Final = bytes({"[": 1, "{": 1, "]": 255, "}": 255}.get(chr(code), 0) for code in range(256))
_NO_DATA: Final = frozenset({b"", b"null", b"{}", b"[]", b'""'})


class _Envelope(msgspec.Struct, gc=False):
    """Every member that means something, and that unread."""

    method: msgspec.Raw = ABSENT
    id: msgspec.Raw = ABSENT
    code: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    msg: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    ts: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    ping: msgspec.Raw = ABSENT


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_any: Final = msgspec.json.Decoder().decode


def read_slowly(
    frame: str | bytes, keep: int, max_size: int, followed: Collection[Topic] | None
) -> Message:
    """Return what a frame means, read member by member. Never raises."""
    plain = frame
    try:
        if isinstance(plain, bytes) and plain.startswith(GZIP):
            plain = _unpacked(plain, max_size, followed)
        # A byte order mark is no JSON, and some servers write one.
        plain = (
            plain.removeprefix("\ufeff")
            if isinstance(plain, str)
            else plain.removeprefix(b"\xef\xbb\xbf")
        )
        return _classify(plain, keep, followed)
    except Wrong as error:
        reason, path, topics = error.reason, error.path, error.topics
    except msgspec.ValidationError as error:
        (reason, path), topics = reason_and_path(str(error)), suspects(plain, followed)
    except (ValueError, RecursionError) as error:
        reason, path, topics = unreadable(error, plain), "$", suspects(plain, followed)
    text = excerpt(plain, keep)
    return Malformed(excerpt(reason, _KEEP_REASON), path, text, len(frame), topics=topics)


def _unpacked(frame: bytes, max_size: int, followed: Collection[Topic] | None) -> bytes:
    """Return what was compressed with gzip, never more than ``max_size`` bytes."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(frame, max_size + 1)
    except zlib.error:
        raise Wrong("compressed, and damaged", "$", suspects(GZIP, followed)) from None
    if len(plain) > max_size:
        raise Wrong(f"unpacks to more than {max_size} bytes", "$", suspects(GZIP, followed))
    if not unpacker.eof or unpacker.unused_data:
        raise Wrong(
            "compressed, and cut short or followed by something", "$", suspects(GZIP, followed)
        )
    return plain


def _classify(frame: str | bytes, keep: int, followed: Collection[Topic] | None) -> Message:
    # As bytes, so that both types have the same white space (and python -b has nothing to say).
    if (frame.encode() if isinstance(frame, str) else frame).strip() == b"ping":
        return Ping("pong")
    envelope = _decode_envelope(frame)
    method = text_of(bytes(envelope.method))
    ping = _ping(envelope, method)
    if ping is not None:
        return ping
    code = _code(envelope, method, followed)
    if code is None and method is None and is_present(envelope.method):
        raise Wrong(_no_text(envelope.method), "$.method", marked(canonical(frame), followed))
    topic = None if method is None else Topic.from_method(method)
    family = None if topic is None else topic.family
    identity = id_of(envelope.id)
    has_data = bytes(envelope.data) not in _NO_DATA
    if topic is not None and family is not None and has_data and (identity is None or code is None):
        # A code makes no response of it: what has data and answers nothing is an update.
        try:
            return family.read(topic, bytes(envelope.data), milliseconds_of(bytes(envelope.ts)))
        except Wrong as error:
            raise Wrong(error.reason, error.path, (topic,)) from None
    if code is not None:
        return _response(envelope, identity, method, code, followed)
    if topic is not None and family is not None and is_present(envelope.id):
        raise Wrong("required field is missing", "$.code")
    if topic is not None and family is not None:
        is_there = is_present(envelope.data)
        reason, path = ("it says nothing", "$.data") if is_there else (MISSING, "$.data")
        raise Wrong(reason, path, (topic,))
    if identity is not None and not is_present(envelope.data):
        raise Wrong("required field is missing", "$.code")
    text = excerpt(frame, keep)
    named = marked(canonical(frame), followed)
    if method is None:
        return Unrecognised("a frame without a method", None, text, topics=named)
    if topic is None:
        return Unrecognised("an unknown method", excerpt(method, keep), text, topics=named)
    return Unrecognised("an unknown topic", excerpt(method, keep), text, topics=(topic,))


def _code(
    envelope: _Envelope, method: str | None, followed: Collection[Topic] | None
) -> tuple[int, str] | None:
    """The code of a response, and the server's own word for it if that is no number; None if there
    is none that can be read."""
    raw = bytes(envelope.code)
    if raw in {b"", b"null"}:
        return _error(envelope)
    number = whole_of(raw)
    if number is not None:
        return number, ""
    text = text_of(raw)
    if text and number_of(raw) is None:
        # Such as "T0005": surely no success.
        return -1, text
    has_data = bytes(envelope.data) not in _NO_DATA
    topic = Topic.from_method(method or "")
    if topic is not None and topic.family is not None and has_data and id_of(envelope.id) is None:
        # An update, whatever that is.
        return None
    named = marked(canonical(bytes(envelope.data)), followed) if has_data else ()
    raise Wrong("not a code", "$.code", named)


def _error(envelope: _Envelope) -> tuple[int, str] | None:
    """The exchange's older form of a response: ``error`` is null, or an object with ``code`` and
    ``message``."""
    raw = bytes(envelope.error)
    if raw == b"" or id_of(envelope.id) is None:
        return None
    if raw == b"null":
        return (0, "") if is_present(envelope.result) else None
    try:
        inner = _decode_envelope(raw)
    except ValueError:
        return -1, text_of(raw) or excerpt(raw, _KEEP_REASON)
    return whole_of(bytes(inner.code)) or -1, _message(inner)


def _message(envelope: _Envelope) -> str:
    raw = bytes(envelope.msg if is_present(envelope.msg) else envelope.message)
    if raw in {b"", b"null"}:
        return ""
    text = text_of(raw)
    return raw.decode(errors="replace") if text is None else text


def _no_text(raw: msgspec.Raw) -> str:
    """Return the reason why a member is no text."""
    try:
        _decode_text(raw)
    except ValueError as error:
        return reason_and_path(unreadable(error, bytes(raw)))[0]
    return "no text"  # pragma: no cover - the caller has found that it is none


def _ping(envelope: _Envelope, method: str | None) -> Ping | None:
    """A server that asks, whatever else it says: not to answer may cost the connection."""
    pong = _PONGS.get(method or "")
    if pong is not None:
        identity = bytes(envelope.id)
        if not is_present(envelope.id) or len(identity) > _ECHO_LENGTH:
            return Ping(f'{{"method":"{pong}"}}')
        return Ping(f'{{"id":{identity.decode()},"method":"{pong}"}}')
    if method is None and is_present(envelope.ping):
        ping = bytes(envelope.ping)
        if len(ping) > _ECHO_LENGTH:
            raise Wrong("too long to be repeated", "$.ping")
        return Ping(f'{{"pong":{ping.decode()}}}')
    return None


def _response(
    envelope: _Envelope,
    identity: str | None,
    method: str | None,
    code: tuple[int, str],
    followed: Collection[Topic] | None,
) -> Response:
    try:
        data = _decode_any(envelope.data) if is_present(envelope.data) else None
    except (ValueError, RecursionError):
        # Such as 1e400. It is no update, or it would have said so.
        if marked(bytes(envelope.data), followed):
            raise
        data = None
    if _levels(bytes(envelope.data)) > DEEPEST:
        raise ValueError("nested too deeply")
    number, word = code
    msg = _message(envelope)
    return Response(
        id=identity,
        method=method,
        code=number,
        msg=": ".join(filter(None, (word, msg))),
        ts=milliseconds_of(bytes(envelope.ts)),
        data=data,
    )


def _levels(raw: bytes) -> int:
    """Return in how many levels the arrays and objects of JSON are nested."""
    return max(accumulate(array("b", _TEXTS.sub(b"", raw).translate(_STEPS))), default=0)
