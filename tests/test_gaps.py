"""The span of a gap, by clocks that need not agree."""

from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from topone_proto.session.gaps import Break, Heard, ServerClock

DAY = 86_400_000
LEADS = st.integers(-DAY, DAY) | st.integers(-100, 100)
"""The lead of a node's clock, in milliseconds."""
MOMENTS = st.integers(0, 100_000)
START = 10 * DAY
"""The caller's own time, in milliseconds, so that no server time is negative."""


@frozen
class Frame:
    """One frame on its way: when it was asked for, sent and received, in milliseconds."""

    asked: int
    sent: int
    received: int

    def heard(self, lead: int) -> Heard:
        return Heard(self.sent + lead, self.asked / 1000, self.received / 1000)


@st.composite
def answered(draw: st.DrawFn, after: int) -> tuple[Frame, Frame]:
    """The acknowledgement of a subscription, and its latest frame; often the same."""
    asked = after + draw(MOMENTS)
    sent = asked + draw(MOMENTS)
    ack = Frame(asked, sent, sent + draw(MOMENTS))
    if draw(st.booleans()):
        return ack, ack
    sent = ack.sent + draw(MOMENTS)
    return ack, Frame(asked, sent, max(ack.received, sent) + draw(MOMENTS))


def clock_of(ack: Frame, latest: Frame, lead: int) -> ServerClock | None:
    return ServerClock.of([ack.heard(lead)], [latest.heard(lead)])


@given(st.data(), st.lists(LEADS, min_size=2, max_size=4))
def test_whatever_is_missing_is_within_by_any_clock(data: st.DataObject, leads: list[int]) -> None:
    """A stream breaks off on the first node, and begins again on the last; on those between it
    breaks off once more."""
    first, *between, last = leads
    ack, latest = data.draw(answered(START))
    broken = Break.off(latest.sent + first, clock_of(ack, latest, first))
    began, at = latest.sent, latest.received
    for lead in between:
        once_more, latest = data.draw(answered(at))
        broken = broken.again(clock_of(once_more, latest, lead))
        at = latest.received
    end, _ = data.draw(answered(at))
    clock = clock_of(end, end, last)
    since, until = broken.span(end.sent + last, clock, end.received / 1000)
    assert since is not None
    assert until is not None
    assert since <= until
    missing = data.draw(st.integers(began, end.sent))
    for lead in leads:
        assert since <= missing + lead <= until
    if set(leads) == {0} and not between:
        # By clocks that agree it is longer by no more than a request and its answer take.
        assert since >= began - (ack.sent - ack.asked) - (end.received - end.sent)
        assert until <= end.received + (ack.sent - ack.asked)


@given(LEADS, st.integers(1, DAY), MOMENTS, MOMENTS)
@example(0, 3_600_000, 1000, 0)
def test_a_clock_that_was_set_back_or_forward_meanwhile_is_no_shorter(
    lead: int, step: int, outage: int, waited: int
) -> None:
    """The whole exchange's clock steps while the stream is broken."""
    ack = Frame(START, START + waited, START + waited)
    broken = Break.off(ack.sent + lead, clock_of(ack, ack, lead))
    again = Frame(ack.received + outage, ack.received + outage, ack.received + outage)
    for after in (lead - step, lead + step):
        clock = clock_of(again, again, after)
        since, until = broken.span(again.sent + after, clock, again.received / 1000)
        assert since is not None
        assert until is not None
        for missing in (ack.sent, again.sent):
            for clocks in (lead, after):
                assert since <= missing + clocks <= until


def test_a_clock_that_was_set_forward_on_a_connection_is_known_by_its_latest_frame() -> None:
    ack = Frame(START, START, START)
    latest = Frame(START, START + 1000, START + 1000)
    clock = ServerClock.of([ack.heard(0)], [latest.heard(60_000)])
    assert clock is not None
    assert clock.low <= 60_000 <= clock.high


def test_a_connection_without_a_time_says_nothing_of_its_clock() -> None:
    assert ServerClock.of([], []) is None
    assert Break.off(None, None).span(5000, None, 1.0) == (None, 5000)
    assert Break.off(4000, None).span(5000, None, 1.0) == (4000, 5000)
    assert Break.off(6000, None).span(5000, None, 1.0) == (None, 5000)
    assert Break.off(4000, ServerClock(0, 0)).span(None, None, 1.0) == (4000, None)
    assert Break.off(4000, ServerClock(0, 0)).again(None).span(5000, None, 5.0) == (4000, 5000)
    assert Break.off(None, None).again(ServerClock(0, 0)).span(5000, None, 9.0) == (None, 9000)


def test_no_server_time_is_negative() -> None:
    broken = Break.off(4000, ServerClock(0, 0))
    assert broken.span(5000, ServerClock(-95_000, -95_000), 100.0) == (0, 100_000)
