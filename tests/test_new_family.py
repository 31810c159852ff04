"""A family of topics that the package does not have: one registration, and every part knows it.

Its name is one that no exchange uses, so that it never meets a family of the package.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, find, settings

from topone_proto import (
    Connected,
    Disconnected,
    Event,
    Family,
    Gap,
    Malformed,
    Session,
    Subscribed,
    Token,
    Topic,
    Update,
    decode,
)
from topone_proto._values import value
from topone_proto.adapters import DeliveryBuffer
from topone_proto.events import event_classes
from topone_proto.plain import from_plain, to_plain
from topone_proto.session.config import DeliveryPolicy
from topone_proto.testing.strategies import (
    Defect,
    conversations,
    frames,
    near_misses,
    topics,
    updates,
    wire_fields,
)
from topone_proto.wire import codec, topic
from topone_proto.wire._members import decimal_of, read_with
from topone_proto.wire.topic import Frame, register

# --- The file that a new topic needs


@value
class Sample:
    """The last price of a market."""

    last: Decimal
    """The price."""


@value
class SampleUpdate(Update):
    """A new last price."""

    topic: Topic[Sample]
    """The market."""
    sample: Sample
    """The price as it is now."""
    ts: int | None
    """Server time in milliseconds."""

    @property
    def key(self) -> tuple[object, ...]:
        """The topic: only the newest price counts."""
        return (self.topic.name,)


class _Data(msgspec.Struct, gc=False):
    last: str


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> SampleUpdate:
        return SampleUpdate(self.topic, Sample(decimal_of(self.data.last, ".last")), self.ts)


_NAME: Final = re.compile("sample_.+/.+")
_decode: Final = msgspec.json.Decoder(_Data).decode


def _read(topic: Topic, data: bytes, ts: int | None) -> SampleUpdate:
    return SampleUpdate(topic, Sample(decimal_of(read_with(_decode, data).last, ".last")), ts)


def _write(update: SampleUpdate) -> dict[str, Any]:
    return {"last": str(update.sample.last)}


SAMPLE: Final = Topic[Sample]("sample_BTC/USDT")
FAMILY: Final = Family[Sample](
    name="sample",
    socket="private",
    update=SampleUpdate,
    example=SampleUpdate(SAMPLE, Sample(Decimal("10149.50")), ts=1561948335075),
    has=lambda name: _NAME.fullmatch(name) is not None,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(b'"last"',),
)

# --- What every part makes of it


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(topic, "_families", [*topic.families()])
    register(FAMILY)
    codec._typed.forget()
    yield
    codec._typed.forget()


def update(last: str, ts: int = 1561948335075) -> SampleUpdate:
    return SampleUpdate(SAMPLE, Sample(Decimal(last)), ts)


def frame(update: Update) -> str:
    return json.dumps(wire_fields(update))


def test_the_codec_reads_it_in_both_ways() -> None:
    assert SAMPLE.family is FAMILY
    assert [decode(frame(update("1.50"))) for _ in range(9)] == [update("1.50")] * 9
    assert SAMPLE.name in codec._typed._known
    wrong = decode(frame(update("1.50")).replace("1.50", "NaN"))
    assert isinstance(wrong, Malformed)
    assert (wrong.path, wrong.topics) == ("$.data.last", (SAMPLE,))


def test_a_session_follows_it_and_names_its_gaps() -> None:
    session = Session([SAMPLE], token=Token("secret"), jitter=lambda: 0.0)
    events: list[Event] = []
    for epoch, last in ((1, "1"), (2, "2")):
        session.deadline_reached(60.0 * epoch) if epoch > 1 else session.start(0.0)
        step = session.connection_made(60.0 * epoch)
        events += step.events
        request = json.loads(step.actions[0].text)  # type: ignore[union-attr]  # a SendText
        assert request["method"] == "sub_sample_BTC/USDT"
        ack = {**request, "code": 0, "msg": "", "ts": 1561948330000 + epoch}
        for text in (json.dumps(ack), frame(update(last, 1561948340000 + epoch))):
            events += session.message_received(text, 60.0 * epoch).events
        events += session.connection_lost(1006, "", 60.0 * epoch + 1).events
    kinds = [Connected, Subscribed, SampleUpdate, Disconnected]
    assert [type(event) for event in events] == [*kinds, *kinds[:2], Gap, *kinds[2:]]
    [gap] = [event for event in events if isinstance(event, Gap)]
    assert gap.topic == SAMPLE
    assert gap.since_ts is not None
    assert gap.since_ts <= 1561948340001


def test_the_buffer_keeps_the_newest() -> None:
    buffer = DeliveryBuffer(2, DeliveryPolicy.CONFLATE)
    buffer.put([update("1"), update("2"), update("3")])
    left = [buffer.get() for _ in range(len(buffer))]
    assert left[-1] == update("3")
    assert update("1") not in left


def test_it_is_an_event_with_a_plain_form() -> None:
    assert SampleUpdate in event_classes()
    plain = json.loads(json.dumps(to_plain(update("1.50"))))
    assert plain == {
        "event": "SampleUpdate",
        "topic": "sample_BTC/USDT",
        "sample": {"last": "1.50"},
        "ts": 1561948335075,
    }
    assert repr(from_plain(plain)) == repr(update("1.50"))


def first(strategy: Any, is_one: Any) -> Any:
    search = settings(
        max_examples=3000,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    return find(strategy, is_one, settings=search)


def test_the_strategies_draw_it() -> None:
    assert first(topics(), lambda drawn: drawn == SAMPLE) == SAMPLE
    drawn = first(updates(), lambda drawn: isinstance(drawn, SampleUpdate))
    assert drawn == evolve(FAMILY.example, ts=drawn.ts)  # type: ignore[misc]  # one of attrs
    spelled = first(frames(drawn), lambda text: True)
    assert decode(spelled) == drawn
    miss = first(near_misses([Defect.NO_DECIMAL]), lambda miss: miss.path == "$.data.last")
    assert isinstance(decode(miss.frame), Malformed)
    talk = first(
        conversations([SAMPLE]),
        lambda talk: any(turn.event is SampleUpdate for turn in talk.received),
    )
    assert [type(event) for event in talk.events()].count(SampleUpdate)
