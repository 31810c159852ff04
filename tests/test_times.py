"""Every time that a value has can be shown: what ``datetime`` cannot show is no time, from wherever
it comes."""

import inspect
import json
from datetime import UTC, datetime
from decimal import Decimal
from math import nextafter
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import (
    Book,
    BusAnomaly,
    Candle,
    ConfigurationError,
    Deal,
    Gap,
    Malformed,
    Order,
    Side,
    Update,
)
from topone_proto.plain import plain_of, value_of
from topone_proto.relay import Cursor, Item, encode_envelope
from topone_proto.relay import Envelope as BusMessage
from topone_proto.wire.answers import OwnDeal, read_history
from topone_proto.wire.codec import decode
from topone_proto.wire.families import FAMILIES
from topone_proto.wire.http import HttpResponse

ONE = Decimal(1)
DEAL = OwnDeal(1, "ETH/BTC", Side.BUY, ONE, ONE, ONE, ONE, "ETH", 1.0)
FIRST_OF_10000 = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() + 1
LAST = nextafter(FIRST_OF_10000, 0)
ABSURD: list[Any] = [
    *(1e300, -1e300, 2**63, -(2**63), 10**400, FIRST_OF_10000, int(FIRST_OF_10000)),
    *(-1, -1e-9, float("nan"), float("inf"), float("-inf"), True, "1522235513", datetime.now),
]


def of_family(family: Any) -> list[Any]:
    """The first value of a family's example."""
    update = family.example
    fields = [field.name for field in attrs.fields(type(update)) if field.name != "topic"]
    values = [getattr(update, name) for name in fields]
    values = [value[0] if isinstance(value, tuple) else value for value in values]
    return [value for value in values if attrs.has(type(value))]


def held() -> list[Any]:
    """A row of an answer over HTTP, and the first value of each family's example."""
    return [DEAL, *(value for family in FAMILIES for value in of_family(family))]


def shown(value: Any) -> dict[str, datetime | None]:
    """Return what the properties of a value are that say that they are datetimes."""
    found = {}
    for name, each in inspect.getmembers_static(type(value), lambda it: isinstance(it, property)):
        returned = inspect.signature(each.fget).return_annotation
        if datetime in (returned, *get_args(returned)):
            found[name] = getattr(value, name)
    return found


def times_of(value: Any) -> list[str]:
    """Return the fields of a value that are times."""
    names = [field.name for field in attrs.fields(type(value))]
    return [name for name in names if name == "time" or name.endswith("_time")]


def is_required(cls: type[Any], name: str) -> bool:
    return type(None) not in get_args(attrs.fields_dict(cls)[name].type)


CASES = [(value, name) for value in held() for name in times_of(value)]


def name_of(part: Any) -> str:
    return part if isinstance(part, str) else type(part).__name__


def test_there_are_times_to_look_at() -> None:
    found = {(type(value), name) for value, name in CASES}
    required = {(Candle, "time"), (OwnDeal, "create_time")}
    optional = {(Order, "create_time"), (Order, "update_time"), (Book, "time"), (Deal, "time")}
    assert required | optional <= found
    assert {each for each in required | optional if is_required(*each)} == required
    with_datetimes = {type(value) for value in held() if shown(value)}
    assert with_datetimes == {cls for cls, _ in found} - {OwnDeal}
    with_times = {
        type(value)
        for value in held()
        if any("time" in field.name for field in attrs.fields(type(value)))
    }
    assert with_times == {cls for cls, _ in found}


@pytest.mark.parametrize("absurd", ABSURD, ids=lambda each: f"{each!r:.24}")
@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
def test_what_cannot_be_shown_is_refused_where_it_is_given(
    value: Any, name: str, absurd: object
) -> None:
    with pytest.raises(ConfigurationError, match="1970 to 9999") as refusal:
        attrs.evolve(value, **{name: absurd})
    assert refusal.value.setting == f"{type(value).__name__}.{name}"


@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
@given(seconds=st.floats() | st.integers())
def test_what_is_a_time_is_shown(value: Any, name: str, seconds: float) -> None:
    try:
        value = attrs.evolve(value, **{name: seconds})
    except ConfigurationError:
        assert not 0 <= seconds < FIRST_OF_10000
        return
    assert all(each is not None and each.tzinfo is UTC for each in shown(value).values())


@pytest.mark.parametrize(("value", "name"), CASES, ids=name_of)
def test_the_first_and_the_last_time_are_shown(value: Any, name: str) -> None:
    for seconds in (0, 0.0, int(LAST), LAST):
        later = attrs.evolve(value, **{name: seconds})
        assert None not in shown(later).values()
    if is_required(type(value), name):
        with pytest.raises(ConfigurationError):
            attrs.evolve(value, **{name: None})
    else:
        assert None in shown(attrs.evolve(value, **{name: None})).values()


@pytest.mark.parametrize("cls", [type(value) for value in held() if shown(value)])
@given(data=st.data())
def test_every_value_shows_its_times(cls: type[Any], data: st.DataObject) -> None:
    assert shown(data.draw(st.from_type(cls)))


# --- from where a value can come ------------------------------------------------------------------

# As JSON has them. A text is a number as well on the wire.
WRITTEN = [
    *("1e300", "-1e300", str(2**63), "9" * 400, "253402300799.99999999", "1e9999999"),
    *('"253402300799.99999999"', '"1e300"', "-0.0", "-1", "NaN", "Infinity", "true", "{}"),
]
JSON = [each for each in WRITTEN if each not in {"NaN", "Infinity"}]
WITH_TIMES = [family for family in FAMILIES if any(map(times_of, of_family(family)))]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda each: f"{each:.24}")
@pytest.mark.parametrize("family", WITH_TIMES, ids=lambda family: family.name)
def test_a_message_of_the_exchange_has_times_that_can_be_shown(family: Any, written: str) -> None:
    update = family.example
    [value] = of_family(family)
    times = [getattr(value, name) for name in times_of(value)]
    data = json.dumps(without(times, family.write(update)))
    assert data.count('"HERE"') >= len(times)
    frame = json.dumps({"method": update.topic.subscribe_method, "data": "DATA", "ts": update.ts})
    frame = frame.replace('"DATA"', data).replace('"HERE"', written)
    for _ in range(2):
        told: Any = decode(frame)
        assert isinstance(told, (type(update), Malformed))
        for value in values_of(told):
            shown(value)


def without(times: list[float], data: Any) -> Any:
    """Return plain data with "HERE" in the place of each time."""
    match data:
        case dict():
            return {name: without(times, member) for name, member in data.items()}
        case list():
            return [without(times, member) for member in data]
        case int() | float() if data in times:
            return "HERE"
        case _:
            return data


def values_of(update: Any) -> list[Any]:
    if isinstance(update, Malformed):
        return []
    fields = (getattr(update, field.name) for field in attrs.fields(type(update)))
    return [each for it in fields for each in (it if isinstance(it, tuple) else (it,))]


@pytest.mark.parametrize(
    "written", sorted({*WRITTEN} - {"NaN", "Infinity"}), ids=lambda it: it[:24]
)
@pytest.mark.parametrize("name", ["createTime", "finishTime"])
def test_a_row_of_an_answer_has_times_that_can_be_shown(name: str, written: str) -> None:
    order: dict[str, object] = {
        **dict.fromkeys(("price", "amount", "dealStock", "dealMoney"), "1"),
        **dict.fromkeys(("id", "type", "side", "status", "createTime", "finishTime"), 1),
        "market": "ETH/BTC",
    }
    row = json.dumps({**order, name: "HERE"}).replace('"HERE"', written)
    page = read_history(HttpResponse(200, f'{{"code": 0, "data": {{"list": [{row}]}}}}'.encode()))
    assert len(page.rows) + len(page.unreadable) == 1
    for each in page.rows:
        # What stands for no number at all is taken as absent.
        assert None not in shown(each).values()
        assert written in {"-0.0", "1e300", "-1e300", "1e9999999"}
    for words in page.unreadable:
        assert words.startswith(f"row 0: {name} is no ")


@pytest.mark.parametrize("absurd", [1e300, -1e300, 2**63, FIRST_OF_10000])
@pytest.mark.parametrize("family", WITH_TIMES, ids=lambda each: each.name)
def test_what_a_bus_or_a_file_has_is_an_anomaly_that_says_so(family: Any, absurd: float) -> None:
    update = family.example
    kind = type(update).__name__
    good, plain = plain_of(update), plain_of(update)
    name = spoil(plain, absurd)
    with pytest.raises(
        ValueError, match=rf"not the fields of {kind}: \w+\.{name}: .* 1970 to 9999"
    ):
        value_of(plain, type(update))
    cursor = Cursor()
    [(told, _)] = cursor.received(encode_envelope(BusMessage("main", 1, 1, (Item(kind, good),))))
    assert told == update
    found = cursor.received(encode_envelope(BusMessage("main", 1, 2, (Item(kind, plain),))))
    gap, anomaly = (event for event, _ in found)
    assert isinstance(gap, Gap)
    assert isinstance(update, Update)
    assert gap.topic == update.topic
    assert isinstance(anomaly, BusAnomaly)
    assert "1970 to 9999" in anomaly.reason


def spoil(plain: Any, absurd: float) -> str:
    """Give plain data of an update an absurd time. Return the name of the field."""
    for name, member in plain.items():
        if name == "time" or name.endswith("_time"):
            plain[name] = int(absurd) if isinstance(member, int) else absurd
            return str(name)
    inner = [it[0] if isinstance(it, list | tuple) else it for it in plain.values()]
    return next(spoil(each, absurd) for each in inner if isinstance(each, dict))
