"""A deterministic simulation of many feeds and one exchange while things go wrong: virtual time,
one seed.

``run(draw(seed))`` raises a ``Violation`` if one of these does not hold.

I1: no silent loss
    Every update that the exchange sent on an active topic is delivered in order exactly once, or a
    ``Gap`` of its topic covers its ``ts`` (the interval is closed; None is no bound on that side),
    or, with the policy ``conflate``, a newer one of the same order or asset is delivered and a
    ``Conflated`` counts it. The last state of a closed order is never left out.

    *Active* is what the application can know of. A stream begins with the first thing it is told of
    a topic: the ``Subscribed``, or an update that overtakes it. What the exchange sent on that
    subscription before is not owed. From then on everything is, on the present connection and on
    old ones that the exchange takes for alive, until the stream ends: with the server time of
    ``Unsubscribed`` or of the refusal of a subscription, with an ``Unsubscribed`` that nobody
    acknowledged, or with the feed itself.

    A stream that is interrupted by the loss of its connection gets exactly one ``Gap``: right
    behind the acknowledgement that ends the interruption, up to the acknowledgement's time; or
    right before the ``Unsubscribed`` that nobody acknowledged, up to no time. It begins with the
    topic's latest frame before the interruption.
I2: recovery
    When nothing goes wrong any more, everything desired is acknowledged within ``recovery_bound``,
    and every call of ``subscribe`` and ``unsubscribe`` has ended. Nothing is asked for that nobody
    wants, least of all what was refused.
I3: no storm
    No dial comes before it is due. Every wait is the documented span times the random number that
    the feed drew, on top of what the server asked for, and at least ``rate_limit_wait`` after a
    429. (With full jitter a wait can be short, so the dials of one minute have no other bound.)
    Attempts are counted from the beginning again only after everything desired was acknowledged and
    the connection then stayed up for ``stable_after``. A refused token is not presented again, a
    fresh one is tried once, and ``max_attempts`` ends the feed.
I4: limits
    Buffers, pending requests and what anomalies keep stay within them. A buffer's is its capacity,
    twice that while a call waits for its answer, and the events of two steps: the one that fills it
    and the one that ends the connection or the feed; besides the events of the application's own
    calls. There is no dial while the application is behind.
freshness
    With the policy ``conflate`` reading goes on as long as something can be left out, and no update
    is delivered after more than ``capacity`` newer ones of the same order or asset have come.
I5: order
    Nothing of a connection is told after its ``Disconnected``, nothing at all after ``Closed``, and
    no deadline is left then. No acknowledgement is believed but one of a request of this
    connection, and no id is used twice.
I6: secrets
    The token is in no event, action, text frame or exception, though the server repeats it.
I7: the end
    ``close`` ends within ``close_timeout``, whatever goes on, and leaves no connection behind.
I8: whole means right
    An ``Account`` that is told every event, and whose questions are answered out of the exchange's
    books some time later, as they were some time before, page by page with the newest first, or not
    at all, is right whenever it calls a topic whole and nothing is on its way to it. When nothing
    goes wrong any more, everything that is followed becomes whole. Fills add up, nothing seems to
    go back, nothing is given up, and no more closed orders are kept than allowed.

    So is an ``AccountSession``, in any of the processes that follow one account by themselves, over
    an ``HttpDesk``. After updates that the stream left out without a sign, it is right once the
    next audit has ended, or does not call the topic whole if nobody confirms what that has found.
    Without a token there is no audit.
I9: budgets
    However many processes follow an account, are killed and start again, and share what they have
    stored: the exchange sees one request for a token in ``token_interval``, and so many order calls
    in ``order_period`` as it allows. Nobody asks during a block that he was told of, or that was
    stored before his own latest write. A write stores what its process had been told when it began:
    of a block that comes during a write, the next write tells.
I10: whole again
    When nothing goes wrong any more, every account is whole within ``whole_bound``, and nothing has
    ended but by a refusal of the key pair or of a fresh token.
I11: nothing invented
    Every order, fill and balance that is told was so at the exchange, and fills add up. An outcome
    is unknown only of an order that has ended.
I12: one writer
    Of machines that follow one account, each with a ``Holder``: all messages of an epoch that the
    bus accepts are one machine's, numbered 1, 2, 3 without a hole, and one that is repeated has the
    same bytes. No message leaves a machine while another has the lease, unless its clock stood
    still, and then the bus refuses it.
I13: once and in order, or a gap
    Whoever reads with a ``Cursor``, however slowly, and dies and goes on from the position that it
    stored: each event that was published comes once and in its order, or each topic that it knows
    of has a ``Gap`` after what is missing. Each update that the holder was told is published, or a
    gap of its topic is. An ``Account`` that is fed with that is what the exchange's was at one
    moment whenever it is whole, and never goes back; when nothing goes wrong any more, it is whole
    within ``relay_bound``, and up to date.
I14: taken over in time
    A lease that nobody has is taken within two seconds by a machine that is able to: it is awake
    and reaches the bus, which answers.
I15: every fill is told
    When nothing goes wrong any more, each account has told every fill of every order that was made
    after it knew which ones are older than itself, also of those that were made and closed while
    nothing could be told, and has told none twice. Three things are beyond it: what the stream left
    out without a sign, what the exchange enters into its history later than the second reading, and
    what happens while no process runs.
market
    The newest book and the newest candle that an application has taken since the latest
    acknowledgement are the exchange's whenever nothing is on its way to it; deals are owed like any
    update (I1), each just as it was sent. A pull that ends well has every finished candle of its
    range, in order and once, and no other.
alive
    A half-open connection is noticed within ``ping_interval + pong_timeout`` of the last frame that
    was read, or within ``silence_timeout`` if there are no pings; not while reading is paused. An
    acknowledgement that does not come is given up after ``ack_timeout`` of reading. No
    connection ends without a reason, so an idle account is left in peace.

    Three things look like a dead peer and are none. A program that was busy with something else
    finds its deadlines late: nothing is given up before what waits unread was read. A server that
    answers no ping is alive as long as its own pings come within ``pong_timeout``. So is one whose
    frame takes longer than that, as long as its bytes come. If the peer dies meanwhile, the bounds
    are the same, from the last byte that was read or from when the program goes on, whichever is
    later; for an acknowledgement the time that the program was busy and two seconds are added. An
    acknowledgement that waits after a slow frame is late like any other.
recording
    A recorder that fails ends the feed, with its own error, in the step in which it failed. The
    token is in no line of a recording.
ping
    A ping of the server is answered in the very step that reads it, and a client that does not read
    is not dropped for one. Two things are beyond it: before it has read a first ping on a
    connection it does not know what to answer, and a ping that is a control frame is answered by
    the WebSocket library, when that reads it.
"""

from topone_proto.testing.simulation.accounts.following import whole_bound
from topone_proto.testing.simulation.accounts.plan import (
    AccountCall,
    AccountTrouble,
    FullDisk,
    LoseUpdates,
    ProcessPlan,
    SetClock,
    SharedAccount,
    SlowDisk,
    Stop,
    Trade,
)
from topone_proto.testing.simulation.client_plan import AccountPlan, Call, ClientPlan, Pull, Supply
from topone_proto.testing.simulation.drawing import draw
from topone_proto.testing.simulation.relays.plan import (
    BusAway,
    CutOff,
    FeedLost,
    Garbage,
    Kill,
    LoseAnswers,
    MachinePlan,
    Pause,
    ReaderPlan,
    RelayTrouble,
    ReleaseLease,
    SharedRelay,
    SlowBus,
    StopReading,
    Suspend,
    Trim,
)
from topone_proto.testing.simulation.relays.relaying import relay_bound
from topone_proto.testing.simulation.runs import Report, recovery_bound, run
from topone_proto.testing.simulation.scenario import (
    DEALS,
    MARKET_TOPICS,
    SECRET,
    BlackHole,
    BlockLoop,
    ExpireToken,
    IgnorePings,
    Outage,
    Publish,
    Scenario,
    SlowFrame,
    Trouble,
    Unreachable,
)
from topone_proto.testing.simulation.shrink import shrink
from topone_proto.testing.simulation.world import Entry, Violation

__all__ = [
    "DEALS",
    "MARKET_TOPICS",
    "SECRET",
    "AccountCall",
    "AccountPlan",
    "AccountTrouble",
    "BlackHole",
    "BlockLoop",
    "BusAway",
    "Call",
    "ClientPlan",
    "CutOff",
    "Entry",
    "ExpireToken",
    "FeedLost",
    "FullDisk",
    "Garbage",
    "IgnorePings",
    "Kill",
    "LoseAnswers",
    "LoseUpdates",
    "MachinePlan",
    "Outage",
    "Pause",
    "ProcessPlan",
    "Publish",
    "Pull",
    "ReaderPlan",
    "RelayTrouble",
    "ReleaseLease",
    "Report",
    "Scenario",
    "SetClock",
    "SharedAccount",
    "SharedRelay",
    "SlowBus",
    "SlowDisk",
    "SlowFrame",
    "Stop",
    "StopReading",
    "Supply",
    "Suspend",
    "Trade",
    "Trim",
    "Trouble",
    "Unreachable",
    "Violation",
    "draw",
    "recovery_bound",
    "relay_bound",
    "run",
    "shrink",
    "whole_bound",
]
