"""Pulls: pieces, spacing, one at a time, and exactly one end for each."""

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frames import ack, requests
from topone_proto import (
    ORDERS,
    Close,
    ConfigurationError,
    Connect,
    Connection,
    Disconnected,
    Endpoint,
    Failure,
    FailureKind,
    FeedClosed,
    FeedFailed,
    LocalProtocolError,
    Session,
    SessionConfig,
    Step,
    UnexpectedResponse,
)
from topone_proto.session.answers import (
    PullEnd,
    PullLost,
    PullRefused,
    PullTimedOut,
    PullUnreadable,
)
from topone_proto.session.endpoint import PUBLIC_URL
from topone_proto.session.pulls import PIECE, TRIES
from topone_proto.wire.deals import deals
from topone_proto.wire.kline import Candle, kline

MINUTES = kline("BTC/USDT", "1m")
DEALS = deals("BTC/USDT")
DAYS = kline("ETH/BTC", "1d")
PUBLIC = Endpoint(PUBLIC_URL, socket="public")
NETWORK = Failure(FailureKind.NETWORK)
CONFIG = SessionConfig(pull_interval=0.25, pull_timeout=10.0, ping_interval=None)


def candle(time: int) -> Candle:
    price = Decimal(time % 1000 + 1)
    return Candle(time, price, price, price, price, Decimal(1), price)


def answer(request: dict[str, Any], times: Iterable[int], **more: Any) -> str:
    """The exchange's answer to one request of a pull."""
    rows = [[time, *[str(time % 1000 + 1)] * 4, "1", str(time % 1000 + 1)] for time in times]
    fields = {"id": request["id"], "method": request["method"], "code": 0, "msg": "", "ts": 1}
    return json.dumps({**fields, "data": {"list": rows}, **more})


class Feed:
    """A connected session and its exchange, which has a candle for every period."""

    def __init__(self, config: SessionConfig = CONFIG) -> None:
        self.session = Session(config=config, endpoint=PUBLIC, jitter=random.Random(1).random)
        self.now = 1000.0
        self.ends: list[PullEnd] = []
        self.asked: list[tuple[float, dict[str, Any]]] = []
        self.step = Step()
        self.take(self.session.start(self.now))
        self.take(self.session.connection_made(self.now))

    def take(self, step: Step) -> Step:
        self.step = step
        self.ends += step.answers
        self.asked += [(self.now, request) for request in requests(step)]
        return step

    def pull(self, topic: Any, start: Any, end: Any) -> int:
        self.take(self.session.pull(topic, start, end, self.now))
        return self.session.pulls_made

    @property
    def request(self) -> dict[str, Any]:
        """The latest request."""
        return self.asked[-1][1]

    def reply(self, frame: str) -> Step:
        return self.take(self.session.message_received(frame, self.now))

    def serve(self, period: int = 60, *, includes_end: bool = True) -> None:
        """Answer the latest request as the exchange does."""
        first, last = self.request["params"]["from"], self.request["params"]["to"]
        start = -(-first // period) * period
        times = list(range(start, last + (1 if includes_end else 0), period))
        assert len(times) <= PIECE
        self.reply(answer(self.request, times))

    def wait(self) -> Step:
        """Go on to the next deadline."""
        assert self.step.deadline is not None
        self.now = max(self.now, self.step.deadline)
        return self.take(self.session.deadline_reached(self.now))

    def lose(self) -> None:
        self.take(self.session.connection_lost(None, "", self.now))

    def reconnect(self) -> None:
        assert isinstance(self.wait().actions[0], Connect)
        self.now += 1.0
        self.take(self.session.connection_made(self.now))


def times(end: PullEnd) -> list[int]:
    assert end.error is None
    return [each.time for each in end.values]


def test_a_short_pull_is_one_request_and_ends_with_its_candles() -> None:
    feed = Feed()
    number = feed.pull(MINUTES, 600, 720)
    assert feed.request == {
        "id": "1",
        "method": "req_kline_BTC/USDT_1m",
        "params": {"from": 600, "to": 721},
        "lang": "zh-CN",
    }
    feed.serve()
    assert feed.ends == [PullEnd(number, MINUTES, (candle(600), candle(660), candle(720)))]
    assert feed.session.subscriptions == {}


def test_a_long_pull_is_asked_in_pieces_one_after_another() -> None:
    feed = Feed()
    feed.pull(MINUTES, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC))
    for _ in range(2):
        feed.serve()
        assert feed.ends == []
        feed.wait()
    feed.serve()
    [end] = feed.ends
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert times(end) == list(range(start, start + 12 * 3600 + 1, 60))
    at = [now for now, _ in feed.asked]
    assert [later - earlier for earlier, later in pairwise(at)] == [0.25, 0.25]


@given(
    start=st.integers(0, 10**6) | st.floats(0, 1e6),
    seconds=st.integers(0, 200_000),
    includes_end=st.booleans(),
)
def test_every_candle_of_the_span_comes_once_and_no_other(
    start: float, seconds: int, includes_end: bool
) -> None:
    feed = Feed()
    feed.pull(MINUTES, start, start + seconds)
    while not feed.ends:
        feed.serve(includes_end=includes_end)
        if not feed.ends:
            feed.wait()
    [end] = feed.ends
    assert times(end) == [at for at in range(0, 1_300_000, 60) if start <= at <= start + seconds]


def test_what_is_twice_or_outside_is_left_out() -> None:
    feed = Feed()
    feed.pull(MINUTES, 600, 660)
    feed.reply(answer(feed.request, [0, 540, 600, 600, 660, 720, 10**9]))
    assert times(feed.ends[0]) == [600, 660]


def test_a_span_without_a_whole_second_is_empty_at_once() -> None:
    feed = Feed()
    number = feed.pull(MINUTES, 600.25, 600.75)
    assert (feed.ends, feed.asked) == ([PullEnd(number, MINUTES)], [])


def test_pulls_have_their_turns_in_the_order_in_which_they_were_asked_for() -> None:
    feed = Feed()
    first, second = feed.pull(MINUTES, 0, 60), feed.pull(DAYS, 0, 86400)
    assert len(feed.asked) == 1
    feed.serve()
    feed.wait()
    assert feed.request["method"] == "req_kline_ETH/BTC_1d"
    feed.serve(86400)
    assert [end.number for end in feed.ends] == [first, second]


def test_a_pull_waits_for_a_connection() -> None:
    session = Session(endpoint=PUBLIC, jitter=random.random)
    assert session.pull(MINUTES, 0, 60, 1.0) == Step()
    session.start(1.0)
    [request] = requests(session.connection_made(2.0))
    assert request["method"] == "req_kline_BTC/USDT_1m"


# --- ends without values -------------------------------------------------------------------------


def test_a_refusal_ends_the_pull_and_the_next_has_its_turn() -> None:
    feed = Feed()
    first = feed.pull(MINUTES, 0, 60)
    feed.pull(DAYS, 0, 86400)
    step = feed.reply(answer(feed.request, [], code=7, msg="no such market"))
    assert feed.ends == [PullEnd(first, MINUTES, (), PullRefused(MINUTES, 7, "no such market"))]
    assert step.events == ()
    assert "code 7 (no such market): check the market" in str(feed.ends[0].error)
    feed.wait()
    feed.serve(86400)
    assert times(feed.ends[1]) == [0, 86400]


def test_an_answer_that_cannot_be_read_ends_the_pull_without_a_part_of_it() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 20_000)
    feed.serve()
    feed.wait()
    feed.reply(answer(feed.request, [], data={"list": [["1"]]}))
    [end] = feed.ends
    assert end.values == ()
    assert isinstance(end.error, PullUnreadable)
    assert end.error.topic == MINUTES
    assert f"({end.error.problem})" in str(end.error)


def test_an_answer_that_does_not_come_ends_the_pull_and_not_the_connection() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60)
    feed.wait()
    assert feed.now == 1010.0
    assert feed.ends == [PullEnd(1, MINUTES, (), PullTimedOut(MINUTES, 10.0))]
    assert "within 10 s" in str(feed.ends[0].error)
    assert feed.session.connection is not None
    assert feed.step.actions == ()
    late = feed.reply(answer(feed.request, [0]))
    assert [type(event) for event in late.events] == [UnexpectedResponse]


def test_a_pause_of_reading_does_not_count_for_a_pull() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60)
    feed.take(feed.session.reading_paused(1002.0))
    feed.take(feed.session.deadline_reached(1050.0))
    assert feed.ends == []
    feed.take(feed.session.reading_resumed(1050.0))
    assert feed.step.deadline == 1058.0
    feed.wait()
    assert isinstance(feed.ends[0].error, PullTimedOut)


def test_an_answer_behind_a_slow_frame_is_waited_for() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60)
    feed.take(feed.session.bytes_received(1009.5, 1010.0))
    feed.take(feed.session.deadline_reached(1010.0))
    assert feed.ends == []
    feed.serve()
    assert times(feed.ends[0]) == [0, 60]


def test_a_lost_connection_has_the_piece_asked_for_again() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 20_000)
    feed.serve()
    feed.wait()
    lost = feed.request
    feed.lose()
    assert feed.ends == []
    feed.reconnect()
    assert {**feed.request, "id": 0} == {**lost, "id": 0}
    assert feed.request["id"] != lost["id"]
    feed.serve()
    assert times(feed.ends[0]) == list(range(0, 20_000, 60))


def test_a_pull_ends_when_its_tries_are_used_up() -> None:
    feed = Feed()
    first = feed.pull(MINUTES, 0, 60)
    second = feed.pull(MINUTES, 0, 60)
    for _ in range(TRIES - 1):
        feed.lose()
        feed.reconnect()
    feed.lose()
    [one, two] = feed.ends
    assert [one.number, two.number] == [first, second]
    assert isinstance(one.error, PullLost)
    assert one.error.failure.kind is FailureKind.LOST
    assert "pull again once it is connected" in str(one.error)
    feed.reconnect()
    assert requests(feed.step) == []


def test_an_answer_gives_a_pull_its_tries_back() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60 * 2999)
    for _ in range(9):
        feed.lose()
        feed.reconnect()
        feed.serve()
        feed.wait()
    feed.serve()
    assert len(times(feed.ends[0])) == 3000


def test_the_end_of_the_feed_ends_every_pull() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60)
    feed.pull(DAYS, 0, 60)
    feed.take(feed.session.close(feed.now))
    assert [type(end.error) for end in feed.ends] == [FeedClosed, FeedClosed]
    with pytest.raises(LocalProtocolError):
        feed.pull(MINUTES, 0, 60)


def test_a_feed_that_fails_says_so_to_every_pull() -> None:
    feed = Feed(attrs.evolve(CONFIG, max_attempts=1))
    feed.pull(MINUTES, 0, 60)
    feed.lose()
    feed.wait()
    feed.take(feed.session.connection_failed(NETWORK, feed.now))
    [end] = feed.ends
    assert isinstance(end.error, FeedFailed)
    assert end.error.failure == NETWORK


# --- cancelling ----------------------------------------------------------------------------------


def test_a_cancelled_pull_leaves_nothing_behind() -> None:
    feed = Feed()
    cancelled, waiting = feed.pull(MINUTES, 0, 60), feed.pull(MINUTES, 60, 120)
    stale = feed.request
    feed.take(feed.session.cancel_pull(cancelled, feed.now))
    feed.wait()
    assert feed.request["params"]["from"] == 60
    assert feed.reply(answer(stale, [0, 60])).events == ()
    feed.serve()
    assert [(end.number, times(end)) for end in feed.ends] == [(waiting, [60, 120])]
    assert feed.step.deadline == feed.session.connection.deadline  # type: ignore[union-attr]


def test_a_pull_that_waits_for_its_turn_can_be_cancelled() -> None:
    feed = Feed()
    first, second = feed.pull(MINUTES, 0, 60), feed.pull(MINUTES, 60, 120)
    feed.take(feed.session.cancel_pull(second, feed.now))
    feed.serve()
    assert [end.number for end in feed.ends] == [first]
    feed.take(feed.session.cancel_pull(first, feed.now))
    assert len(feed.asked) == 1


def test_a_cancelled_request_that_is_never_answered_is_forgotten() -> None:
    feed = Feed()
    feed.take(feed.session.cancel_pull(feed.pull(MINUTES, 0, 60), feed.now))
    feed.now += 10.0
    feed.take(feed.session.deadline_reached(feed.now))
    assert feed.ends == []
    assert [type(event) for event in feed.reply(answer(feed.request, [0])).events] == [
        UnexpectedResponse
    ]


def test_a_pull_can_be_cancelled_without_a_connection() -> None:
    feed = Feed()
    number = feed.pull(MINUTES, 0, 60)
    feed.lose()
    feed.take(feed.session.cancel_pull(number, feed.now))
    feed.reconnect()
    assert requests(feed.step) == []


# --- matching ------------------------------------------------------------------------------------


def test_an_answer_with_the_method_of_another_request_is_none() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 60)
    strange = feed.reply(answer(feed.request, [0], method="req_kline_BTC/USDT_5m"))
    [event] = strange.events
    assert isinstance(event, UnexpectedResponse)
    assert event.reason == "the request with this id was req_kline_BTC/USDT_1m"
    feed.serve()
    assert times(feed.ends[0]) == [0, 60]


def test_updates_and_acknowledgements_go_on_during_a_pull() -> None:
    feed = Feed()
    feed.pull(MINUTES, 0, 20_000)
    pulled = feed.request
    feed.take(feed.session.subscribe(DEALS, feed.now))
    assert len(feed.reply(ack(feed.request)).events) == 1
    update = {"method": "sub_deals_BTC/USDT", "ts": 1, "data": {"list": [[1.5, "1", "1", 1]]}}
    assert len(feed.reply(json.dumps(update)).events) == 1
    feed.reply(answer(pulled, range(0, 18_000, 60)))
    feed.wait()
    feed.serve()
    assert len(times(feed.ends[0])) == 334


# --- on a connection alone -----------------------------------------------------------------------


def test_a_connection_alone_asks_once() -> None:
    connection = Connection()
    number = connection.next_id
    [request] = requests(connection.pull(MINUTES, 0, 60, 1.0))
    assert request["params"] == {"from": 0, "to": 60}
    step = connection.message_received(answer(request, [60, 0]), 2.0)
    assert step.answers == (PullEnd(number, MINUTES, (candle(0), candle(60))),)


def test_a_connection_takes_no_more_than_its_limit() -> None:
    connection = Connection(SessionConfig(max_pending=1))
    connection.pull(MINUTES, 0, 60, 1.0)
    with pytest.raises(LocalProtocolError, match="1 requests wait"):
        connection.pull(MINUTES, 0, 60, 1.0)
    connection.forget_pull(99)
    connection.subscribe(ORDERS, 1.0)


# --- wrong arguments -----------------------------------------------------------------------------


def test_only_candles_can_be_pulled() -> None:
    feed = Feed()
    with pytest.raises(ConfigurationError, match="cannot be pulled; pull candles"):
        feed.pull(DEALS, 0, 60)
    with pytest.raises(ConfigurationError, match="orders is served by the private WebSocket"):
        feed.pull(ORDERS, 0, 60)
    with pytest.raises(ConfigurationError, match="cannot be pulled"):
        Connection().pull(ORDERS, 0, 60, 1.0)


@pytest.mark.parametrize(
    ("start", "end", "setting"),
    [
        (float("nan"), 60, "start"),
        (0, float("inf"), "end"),
        (-1, 60, "start"),
        (0, 10**13, "end"),
        (True, 60, "start"),
        ("0", 60, "start"),
        (datetime(2026, 1, 1), 60, "start"),  # noqa: DTZ001 - the point
        (60, 59.5, "end"),
    ],
)
def test_a_span_that_is_none_is_refused(start: Any, end: Any, setting: str) -> None:
    feed = Feed()
    with pytest.raises(ConfigurationError) as caught:
        feed.pull(MINUTES, start, end)
    assert caught.value.setting == setting
    assert feed.session.pulls_made == 0


# --- anything in any order -----------------------------------------------------------------------


@given(st.data())
def test_every_pull_ends_exactly_once_whatever_happens(data: st.DataObject) -> None:
    feed = Feed()
    open_pulls: dict[int, tuple[int, int]] = {}
    cancelled: set[int] = set()
    unanswered: list[dict[str, Any]] = []
    seen_requests = seen_ends = 0
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(
            st.sampled_from(["pull", "pull", "serve", "serve", "refuse", "wait", "cancel", "lose"])
        )
        feed.now += data.draw(st.sampled_from([0.0, 0.1, 1.0]))
        is_up = feed.session.connection is not None
        match what:
            case "pull":
                start = data.draw(st.integers(0, 10**5))
                end = start + data.draw(st.sampled_from([0, 60, 30_000]))
                open_pulls[feed.pull(MINUTES, start, end)] = (start, end)
            case "serve" | "refuse" if unanswered and is_up:
                request = unanswered.pop(0)
                first, last = request["params"]["from"], request["params"]["to"]
                rows = range(-(-first // 60) * 60, last + 1, 60)
                code = 0 if what == "serve" else 9
                feed.reply(answer(request, rows, code=code))
            case "cancel" if open_pulls:
                number = data.draw(st.sampled_from(sorted(open_pulls)))
                del open_pulls[number]
                cancelled.add(number)
                feed.take(feed.session.cancel_pull(number, feed.now))
            case "lose" if is_up:
                feed.lose()
                unanswered.clear()
            case _ if not is_up:
                feed.reconnect()
            case _ if feed.step.deadline is not None:
                feed.wait()
            case _:
                pass
        if any(isinstance(action, Close) for action in feed.step.actions):
            unanswered.clear()
        unanswered += [request for _, request in feed.asked[seen_requests:]]
        seen_requests = len(feed.asked)
        for ended in feed.ends[seen_ends:]:
            assert ended.number not in cancelled
            start, last = open_pulls.pop(ended.number)
            if ended.error is None:
                assert times(ended) == [at for at in range(0, 140_000, 60) if start <= at <= last]
        seen_ends = len(feed.ends)
        assert not any(isinstance(event, Disconnected) for event in feed.step.events[1:])
    at = [now for now, _ in feed.asked]
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(at))
    feed.take(feed.session.close(feed.now))
    assert {end.number for end in feed.ends[seen_ends:]} == set(open_pulls)


def test_a_time_of_day_may_be_a_datetime_of_any_zone() -> None:
    feed = Feed()
    zone = datetime(1970, 1, 1, 8, tzinfo=UTC).astimezone()
    feed.pull(MINUTES, zone, zone + timedelta(minutes=1))
    assert feed.request["params"] == {"from": 28800, "to": 28861}
