"""Cases that take two tasks: one waits for a feed, another one ends it."""

import threading

from feedlog import TOKEN, rest, up
from portals import Open
from topone_simulator import Simulator


def test_a_receiver_that_waits_is_woken_by_the_end(open_feed: Open, simulator: Simulator) -> None:
    with open_feed(url=simulator.url, token=TOKEN) as feed:
        up(feed)
        logs: list[list[str]] = []
        receiver = threading.Thread(target=lambda: logs.append(rest(feed)))
        receiver.start()
        feed.close()
        receiver.join(20.0)
        assert logs == [["closed"]]
