"""Every adapter records a feed when it is asked to, and the recording is that feed's life."""

from decimal import Decimal

from portals import Open, Portal
from topone_proto import Balance, BalanceUpdate, Event, Subscribed
from topone_proto.capture import Capture, replay
from topone_proto.exchange import DropConnections
from topone_simulator import run_in_thread

TOKEN = "topapi:5ecret"
ETH = Balance("ETH", Decimal("1.5"), Decimal(0))


def taken(feed: Portal, kind: type[Event], count: int = 1) -> list[Event]:
    """Everything up to the so manieth event of a kind."""
    events: list[Event] = []
    while sum(isinstance(event, kind) for event in events) < count:
        event = feed.next()
        assert event is not None
        events.append(event)
    return events


def test_a_recorded_feed_can_be_lived_again(open_feed: Open) -> None:
    lines: list[str] = []
    with (
        run_in_thread(tokens={TOKEN: "alice"}) as simulator,
        open_feed(url=simulator.url, token=TOKEN, record=lines.append) as feed,
    ):
        log = taken(feed, Subscribed, 2)
        simulator.publish(ETH)
        log += taken(feed, BalanceUpdate)
        simulator.inject(DropConnections())
        log += taken(feed, Subscribed, 2)
        feed.close()
        while (event := feed.next()) is not None:
            log.append(event)
    lived = [event for _, step in replay(Capture(lines)) for event in step.events]
    assert lived == log
    assert "5ecret" not in "".join(lines)
