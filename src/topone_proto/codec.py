"""Text to message and request to text, and nothing else: total, stateless, the hot path of the
whole library.

The common frames, an order or a balance update with ordinary decimals, take one typed pass
(``decode``). Every other frame is classified first and then read by the same typed decoders
(``_classify``), so that both ways agree.
"""

import re
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Final

import msgspec

from topone_proto.messages import (
    BalanceUpdate,
    Malformed,
    Message,
    OrderUpdate,
    Ping,
    Request,
    Response,
    Unrecognised,
)
from topone_proto.models import Balance, Order, OrderStatus, OrderType, Side
from topone_proto.topics import BALANCE, ORDERS

__all__ = ["decode", "encode", "excerpt"]

_KEEP: Final = 4096
_KEEP_REASON: Final = 200

# A decimal of the wire: what Decimal() reads, less what is no plain ASCII number (NaN, Infinity,
# 1_000, spaces, digits of other scripts), and bounded, because Decimal("1e999999999") is a bomb for
# whoever rounds it.
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")
_DECIMAL_LENGTH: Final = 128
_DIGITS: Final = b"0123456789."

# Not Decimal(): whether that raises for "1.2.3" or returns NaN depends on the caller's context.
_to_decimal: Final = Context(prec=256, traps=[InvalidOperation]).create_decimal

# The last second of the year 9999: a later time is none that datetime can show.
_Time = Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]

_new: Final = object.__new__


# The shapes of the wire. Texts stay texts here: msgspec's own Decimal takes "NaN", "1_000" and " 1"
# as well. An absent price or left is "", so that the common case costs no union; null is what some
# servers send for absent.
class _OrderData(msgspec.Struct, rename="camel", gc=False):
    id: int
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


# `code` tells a response from an update: both carry the method of the subscription.
class _OrderFrame(msgspec.Struct, tag_field="method", tag=ORDERS.subscribe_method, gc=False):
    ts: int
    data: _OrderData
    code: int | None = None


class _BalanceFrame(msgspec.Struct, tag_field="method", tag=BALANCE.subscribe_method, gc=False):
    ts: int
    data: _BalanceData
    code: int | None = None


class _ResponseFrame(msgspec.Struct, gc=False):
    code: int
    id: str | int | None = None
    method: str | None = None
    msg: str | None = None
    ts: int | None = None
    data: Any = None


_ABSENT: Final = msgspec.Raw()


class _Envelope(msgspec.Struct, gc=False):
    """Only what classifies a frame, and that unread."""

    method: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    code: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    ping: msgspec.Raw = _ABSENT


_decode_update: Final = msgspec.json.Decoder(_OrderFrame | _BalanceFrame).decode
_decode_response: Final = msgspec.json.Decoder(_ResponseFrame).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
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


def decode(frame: str | bytes, *, keep: int = _KEEP) -> Message:
    """What a frame means. Never raises, whatever the frame contains.

    Args:
        frame: a text frame, as text or as its UTF-8 bytes.
        keep: how many characters of the frame an ``Unrecognised`` or ``Malformed`` keeps.

    >>> update = decode(
    ...     '{"method":"sub_balance","ts":1,"data":{"asset":"ETH","available":"2.50","freeze":"0"}}'
    ... )
    >>> update.balance
    Balance(asset='ETH', available=Decimal('2.50'), freeze=Decimal('0'))
    """
    try:
        update = _decode_update(frame)
        if update.code is None:
            # Joined and checked at once: all digits and points, so each is that, and short enough
            # in sum to be short enough each. "1.2.3" and "" are left for the decimal itself to
            # refuse. As bytes, since str.isdigit looks every character up among Unicode's.
            if type(update) is _OrderFrame:
                data = update.data
                price, left = data.price, data.left
                amount, deal_stock, deal_money = data.amount, data.deal_stock, data.deal_money
                digits = f"{price}{amount}{left}{deal_stock}{deal_money}".encode()
                if len(digits) <= _DECIMAL_LENGTH and not digits.translate(None, _DIGITS):
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
                    return OrderUpdate(order, update.ts)
            elif type(update) is _BalanceFrame:  # pragma: no branch - there is no other
                balance = update.data
                digits = f"{balance.available}{balance.freeze}".encode()
                if len(digits) <= _DECIMAL_LENGTH and not digits.translate(None, _DIGITS):
                    return BalanceUpdate(
                        Balance(
                            balance.asset,
                            _to_decimal(balance.available),
                            _to_decimal(balance.freeze),
                        ),
                        update.ts,
                    )
    except (ValueError, RecursionError, InvalidOperation):
        pass
    try:
        return _classify(frame, keep)
    except _NoDecimal as error:
        reason, path = error.args
    except msgspec.ValidationError as error:
        reason, path = _reason_and_path(str(error))
    except UnicodeError:
        reason, path = "not UTF-8", "$"
    except ValueError as error:
        reason, path = str(error), "$"
    except RecursionError:
        reason, path = "nested too deeply", "$"
    return Malformed(excerpt(reason, _KEEP_REASON), path, excerpt(frame, keep), len(frame))


class _NoDecimal(Exception):  # noqa: N818 - never leaves this module
    """(reason, path) of a text that is no decimal of the wire."""


def _classify(frame: str | bytes, keep: int) -> Message:
    # As bytes, so that both types have the same white space (and python -b has nothing to say).
    if (frame.encode() if isinstance(frame, str) else frame).strip() == b"ping":
        return Ping("pong")
    envelope = _decode_envelope(frame)
    if _is_present(envelope.code):
        return _response(frame)
    if not _is_present(envelope.method):
        if _is_present(envelope.ping):
            return Ping(f'{{"pong":{_echo(envelope.ping, "$.ping")}}}')
        return Unrecognised("a frame without a method", None, excerpt(frame, keep))
    try:
        method = _decode_text(envelope.method)
    except msgspec.ValidationError as error:
        reason, _ = _reason_and_path(str(error))
        raise msgspec.ValidationError(f"{reason} - at `$.method`") from None
    if method == "ping":
        if _is_present(envelope.id):
            return Ping(f'{{"id":{_echo(envelope.id, "$.id")},"method":"pong"}}')
        return Ping('{"method":"pong"}')
    if _is_present(envelope.id) and not _is_present(envelope.data):
        raise msgspec.ValidationError("Object missing required field `code` - at `$`")
    if method in {ORDERS.subscribe_method, BALANCE.subscribe_method}:
        return _update(frame)
    what = "topic" if method.startswith("sub_") else "method"
    return Unrecognised(f"an unknown {what}", excerpt(method, keep), excerpt(frame, keep))


def _is_present(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in {b"", b"null"}


def _echo(raw: msgspec.Raw, path: str) -> str:
    """A number or a text that a ping wants back, as it was written."""
    text = bytes(raw).decode()
    if text[0] in "[{" or len(text) > _DECIMAL_LENGTH:
        raise msgspec.ValidationError(f"Expected a number or a short text - at `{path}`")
    return text


def _response(frame: str | bytes) -> Response:
    response = _decode_response(frame)
    return Response(
        id=None if response.id is None else str(response.id),
        method=response.method,
        code=response.code,
        msg=response.msg or "",
        ts=response.ts,
        data=response.data,
    )


def _update(frame: str | bytes) -> OrderUpdate | BalanceUpdate:
    update = _decode_update(frame)
    if isinstance(update, _BalanceFrame):
        balance = update.data
        return BalanceUpdate(
            Balance(
                balance.asset,
                _decimal(balance.available, "available"),
                _decimal(balance.freeze, "freeze"),
            ),
            update.ts,
        )
    order = update.data
    # A limit order has a price and a remainder; of the other types nobody outside knows.
    needed = order.type is OrderType.LIMIT
    return OrderUpdate(
        Order(
            order.id,
            order.market,
            order.type,
            order.side,
            order.status,
            _decimal(order.price, "price") if order.price or needed else None,
            _decimal(order.amount, "amount"),
            _decimal(order.left, "left") if order.left or needed else None,
            _decimal(order.deal_stock, "dealStock"),
            _decimal(order.deal_money, "dealMoney"),
            order.create_time,
            order.update_time,
        ),
        update.ts,
    )


def _decimal(text: str | None, field: str) -> Decimal:
    if not text:
        raise _NoDecimal("required field is missing or empty", f"$.data.{field}")
    if len(text) > _DECIMAL_LENGTH or not _DECIMAL.fullmatch(text):
        raise _NoDecimal("not a decimal number", f"$.data.{field}")
    return _to_decimal(text)


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
