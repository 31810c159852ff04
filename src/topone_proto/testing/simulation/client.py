"""The application behind a feed, which takes events at its own speed and calls what its plan
says."""

from errno import ENOSPC
from random import Random
from typing import TYPE_CHECKING, Any

from topone_proto.errors import FeedClosed, FeedFailed, TooManyEvents, TopOneError
from topone_proto.feed.core import FeedCore
from topone_proto.secrets.token import Token
from topone_proto.testing.simulation.accountant import Accountant
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.auditor import Auditor
from topone_proto.testing.simulation.client_plan import Call, ClientPlan, Pull
from topone_proto.testing.simulation.scenario import CANDLES
from topone_proto.testing.simulation.server import ACCOUNT, Server
from topone_proto.testing.simulation.supplier import Supplier
from topone_proto.testing.simulation.watcher import Watcher
from topone_proto.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from topone_proto.feed.waiters import PullWaiter, Waiter

__all__ = ["Client"]

_NEVER = float("inf")
_URL = "wss://simulation.invalid/ws/user/"
_PUBLIC_URL = "wss://simulation.invalid/ws/"


def _source() -> None: ...


class Client:
    """One feed.

    Args:
        world: the time.
        plan: everything that it does.
        server: where it dials.
        rng: the source of its network's and its back-off's chance.
        http: the source of its HTTP's.
    """

    def __init__(
        self, world: World, plan: ClientPlan, server: Server, rng: Random, http: Random
    ) -> None:
        self.plan = plan
        self.auditor: Auditor = Auditor(world, plan)
        self.accountant: Accountant = Accountant(
            world, plan.account, server, http, note=self._note, fail=self.auditor.fail
        )
        self.watcher: Watcher = Watcher(server, self.auditor.fail)
        self._hurries_at = _NEVER
        self._lines = 0
        self._recorder_error: OSError | None = None
        self._world = world
        self._server = server
        self._rng = rng
        token = server.issue(plan.name)
        self._core: FeedCore[Callable[[], object]] = FeedCore(
            # The callable is never called: what it would do is in the plan.
            token=self._token(token),
            url=_PUBLIC_URL if plan.is_public else _URL,
            topics=plan.topics,
            config=plan.config,
            origin=None,
            insecure=False,
            jitter=self._jitter,
            record=None if plan.recorder_fails_after is None else self._record,
        )
        self.adapter: Adapter = Adapter(
            world,
            plan,
            server,
            rng,
            core=self._core,
            supplier=Supplier(plan, server, ACCOUNT, token),
            auditor=self.auditor,
            application=self,
            note=self._note,
        )
        """The transport."""
        self._waiters: list[Waiter] = []
        # Each with its range and the market's time when it was made.
        self._pulls: list[tuple[PullWaiter, float, float, float]] = []
        self.pulled: int = 0
        """The number of pulls that have ended well."""
        self._is_taking = False
        self._next_take_at = 0.0

    def _token(self, first: str) -> "Token | Callable[[], object] | None":
        if self.plan.is_public:
            return None
        return Token(first) if self.plan.supplies is None else _source

    # --- the application ------------------------------------------------------------------------

    def start(self) -> None:
        """Open the feed, and do what the plan says when it is time."""
        self._note("starts")
        for call in self.plan.calls:
            self.adapter.turns.at(call.at, self._call, call)
        for pull in self.plan.pulls:
            self.adapter.turns.at(pull.at, self._pull, pull)
        self.adapter.take(self._core.session.start(self._world.now))

    def close(self) -> None:
        """Close the feed, twice: once more must be harmless."""
        for _ in range(2):
            self._note("calls close")
            self.auditor.close_called()
            self.adapter.take(self._core.session.close(self._world.now))

    def hurry(self) -> None:
        """From now on the application takes everything at once, and HTTP does not fail."""
        self._hurries_at = self._world.now
        self.accountant.is_reliable = True

    def check_account(self) -> None:
        """Check that what the account calls whole is true, if nothing is on its way to it."""
        if self.is_settled and not self._is_stream_busy:
            self.accountant.check()
            if not self.adapter.is_closed:
                self.watcher.check(self.auditor.desired)

    def check_calm(self) -> None:
        """All is calm: nothing may be missing any more."""
        for waiter in self._waiters:
            if not waiter.is_settled:
                self.auditor.unanswered_call(waiter.method)
        self.auditor.all_is_calm()
        if self._recorder_error is not None and not self.adapter.is_closed:
            self.auditor.must_have_failed_with(self._recorder_error, None)
        if not self.adapter.is_closed:
            self.watcher.check(self.auditor.desired)
        for pull, start, end, now in self._pulls:
            try:
                pull.result()
            except (TopOneError, OSError):
                continue
            self.pulled += 1
            self.watcher.pulled(pull.topic, start, end, now, pull.values)
        self.accountant.check_calm(set() if self.adapter.is_closed else self.auditor.desired)

    def check_closed(self) -> None:
        """The time to close is over."""
        is_finished = self.adapter.is_finished and self.adapter.link is None
        self.auditor.must_be_closed(self._core.deadline, is_finished=is_finished)
        self.auditor.must_have_failed_with(self._recorder_error, self._core.fault)

    @property
    def is_settled(self) -> bool:
        """True if everything desired is acknowledged on a good connection, or the feed has
        ended."""
        if not self.auditor.is_settled:
            return False
        return self.adapter.is_finished or (
            self.adapter.link is not None and self._server.serves(self.adapter.link)
        )

    @property
    def is_busy(self) -> bool:
        """True if something is still on its way to the application."""
        is_pulling = any(not pull.is_settled for pull, *_ in self._pulls)
        return self._is_stream_busy or self.accountant.is_busy or is_pulling

    @property
    def _is_stream_busy(self) -> bool:
        return self._core.has_events or (
            self.adapter.link is not None and self.adapter.link.is_busy
        )

    @property
    def is_waiting(self) -> bool:
        """True if a call of ``subscribe`` or ``unsubscribe`` waits for its answer."""
        return any(not waiter.is_settled for waiter in self._waiters)

    def wake(self) -> None:
        """There are events to take."""
        if not self._is_taking:
            self._is_taking = True
            self.adapter.turns.soon(self._consume)

    def carry_out(self, action: Any) -> None:
        """A session alone asks for nothing else."""
        raise AssertionError(action)

    def _call(self, call: Call) -> None:
        if call.verb == "close":
            if not self.adapter.is_closed:
                self.close()
            return
        wanted = call.verb == "subscribe"
        self._note(f"calls {call.verb}", call.topic)
        ask = self._core.subscribe if wanted else self._core.unsubscribe
        try:
            waiter, step = ask(call.topic, self._world.now)
        except (FeedClosed, FeedFailed, OSError):
            assert self.adapter.is_closed
            return
        except TooManyEvents:
            # Nothing was changed by the call.
            return
        self.auditor.wants(call.topic, wanted=wanted)
        self._waiters.append(waiter)
        self.adapter.take(step)
        self.adapter.go_on_reading()

    def _pull(self, pull: Pull) -> None:
        opened, topic = self._server.market_time, CANDLES
        start, end = opened - pull.since, opened - pull.until
        self._note("pulls", topic)
        try:
            waiter, step = self._core.pull(topic, start, end, self._world.now)
        except (FeedClosed, FeedFailed, OSError):
            assert self.adapter.is_closed
            return
        except TooManyEvents:
            return
        self.auditor.called()
        self._waiters.append(waiter)
        self._pulls.append((waiter, start, end, opened))
        self.adapter.take(step)
        self.adapter.go_on_reading()

    def _consume(self) -> None:
        """Take what there is, at the plan's pace."""
        self._is_taking = False
        while self._core.has_events:
            ready_at = self._ready_at()
            if ready_at > self._world.now:
                self._is_taking = True
                self.adapter.turns.at(ready_at, self._consume)
                return
            event = self._core.get()
            assert event is not None
            if self._world.timeline is not None:
                self._note("  the application takes", event)
            self.auditor.taken(event)
            self.accountant.told(event)
            self.watcher.told(event)
            self._next_take_at = self._world.now + self._pace
            self.adapter.pause_or_resume()

    def _ready_at(self) -> float:
        ready_at = max(self._next_take_at, self._world.now)
        for start, until in self.plan.stalls:
            if start <= ready_at < until:
                ready_at = until
        return ready_at

    @property
    def _pace(self) -> float:
        return self.plan.pace if self._world.now < self._hurries_at else 0.0

    def _record(self, line: str) -> None:
        """Take a line of the recording, or fail as a full disk does."""
        self.auditor.recorded(line)
        self._lines += 1
        if self._lines > (self.plan.recorder_fails_after or 0):
            self._note("its recorder fails")
            self._recorder_error = OSError(ENOSPC, "No space left on device")
            raise self._recorder_error

    def _jitter(self) -> float:
        self.auditor.jitter = self._rng.random()
        return self.auditor.jitter

    def _note(self, what: str, *details: object) -> None:
        if self._world.timeline is not None:
            self._world.note(self.plan.name, what, *details)
