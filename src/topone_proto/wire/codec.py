"""Text to message and request to text, and nothing else: total, stateless, the hot path of the
whole library.

The common frames, an order or a balance update as the exchange's page has it, take one typed pass
(``decode``). Every other frame is classified by its members and read member by member
(``_classify``). Whatever the first way reads, the second reads the same.

Three rules hold for the second way:

- A member that is not important never voids a frame that is: a time, a message, an echo that cannot
  be read becomes None, and one in another form becomes what it certainly means.
- Data is never dropped in silence. What may have been an update and cannot be read says of which
  topics: ``Malformed.topics``, ``Unrecognised.topics``.
- What cannot have been an update says so, by naming no topic. An update is a JSON object, so a
  frame without a brace is none; a frame that names its method is of no other; a broken frame that
  names none may be of any topic.
"""

import re
import zlib
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final, cast

import msgspec

from topone_proto.models import Side
from topone_proto.wire.balance import BALANCE, Balance, BalanceUpdate
from topone_proto.wire.decimals import MAX_LENGTH, is_decimal
from topone_proto.wire.messages import (
    Malformed,
    Message,
    Ping,
    Request,
    Response,
    Unrecognised,
    Update,
)
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType, OrderUpdate
from topone_proto.wire.topic import Topic

__all__ = ["carried", "decode", "encode", "excerpt", "suspects"]

_KEEP: Final = 4096
_KEEP_REASON: Final = 200
_MAX_SIZE: Final = 2**20

_DIGITS: Final = b"0123456789."

# Not Decimal(): whether that raises for "1.2.3" or returns NaN depends on the caller's context.
_context: Final = Context(prec=256, traps=[InvalidOperation])
_to_decimal: Final = _context.create_decimal

# The last second of the year 9999: a later time is none that datetime can show.
_LAST_SECOND: Final = 253402300800
_Time = Annotated[float, msgspec.Meta(ge=0, lt=_LAST_SECOND)]
_INT64: Final = 2**63
_Integer = Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64 - 1)]

# Milliseconds from 1973 to 5138. Seconds, microseconds and nanoseconds of the same years are other
# numbers, so that the size of a number tells its unit.
_FIRST_MS: Final = 10**11
_LAST_MS: Final = 10**14
# Smaller numbers are no time of today in any unit: they stay what they are, for tests.
_SMALL: Final = 10**8

# What may have been published on these topics, if nothing says on which.
_ANY_TOPIC: Final = (BALANCE, ORDERS)
# The members by which the data of an update is known, whatever is around it.
_MARKS: Final = {
    BALANCE: (b'"asset"', b'"available"', b'"freeze"'),
    ORDERS: (
        *(b'"market"', b'"side"', b'"price"', b'"amount"', b'"left"'),
        *(b'"dealStock"', b'"dealMoney"'),
    ),
}

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_NUMBER_LENGTH: Final = 64
# What a second, a microsecond and a nanosecond are multiplied by to be milliseconds, and a
# millisecond.
_UNITS: Final = (Decimal(1), Decimal(1000), Decimal("1e-3"), Decimal("1e-6"))

_PONGS: Final = {"ping": "pong", "server.ping": "server.pong"}
_ECHO_LENGTH: Final = 128
_GZIP: Final = b"\x1f\x8b"
_NO_DATA: Final = frozenset({b"", b"null", b"{}", b"[]", b'""'})
_MISSING_REASON: Final = "required field is missing"

# Possessive, so that no frame makes them look twice.
_METHOD: Final = re.compile(rb'"method"\s*+:\s*+("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_NAMED: Final = re.compile(rb"(?<!un)(sub_balance|sub_orders)")

_new: Final = object.__new__


# The shapes of the wire. Texts stay texts here: msgspec's own Decimal takes "NaN", "1_000" and " 1"
# as well. An absent price or left is "", so that the common case costs no union; null is what some
# servers send for absent.
class _OrderData(msgspec.Struct, rename="camel", gc=False):
    id: _Integer
    market: str
    type: OrderType
    side: Side
    status: OrderStatus
    amount: str
    deal_stock: str
    deal_money: str
    create_time: _Time
    update_time: _Time
    price: str | None = ""
    left: str | None = ""


class _BalanceData(msgspec.Struct, gc=False):
    asset: str
    available: str
    freeze: str


# With a code it may be a response: both carry the method of the subscription.
class _OrderFrame(msgspec.Struct, tag_field="method", tag=ORDERS.subscribe_method, gc=False):
    ts: int
    data: _OrderData
    code: int | None = None


class _BalanceFrame(msgspec.Struct, tag_field="method", tag=BALANCE.subscribe_method, gc=False):
    ts: int
    data: _BalanceData
    code: int | None = None


_ABSENT: Final = msgspec.Raw()


class _Envelope(msgspec.Struct, gc=False):
    """Every member that means something, and that unread."""

    method: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    code: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    msg: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    ts: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    ping: msgspec.Raw = _ABSENT


class _AnyOrder(msgspec.Struct, rename="camel", gc=False):
    """The data of an order whose numbers and times are in whatever form."""

    market: str
    amount: str
    deal_stock: str
    deal_money: str
    id: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    side: msgspec.Raw = _ABSENT
    status: msgspec.Raw = _ABSENT
    create_time: msgspec.Raw = _ABSENT
    update_time: msgspec.Raw = _ABSENT
    price: str | None = ""
    left: str | None = ""


_decode_update: Final = msgspec.json.Decoder(_OrderFrame | _BalanceFrame).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_order: Final = msgspec.json.Decoder(_AnyOrder).decode
_decode_balance: Final = msgspec.json.Decoder(_BalanceData).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def encode(request: Request) -> str:
    """The text frame of a request, with the members of the exchange's page in its order.

    >>> encode(Request(id="1", method="sub_orders"))
    '{"id":"1","method":"sub_orders","params":{},"lang":"zh-CN"}'
    """
    return _encode(
        {
            "id": request.id,
            "method": request.method,
            "params": dict(request.params),
            "lang": request.lang,
        }
    ).decode()


def decode(frame: str | bytes, *, keep: int = _KEEP, max_size: int = _MAX_SIZE) -> Message:
    """What a frame means. Never raises, whatever the frame contains.

    Args:
        frame: a text frame, as text or as its UTF-8 bytes, or one that was compressed with gzip.
        keep: how many characters of the frame an ``Unrecognised`` or ``Malformed`` keeps.
        max_size: how many bytes a compressed frame may unpack to.

    >>> update = decode(
    ...     '{"method":"sub_balance","ts":1,"data":{"asset":"ETH","available":"2.50","freeze":"0"}}'
    ... )
    >>> update.balance
    Balance(asset='ETH', available=Decimal('2.50'), freeze=Decimal('0'))
    """
    try:
        update = _decode_update(frame)
        if update.code is None:
            ts: int | None = update.ts
            if not _FIRST_MS <= update.ts < _LAST_MS:
                ts = _milliseconds(b"%d" % update.ts)
            # Joined and checked at once: all digits and points, so each is that, and short enough
            # in sum to be short enough each. "1.2.3" and "" are left for the decimal itself to
            # refuse. As bytes, since str.isdigit looks every character up among Unicode's.
            if type(update) is _OrderFrame:
                data = update.data
                price, left = data.price, data.left
                amount, deal_stock, deal_money = data.amount, data.deal_stock, data.deal_money
                digits = f"{price}{amount}{left}{deal_stock}{deal_money}".encode()
                if len(digits) <= MAX_LENGTH and not digits.translate(None, _DIGITS):
                    # Filled in by hand: calling a class of so many fields packs them all first.
                    order: Any = _new(Order)
                    order.id = data.id
                    order.market = data.market
                    order.type = data.type
                    order.side = data.side
                    order.status = data.status
                    order.price = _to_decimal(price)  # type: ignore[arg-type]  # None is no digits
                    order.amount = _to_decimal(amount)
                    order.left = _to_decimal(left)  # type: ignore[arg-type]
                    order.deal_stock = _to_decimal(deal_stock)
                    order.deal_money = _to_decimal(deal_money)
                    order.create_time = data.create_time
                    order.update_time = data.update_time
                    return OrderUpdate(order, ts)
            elif type(update) is _BalanceFrame:  # pragma: no branch - there is no other
                balance = update.data
                digits = f"{balance.available}{balance.freeze}".encode()
                if len(digits) <= MAX_LENGTH and not digits.translate(None, _DIGITS):
                    return BalanceUpdate(
                        Balance(
                            balance.asset,
                            _to_decimal(balance.available),
                            _to_decimal(balance.freeze),
                        ),
                        ts,
                    )
    except (ValueError, RecursionError, InvalidOperation):
        pass
    return _decode_slowly(frame, keep, max_size)


def carried(
    response: Response, method: str | None = None, *, keep: int = _KEEP
) -> tuple[Update | Malformed, ...]:
    """The updates that a response carries in its data, in order: one state, or a list of them.

    What may have been one and cannot be read is a ``Malformed`` that names its topics.

    Args:
        response: the response.
        method: the method that subscribes to its topic, if that is known.
        keep: how many characters of the data a ``Malformed`` keeps.
    """
    data = response.data
    if not isinstance(data, dict | list) or not data:
        return ()
    topic = Topic.from_method(method or response.method or "")
    listed: object = response.data
    if isinstance(data, dict):
        listed = cast("dict[str, object]", data).get("list")
    items = cast("list[object]", listed) if isinstance(listed, list) else [response.data]
    found: list[Update | Malformed] = []
    for item in items:
        raw = _encode(item)
        named = _marked(raw)
        if not named:
            # Such as {} and {"status":"success"}: a word of the server about the request.
            continue
        if topic is None or topic not in _MARKS:
            text = excerpt(raw, keep)
            found.append(Malformed("data without a method", "$.data", text, len(raw), topics=named))
            continue
        try:
            found.append(_update(topic, raw, response.ts))
        except _Wrong as error:
            text = excerpt(raw, keep)
            found.append(Malformed(error.reason, error.path, text, len(raw), topics=(topic,)))
    return tuple(found)


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with a frame, where, and what it may have been an update of."""

    def __init__(self, reason: str, path: str, topics: tuple[Topic, ...] = ()) -> None:
        super().__init__(reason, path, topics)
        self.reason = reason
        self.path = path
        self.topics = topics


# --- the second way ------------------------------------------------------------------------------


def _decode_slowly(frame: str | bytes, keep: int, max_size: int) -> Message:
    plain = frame
    try:
        if isinstance(plain, bytes) and plain.startswith(_GZIP):
            plain = _unpacked(plain, max_size)
        # A byte order mark is no JSON, and some servers write one.
        plain = (
            plain.removeprefix("\ufeff")
            if isinstance(plain, str)
            else plain.removeprefix(b"\xef\xbb\xbf")
        )
        return _classify(plain, keep)
    except _Wrong as error:
        reason, path, topics = error.reason, error.path, error.topics
    except msgspec.ValidationError as error:
        (reason, path), topics = _reason_and_path(str(error)), suspects(plain)
    except UnicodeError:
        reason, path, topics = "not UTF-8", "$", suspects(plain)
    except ValueError as error:
        reason, path, topics = str(error), "$", suspects(plain)
    except RecursionError:
        reason, path, topics = "nested too deeply", "$", suspects(plain)
    text = excerpt(plain, keep)
    return Malformed(excerpt(reason, _KEEP_REASON), path, text, len(frame), topics=topics)


def _unpacked(frame: bytes, max_size: int) -> bytes:
    """What was compressed with gzip, never more than ``max_size`` bytes."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(frame, max_size + 1)
    except zlib.error:
        raise _Wrong("compressed, and damaged", "$", _ANY_TOPIC) from None
    if len(plain) > max_size:
        raise _Wrong(f"unpacks to more than {max_size} bytes", "$", _ANY_TOPIC)
    if not unpacker.eof or unpacker.unused_data:
        raise _Wrong("compressed, and cut short or followed by something", "$", _ANY_TOPIC)
    return plain


def _classify(frame: str | bytes, keep: int) -> Message:
    # As bytes, so that both types have the same white space (and python -b has nothing to say).
    if (frame.encode() if isinstance(frame, str) else frame).strip() == b"ping":
        return Ping("pong")
    envelope = _decode_envelope(frame)
    method = _text(bytes(envelope.method))
    ping = _ping(envelope, method)
    if ping is not None:
        return ping
    code = _code(envelope, method)
    if code is None and method is None and _is_present(envelope.method):
        raise _Wrong(_no_text(envelope.method), "$.method", _marked(_canonical(frame)))
    topic = None if method is None else Topic.from_method(method)
    identity = _id(envelope.id)
    has_data = bytes(envelope.data) not in _NO_DATA
    if topic in _MARKS and has_data and (identity is None or code is None):
        # A code makes no response of it: what has data and answers nothing is an update.
        try:
            return _update(topic, bytes(envelope.data), _milliseconds(bytes(envelope.ts)))
        except _Wrong as error:
            raise _Wrong(error.reason, error.path, (topic,)) from None
    if code is not None:
        return _response(envelope, identity, method, code)
    if topic in _MARKS and _is_present(envelope.id):
        raise _Wrong("required field is missing", "$.code")
    if topic in _MARKS:
        is_there = _is_present(envelope.data)
        reason, path = ("it says nothing", "$.data") if is_there else (_MISSING_REASON, "$.data")
        raise _Wrong(reason, path, (topic,))
    if identity is not None and not _is_present(envelope.data):
        raise _Wrong("required field is missing", "$.code")
    text = excerpt(frame, keep)
    named = _marked(_canonical(frame))
    if method is None:
        return Unrecognised("a frame without a method", None, text, topics=named)
    if topic is None:
        return Unrecognised("an unknown method", excerpt(method, keep), text, topics=named)
    return Unrecognised("an unknown topic", excerpt(method, keep), text, topics=(topic,))


def _is_present(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in {b"", b"null"}


def _code(envelope: _Envelope, method: str | None) -> tuple[int, str] | None:
    """The code of a response, and the server's own word for it if that is no number; None if there
    is none that can be read."""
    raw = bytes(envelope.code)
    if raw in {b"", b"null"}:
        return _error(envelope)
    number = _whole(raw)
    if number is not None:
        return number, ""
    text = _text(raw)
    if text and _number(raw) is None:
        # Such as "T0005": surely no success.
        return -1, text
    has_data = bytes(envelope.data) not in _NO_DATA
    if Topic.from_method(method or "") in _MARKS and has_data and _id(envelope.id) is None:
        # An update, whatever that is.
        return None
    named = _marked(_canonical(bytes(envelope.data))) if has_data else ()
    raise _Wrong("not a code", "$.code", named)


def _error(envelope: _Envelope) -> tuple[int, str] | None:
    """The exchange's older form of a response: ``error`` is null, or an object with ``code`` and
    ``message``."""
    raw = bytes(envelope.error)
    if raw == b"" or _id(envelope.id) is None:
        return None
    if raw == b"null":
        return (0, "") if _is_present(envelope.result) else None
    try:
        inner = _decode_envelope(raw)
    except ValueError:
        return -1, _text(raw) or excerpt(raw, _KEEP_REASON)
    return _whole(bytes(inner.code)) or -1, _message(inner)


def _message(envelope: _Envelope) -> str:
    raw = bytes(envelope.msg if _is_present(envelope.msg) else envelope.message)
    if raw in {b"", b"null"}:
        return ""
    text = _text(raw)
    return raw.decode(errors="replace") if text is None else text


def _no_text(raw: msgspec.Raw) -> str:
    """Why a member is no text."""
    try:
        _decode_text(raw)
    except UnicodeError:
        return "not UTF-8"
    except ValueError as error:
        return _reason_and_path(str(error))[0]
    return "no text"  # pragma: no cover - the caller has found that it is none


def _ping(envelope: _Envelope, method: str | None) -> Ping | None:
    """A server that asks, whatever else it says: not to answer may cost the connection."""
    pong = _PONGS.get(method or "")
    if pong is not None:
        identity = bytes(envelope.id)
        if not _is_present(envelope.id) or len(identity) > _ECHO_LENGTH:
            return Ping(f'{{"method":"{pong}"}}')
        return Ping(f'{{"id":{identity.decode()},"method":"{pong}"}}')
    if method is None and _is_present(envelope.ping):
        ping = bytes(envelope.ping)
        if len(ping) > _ECHO_LENGTH:
            raise _Wrong("too long to be repeated", "$.ping")
        return Ping(f'{{"pong":{ping.decode()}}}')
    return None


def _response(
    envelope: _Envelope, identity: str | None, method: str | None, code: tuple[int, str]
) -> Response:
    try:
        data = _decode_any(envelope.data) if _is_present(envelope.data) else None
    except (ValueError, RecursionError):
        # Such as 1e400. It is no update, or it would have said so.
        if _marked(bytes(envelope.data)):
            raise
        data = None
    number, word = code
    msg = _message(envelope)
    return Response(
        id=identity,
        method=method,
        code=number,
        msg=": ".join(filter(None, (word, msg))),
        ts=_milliseconds(bytes(envelope.ts)),
        data=data,
    )


def _update(topic: Topic | None, data: bytes, ts: int | None) -> OrderUpdate | BalanceUpdate:
    """An update with this data.

    Raises:
        _Wrong: an important member is missing, or cannot be read.
    """
    try:
        if topic == BALANCE:
            balance = _decode_balance(data)
            return BalanceUpdate(
                Balance(
                    balance.asset,
                    _decimal(balance.available, "available"),
                    _decimal(balance.freeze, "freeze"),
                ),
                ts,
            )
        order = _decode_order(data)
    except msgspec.ValidationError as error:
        reason, path = _reason_and_path(str(error))
        raise _Wrong(reason, f"$.data{path[1:]}") from None
    except UnicodeError:
        raise _Wrong("not UTF-8", "$") from None
    except ValueError as error:
        raise _Wrong(str(error), "$") from None
    except RecursionError:
        raise _Wrong("nested too deeply", "$") from None
    kind = OrderType(_integer(order.type, "type"))
    # A limit order has a price and a remainder; of the other types nobody outside knows.
    needed = kind is OrderType.LIMIT
    return OrderUpdate(
        Order(
            _integer(order.id, "id"),
            order.market,
            kind,
            Side(_integer(order.side, "side")),
            OrderStatus(_integer(order.status, "status")),
            _decimal(order.price, "price") if order.price or needed else None,
            _decimal(order.amount, "amount"),
            _decimal(order.left, "left") if order.left or needed else None,
            _decimal(order.deal_stock, "dealStock"),
            _decimal(order.deal_money, "dealMoney"),
            _seconds(bytes(order.create_time)),
            _seconds(bytes(order.update_time)),
        ),
        ts,
    )


def _decimal(text: str | None, field: str) -> Decimal:
    if not text:
        raise _Wrong("required field is missing or empty", f"$.data.{field}")
    if not is_decimal(text):
        raise _Wrong("not a decimal number", f"$.data.{field}")
    return _to_decimal(text)


# --- members in whatever form --------------------------------------------------------------------


def _text(raw: bytes) -> str | None:
    """A text of JSON; None if it is none."""
    try:
        return _decode_text(raw)
    except ValueError:
        return None


def _number(raw: bytes) -> Decimal | None:
    """A number of JSON, or one in a text; None if it is none, or one of silly length."""
    # Six times as long if every digit is escaped.
    if len(raw) > 6 * _NUMBER_LENGTH:
        return None
    text = _text(raw) if raw.startswith(b'"') else raw.decode(errors="replace")
    if not text or len(text) > _NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        return None
    return _to_decimal(text)


def _whole(raw: bytes) -> int | None:
    """A whole number of 64 bits; None if it is none."""
    number = _number(raw)
    if number is None or not -_INT64 <= number < 2 * _INT64:
        return None
    return int(number) if number == _context.to_integral_value(number) else None


def _id(raw: msgspec.Raw) -> str | None:
    """The id of a request that a response repeats: some servers make a number of it."""
    if bytes(raw)[:1] == b'"':
        return _text(bytes(raw)) or None
    number = _whole(bytes(raw))
    return None if number is None else str(number)


def _integer(raw: msgspec.Raw, field: str) -> int:
    if not _is_present(raw):
        raise _Wrong(_MISSING_REASON, f"$.data.{field}")
    number = _whole(bytes(raw))
    if number is None:
        raise _Wrong("not a whole number of 64 bits", f"$.data.{field}")
    return number


def _milliseconds(raw: bytes) -> int | None:
    """A server time in milliseconds, of a number in any unit; None if there is none that is
    certain."""
    number = _number(raw)
    if number is None or number < 0:
        return None
    if number < _SMALL:
        return _whole(raw)
    for unit in _UNITS:
        milliseconds = _context.multiply(number, unit)
        if _FIRST_MS <= milliseconds < _LAST_MS:
            return int(milliseconds)
    return None


def _seconds(raw: bytes) -> float | None:
    """A time in seconds; None if there is none that is certain, or that datetime can show."""
    number = _number(raw)
    if number is None or number < 0:
        return None
    if number < _LAST_SECOND:
        seconds = float(number)
        # The largest numbers below are rounded up to it.
        return seconds if seconds < _LAST_SECOND else None
    for unit in _UNITS:
        milliseconds = _context.multiply(number, unit)
        if _FIRST_MS <= milliseconds < _LAST_MS:
            return float(milliseconds) / 1000
    return None


# --- what a frame may have been ------------------------------------------------------------------


def suspects(frame: str | bytes) -> tuple[Topic, ...]:
    """The topics that a frame that cannot be read may have been an update of."""
    raw = frame.encode(errors="replace") if isinstance(frame, str) else frame
    if raw.startswith(_GZIP):
        return _ANY_TOPIC
    # An update is an object.
    if b"{" not in raw:
        return ()
    methods = [_text(found) for found in _METHOD.findall(raw)]
    if methods and None not in methods:
        topics = (Topic.from_method(method) for method in methods if method is not None)
        return tuple(dict.fromkeys(topic for topic in topics if topic is not None))
    named = _NAMED.findall(raw)
    if named:
        return tuple(topic for topic in _ANY_TOPIC if topic.subscribe_method.encode() in named)
    return _ANY_TOPIC


def _marked(raw: bytes) -> tuple[Topic, ...]:
    """The topics whose updates have members such as are in this JSON."""
    return tuple(topic for topic, marks in _MARKS.items() if any(mark in raw for mark in marks))


def _canonical(frame: str | bytes) -> bytes:
    """The same JSON without escapes in its names; as it is, if it cannot be read in full."""
    try:
        return _encode(_decode_any(frame))
    except (ValueError, RecursionError):
        return frame.encode(errors="replace") if isinstance(frame, str) else frame


_PROBLEM: Final = re.compile(r"(.*?)(?: - at `([^`]*)`)?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")


def _reason_and_path(problem: str) -> tuple[str, str]:
    """A problem such as "Expected `int`, got `str` - at `$.data.id`", in two; a missing field's
    path names the field."""
    found = _PROBLEM.fullmatch(problem)
    assert found is not None  # it takes any text
    reason, path = found.groups("$")
    missing = _MISSING.fullmatch(reason)
    if missing is not None:
        path, reason = f"{path}.{missing[1]}", "required field is missing"
    return reason.replace("`", ""), path


def excerpt(frame: str | bytes, keep: int) -> str:
    """What an anomaly keeps of a frame: at most ``keep`` characters, as text that any file and
    terminal can take."""
    text = (
        frame[:keep] if isinstance(frame, str) else frame[:keep].decode(errors="backslashreplace")
    )
    if not text.isprintable():
        # Pretty-printed JSON is left as it is; what commands a terminal, or cannot be encoded, is
        # escaped.
        text = "".join(
            character
            if character.isprintable() or character in "\t\r\n"
            else ascii(character)[1:-1]
            for character in text
        )
    return text[:keep]
