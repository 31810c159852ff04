"""A deterministic simulation of many feeds and one exchange while things go wrong: virtual time,
one seed.

``run(draw(seed))`` raises a ``Violation`` if one of these does not hold.

I1: no silent loss
    Every update that the exchange sent on an active topic is delivered once and in order, or a
    ``Gap`` of its topic covers its ``ts``. The interval is closed, and None is no bound on that
    side. With the policy ``conflate``, it may also be replaced by a newer one of the same order or
    asset, and is then counted by a ``Conflated``. The last state of a closed order is never
    replaced.

    *Active* is what the application can know of. The stream of a topic begins with the first thing
    that the application gets of it: the ``Subscribed``, or an update that arrives before it. What
    the exchange sent earlier on that subscription is not owed. From then on everything is, on the
    present connection and on old ones that the exchange believes to be alive, until the stream
    ends: with the server time of ``Unsubscribed`` or of the refusal of a subscription, with an
    ``Unsubscribed`` that nobody acknowledged, or with the feed itself.

    A stream that the loss of a connection interrupts gets exactly one ``Gap``: right after the
    acknowledgement that ends the interruption, up to the acknowledgement's time; or right before
    the ``Unsubscribed`` that nobody acknowledged, up to no time. It begins with the topic's latest
    frame before the interruption.
I2: recovery
    When the faults are over, everything desired is acknowledged within ``recovery_bound``, and
    every call of ``subscribe`` and ``unsubscribe`` has ended. The client asks for nothing that
    nobody wants, least of all for what was refused.
I3: no storm
    No dial comes before it is due. Every wait is the documented span times the random number that
    the feed drew, on top of what the server asked for, and at least ``rate_limit_wait`` after a
    429. (With full jitter a wait can be short, so the dials of one minute have no other bound.)
    The count of attempts restarts only after everything desired was acknowledged and the connection
    then stayed up for ``stable_after``. A refused token is not presented again, a different one is
    tried once, and ``max_attempts`` ends the feed.
I4: limits
    Buffers, pending requests and what anomalies keep stay within their limits. For a buffer that is
    its capacity, or twice that while a call waits for its answer; plus the events of two steps, the
    one that fills it and the one that ends the connection or the feed; plus the events of the
    application's own calls. There is no dial while the application is behind.
freshness
    With the policy ``conflate`` reading goes on as long as something can be left out. No update is
    delivered after more than ``capacity`` newer ones of the same order or asset have come.
I5: order
    No event of a connection comes after its ``Disconnected``, and none at all after ``Closed``; no
    deadline is left then. Only an acknowledgement of a request of this connection is believed, and
    no id is used twice.
I6: secrets
    The token is in no event, action, text frame or exception, though the server repeats it.
I7: the end
    ``close`` ends within ``close_timeout`` in every state, and leaves no connection behind.
I8: whole means right
    An ``Account`` gets every event, and answers to its questions that are late, outdated, split
    into pages with the newest first, or missing. Whenever it calls a topic whole and nothing is on
    its way to it, it is right. When the faults are over, everything that is followed becomes whole.
    Fills add up, nothing seems to go back, nothing is given up, and no more closed orders are kept
    than allowed.

    The same holds for an ``AccountSession`` over an ``HttpDesk``, in each of the processes that
    follow one account. After updates that the stream left out without a sign, it is right once the
    next audit has ended; if nobody confirms what the audit found, it does not call the topic whole.
    Without a token there is no audit.
I9: budgets
    Any number of processes follow an account, are killed and start again, and share what they have
    stored. The exchange sees at most one request for a token in ``token_interval``, and as many
    order calls in ``order_period`` as it allows. No process asks during a block that it was told
    of, or that was stored before its own latest write. A write stores what its process knew when
    the write began; a block that comes during a write is stored by the next one.
I10: whole again
    When the faults are over, every account is whole within ``whole_bound``. No account has ended,
    unless its key pair or a fresh token was refused.
I11: nothing invented
    Every order, fill and balance that is reported was so at the exchange, and fills add up. No
    order is reported as new twice, although most processes keep only one or two that have ended.
    Only an order that has ended can have an unknown outcome.
I12: one writer
    Of several machines that follow one account, each with a ``Holder``: all messages of an epoch
    that the bus accepts are of one machine, and numbered 1, 2, 3 without a hole. A message that is
    repeated has the same bytes. No message leaves a machine while another has the lease, unless its
    clock stood still; then the bus refuses it.
I13: once and in order, or a gap
    A reader with a ``Cursor`` may be slow, and die and go on from the position that it stored. Each
    event that was published comes once and in order, or each topic that the reader knows of has a
    ``Gap`` after what is missing. Each update that the holder got is published, or a gap of its
    topic is. An ``Account`` that gets these events never goes back, and whenever it is whole, it is
    what the exchange's was at one moment. When the faults are over, it is whole within
    ``relay_bound``, and up to date.
I14: taken over in time
    A lease that nobody has is taken within two seconds, if a machine is awake and reaches the bus,
    and the bus answers.
I15: every fill is told
    When the faults are over, each account has reported once every fill of every order that was made
    after the account knew which orders are older than itself, also of orders that were made and
    closed while nothing could be reported. Three things are excepted: what the stream left out
    without a sign, what the exchange enters into its history later than the second reading, and
    what happens while no process runs. On a bus, the fills that a reader is told of an order add up
    to what it is told of the order.
market
    The newest book and the newest candle that an application has taken since the latest
    acknowledgement are the exchange's whenever nothing is on its way to it. Deals are owed like any
    update (I1), each just as it was sent. A pull that ends well has every finished candle of its
    range, in order and once, and no other.
alive
    A half-open connection is noticed within ``ping_interval + pong_timeout`` of the last frame that
    was read, or within ``silence_timeout`` if there are no pings; not while reading is paused. An
    acknowledgement that does not come is given up after ``ack_timeout`` of reading. No
    connection ends without a reason, so an idle account is left in peace.

    In three cases a live peer looks dead. A program that was busy finds its deadlines late: nothing
    is given up before the unread frames were read. A server that answers no ping is alive as long
    as its own pings come within ``pong_timeout``. A server whose frame takes longer than that is
    alive as long as its bytes come. If the peer dies meanwhile, the bounds are the same, from the
    last byte that was read or from when the program goes on, whichever is later. For an
    acknowledgement, the time that the program was busy and two seconds are added. An
    acknowledgement that waits after a slow frame is late like any other.
recording
    A recorder that fails ends the feed, with its own error, in the step in which it failed. The
    token is in no line of a recording.
ping
    A ping of the server is answered in the very step that reads it, and a client that does not read
    is not dropped for one. Two things are excepted: before the client has read a first ping on a
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
