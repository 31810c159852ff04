"""Values and events to and from plain data, and JSON: for recordings, logs and files of your own.

``to_json`` and ``from_json`` are all that most programs need. An event becomes a dict with its
class's name first, be it a feed's, an account's or a bus's; so does an event within an event.
Decimals are text, enums their numbers or words, topics their names: nothing is lost on the way
there and back. This is the one place that knows cattrs.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache, partial
from typing import (
    TYPE_CHECKING,
    Any,
    Never,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from cattrs import BaseValidationError, Converter

from topone_proto.errors import ConfigurationError
from topone_proto.events import event_classes
from topone_proto.wire.decimals import is_moderate
from topone_proto.wire.topic import Topic, Update

if TYPE_CHECKING:
    from topone_proto.account import AccountEvent, RelayEvent

    # Anything that a feed, an account or a bus tells.
    _AnyEvent: TypeAlias = AccountEvent | RelayEvent

__all__ = ["from_json", "from_plain", "plain_of", "to_json", "to_plain", "value_of"]

_T = TypeVar("_T")


def to_json(value: Any) -> str:
    """Return a value or an event of this package as a JSON text, in one line.

    Decimals are texts in it, so that nobody rounds them; an event has its class's name first.

    Raises:
        TypeError: it is no value to keep, such as a ``Token``, or what has one in it.

    >>> from topone_proto import Balance
    >>> to_json(Balance("ETH", Decimal("1.50"), Decimal(0)))
    '{"asset": "ETH", "available": "1.50", "freeze": "0"}'
    """
    cls: type[Any] = value.__class__
    plain = to_plain(value) if _is_event(cls) else plain_of(value)
    return json.dumps(plain, allow_nan=False)


@overload
def from_json(text: str | bytes) -> "_AnyEvent": ...
@overload
def from_json(text: str | bytes, cls: type[_T]) -> _T: ...
def from_json(text: str | bytes, cls: type[Any] | None = None) -> Any:
    """Return the value that ``to_json`` made the text of.

    Args:
        text: the JSON.
        cls: the value's class, such as ``Order``; ``Update`` stands for an update of any topic. An
            event of a feed, an account or a bus can be read without, since the text names its
            class.

    Raises:
        ValueError: it is no such value. An amount that is a number and no text is refused.

    >>> from topone_proto import Balance
    >>> from_json('{"asset": "ETH", "available": "1.50", "freeze": "0"}', Balance)
    Balance(asset='ETH', available=Decimal('1.50'), freeze=Decimal('0'))
    """
    try:
        plain = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if cls is not None and cls is not Update and not _is_event(cls):
        return value_of(plain, cls)
    event = _structured(plain, None)
    if cls is not None and not isinstance(event, cls):
        raise ValueError(f"{type(event).__name__}, and no {cls.__name__}")
    return event


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number that is too large")
    return number


def to_plain(event: "_AnyEvent") -> dict[str, Any]:
    """Return an event as dicts, lists, texts, numbers and None, its class's name first.

    >>> from topone_proto.events import Connected
    >>> to_plain(Connected(epoch=1))
    {'event': 'Connected', 'epoch': 1}
    """
    return {"event": type(event).__name__, **_converter().unstructure(event)}


def from_plain(plain: Mapping[str, Any]) -> "_AnyEvent":
    """Return the event that ``to_plain`` made ``plain`` of. Members that are not known here are
    ignored.

    Raises:
        ValueError: this version has no such event, or the event has other fields.

    >>> from_plain({"event": "Connected", "epoch": 1})
    Connected(epoch=1)
    """
    event: _AnyEvent = _structured(plain, None)
    return event


def plain_of(value: Any) -> Any:
    """Return a value of this package as plain data, without its class's name.

    >>> plain_of(Topic("orders"))
    'orders'
    """
    return _converter().unstructure(value)


def value_of(plain: Any, cls: type[_T]) -> _T:
    """Return the value of a class that ``plain_of`` made ``plain`` of.

    Raises:
        ValueError: it is no such value.

    >>> value_of("orders", Topic)
    Topic(name='orders')
    """
    try:
        return _converter().structure(plain, cls)
    except (BaseValidationError, ValueError, TypeError, OverflowError) as error:
        name = getattr(cls, "__name__", cls)
        raise ValueError(f"not the fields of {name}{_detail(error)}") from error


def _structured(plain: Any, union: Any) -> Any:
    """Return the event that plain data say. ``union`` is what it has to be one of; None: any."""
    if not isinstance(plain, Mapping):
        raise ValueError("no event, which is an object")  # noqa: TRY004 - of the data, not its type
    plain = cast("Mapping[str, Any]", plain)
    name = plain.get("event")
    found = (cls for cls in event_classes() if cls.__name__ == name)
    cls = next(found, None) or (_of_accounts().get(name) if isinstance(name, str) else None)
    if cls is None or not (union is None or issubclass(cls, get_args(union) or union)):
        raise ValueError(f"there is no such event here: {name!r:.80}")
    try:
        return _converter().structure(plain, cls)
    except BaseValidationError as error:
        raise ValueError(f"not the fields of {name}{_detail(error)}") from error


def _detail(error: BaseException) -> str:
    """Return what a value's own check has found, if that is the cause; nothing otherwise."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if not isinstance(error, ConfigurationError):
        return ""
    return f": {error.setting}: {error.problem}"


def _is_event(cls: type[Any]) -> bool:
    """Return True for a class whose values say which they are."""
    # Nobody can have an event of an account before this is loaded.
    is_loaded = "topone_proto.account" in sys.modules
    return cls in event_classes() or (is_loaded and cls in _of_accounts().values())


@cache
def _of_accounts() -> dict[str, type[Any]]:
    """Return the classes of what an account and a bus tell besides the events of a feed."""
    # Most programs keep events of a feed, and this takes as long to load as all the rest.
    from topone_proto.account import AccountEvent, RelayEvent  # noqa: PLC0415 - as said

    return {cls.__name__: cls for cls in get_args(AccountEvent | RelayEvent) if cls is not Update}


def _is_of_events(cls: Any) -> bool:
    """Return True for what an event can have within: updates, or the differences of ``Resynced``,
    of which cattrs could not tell one from the other."""
    account = sys.modules.get("topone_proto.account")
    return cls is Update or (account is not None and cls == account.Difference)


# Made at the first use: most programs never need one, and cattrs writes code for every class.
@cache
def _converter() -> Converter:
    converter = Converter()
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, _decimal)
    # cattrs takes one of these for a text already.
    converter.register_unstructure_hook(StrEnum, str)
    # A level of a book is as on the wire: an array. cattrs would leave it a tuple.
    converter.register_unstructure_hook_func(_is_named_tuple, _listed)
    # With and without a parameter, as in Topic[Order].
    converter.register_unstructure_hook_func(_is_topic, str)
    converter.register_structure_hook_func(_is_topic, lambda name, _: Topic(name))
    # An event within an event says its class as well.
    converter.register_unstructure_hook_func(_is_of_events, to_plain)
    converter.register_structure_hook_func(_is_of_events, _structured)
    # cattrs itself would be content with int("5") and str(None). An enum is one of its base.
    converter.register_structure_hook(int, partial(_strictly, {int}))
    converter.register_structure_hook(bool, partial(_strictly, {bool}))  # which is an int, too
    converter.register_structure_hook(str, partial(_strictly, {str}))
    converter.register_structure_hook(float, partial(_strictly, {int, float}))
    return converter


def _is_named_tuple(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, tuple)


def _listed(row: tuple[Any, ...]) -> list[Any]:
    return [_converter().unstructure(inner) for inner in row]


def _is_topic(cls: Any) -> bool:
    return cls is Topic or get_origin(cls) is Topic


def _strictly(types: set[type], plain: object, cls: Callable[[object], object]) -> object:
    if type(plain) not in types:
        raise ValueError(f"not {cls}")
    return cls(plain)


def _decimal(text: object, _: object) -> Decimal:
    try:
        number = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        number = None
    # NaN is also what a text that is no number becomes in a context without traps.
    if number is None or not is_moderate(number):
        raise ValueError("not a decimal number")
    return number
