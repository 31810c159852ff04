"""A machine in a simulated world: a ``Holder`` with its account, on a clock of its own."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from topone_proto.account import Account, Snapshot
from topone_proto.relay import (
    Acquire,
    CloseAccount,
    Holder,
    HolderState,
    LeaseEnded,
    OpenAccount,
    Publish,
    RelayAction,
    RelayStep,
    Release,
    Renew,
)
from topone_proto.testing.simulation.relays.bus import FENCED, Bus
from topone_proto.testing.simulation.relays.exchange import Exchange, Feed
from topone_proto.testing.simulation.relays.plan import (
    CutOff,
    Kill,
    MachineFault,
    MachinePlan,
    Pause,
    ReleaseLease,
    SharedRelay,
    Suspend,
)
from topone_proto.testing.simulation.world import Violation, World
from topone_proto.wire.topic import Update

__all__ = ["ACCOUNT", "FREE", "Machine"]

ACCOUNT: Final = "main"
"""The account's name."""

_TIMEOUT: Final = 2.0
"""Seconds after which a request to the bus has failed."""

FREE: Final = 3.0
"""Seconds after a fault in which a machine need not be the first: its requests may hang."""


class Machine:
    """One machine.

    Args:
        world: the time.
        plan: its clock and its beginning.
        shared: every number.
        bus: the bus.
        exchange: the exchange.
        rng: how long things take.
    """

    def __init__(
        self,
        world: World,
        plan: MachinePlan,
        shared: SharedRelay,
        bus: Bus,
        exchange: Exchange,
        rng: Random,
    ) -> None:
        self.plan: MachinePlan = plan
        """Its clock and its beginning."""
        self.able_since: float = float("inf")
        """The time from which on it can take over."""
        self.opened: int = 0
        """The number of times that the account was opened."""
        self._world = world
        self._config = shared.config
        self._bus = bus
        self._exchange = exchange
        self._rng = rng
        self._life = 0
        self._holder: Holder | None = None
        self._account: Account | None = None
        self.feed: Feed | None = None
        """The account at the exchange, while it is open."""
        self._paused_until = 0.0
        self._cut_until = 0.0
        # Its clock less the world's, without the drift.
        self._offset = rng.uniform(0.0, 1000.0)
        self._slept = False
        self._timer = 0
        self._waiting: deque[tuple[int, str, Callable[[], RelayStep]]] = deque()

    # --- what happens to it ---------------------------------------------------------------------

    def start(self) -> None:
        """It starts, and wants the account."""
        self._life += 1
        self._holder = Holder(ACCOUNT, config=self._config, snapshot=self._snapshot)
        self.able_since = max(self._world.now, self._paused_until, self._cut_until) + FREE
        self._do("starts", self._holder.start)

    def strike(self, fault: MachineFault) -> None:
        """Something happens to it."""
        match fault:
            case CutOff(seconds=seconds):
                self._cut_until = max(self._cut_until, self._world.now + seconds)
                self._unable(seconds)
            case Pause(seconds=seconds):
                self._pause(seconds, is_asleep=False)
            case Suspend(seconds=seconds):
                self._pause(seconds, is_asleep=True)
            case Kill(seconds=seconds):
                self._kill(seconds)
            case ReleaseLease(seconds=seconds):
                self._release(seconds)

    def _kill(self, seconds: float) -> None:
        """It dies, and starts again later."""
        if self._holder is None:
            return
        self._world.note(self.plan.name, "is killed")
        self._close_feed()
        self._life += 1
        self._holder = None
        self._paused_until = 0.0
        self.able_since = float("inf")
        self._world.at(self._world.now + seconds, self.start)

    def _pause(self, seconds: float, *, is_asleep: bool) -> None:
        """It does nothing for a while; asleep, its clock stands still."""
        world = self._world
        until = max(self._paused_until, world.now + seconds)
        if is_asleep:
            self._offset -= (until - max(world.now, self._paused_until)) * self._rate
            self._slept = True
        self._paused_until = until
        self._unable(until - world.now)

    def _release(self, seconds: float) -> None:
        """It hands the account over, and wants it again later."""
        if self._holder is None:
            return
        self._do("is to release", self._holder.release)
        self._unable(seconds)
        life = self._life
        self._world.at(self._world.now + seconds, self._start_again, life)

    def _start_again(self, life: int) -> None:
        if life == self._life and self._holder is not None:
            if self._holder.state is HolderState.RELEASING:
                self._world.at(self._world.now + 1.0, self._start_again, life)
                self._unable(1.0)
            else:
                self._do("wants it again", self._holder.start)

    def _unable(self, seconds: float) -> None:
        """It may not be able to take over for so long."""
        if self._holder is not None:
            self.able_since = max(self.able_since, self._world.now + seconds + FREE)

    # --- to read --------------------------------------------------------------------------------

    @property
    def is_following(self) -> bool:
        """True if it has the lease, and the account is connected."""
        holder, feed = self._holder, self.feed
        is_held = holder is not None and holder.state is HolderState.HOLDING
        is_known = self._bus.holder == self.plan.name
        return is_held and is_known and feed is not None and feed.is_connected

    @property
    def _rate(self) -> float:
        return 1.0 + self.plan.drift

    @property
    def _now(self) -> float:
        return self._world.now * self._rate + self._offset

    def _snapshot(self) -> Snapshot | None:
        return None if self._account is None else self._account.snapshot()

    # --- steps ----------------------------------------------------------------------------------

    def _do(self, what: str, act: Callable[..., RelayStep], *args: object) -> None:
        self._run(self._life, what, lambda: act(*args, self._now))

    def _run(self, life: int, what: str, act: Callable[[], RelayStep]) -> None:
        """Do something, or as soon as it is not paused any more, after what waits already."""
        self._waiting.append((life, what, act))
        self._go_on()

    def _go_on(self) -> None:
        if self._world.now < self._paused_until:
            self._world.at(self._paused_until, self._go_on)
            return
        while self._waiting:
            life, what, act = self._waiting.popleft()
            if life != self._life:
                continue
            if what:
                self._world.note(self.plan.name, what)
            self._take(act())

    def _take(self, step: RelayStep) -> None:
        holder = self._holder
        assert holder is not None  # as long as it lives
        for event in step.events:
            self._world.note(self.plan.name, "reports", event)
            if isinstance(event, LeaseEnded):
                self._slept = False
        if holder.waiting > 2 * self._config.capacity + 200:
            what = f"{holder.waiting} items wait"
            raise Violation("I4", self.plan.name, what, self._world.now)
        for action in step.actions:
            self._carry_out(action)
        self._timer += 1
        if step.deadline is not None:
            if step.deadline <= self._now:
                raise Violation("I5", self.plan.name, "its deadline is past", self._world.now)
            when = self._world.now + (step.deadline - self._now) / self._rate
            self._world.at(when, self._wake, self._life, self._timer, step.deadline)

    def _wake(self, life: int, timer: int, deadline: float) -> None:
        holder = self._holder
        if life != self._life or timer != self._timer or holder is None:
            return
        if self._now < deadline - 1e-9:
            # Its clock stood still meanwhile.
            when = self._world.now + (deadline - self._now) / self._rate
            self._world.at(when, self._wake, life, timer, deadline)
            return
        at = max(self._now, deadline)
        self._run(life, "", lambda: holder.deadline_reached(max(self._now, at)))

    def _carry_out(self, action: RelayAction) -> None:
        name, bus, holder = self.plan.name, self._bus, self._holder
        assert holder is not None  # as long as it lives
        self._world.note(name, "does", _brief(action))
        match action:
            case Acquire():
                # From here on its clock counts right, as far as this request goes.
                self._slept = False
                self._request(lambda: bus.acquire(name), self._acquired)
            case Renew(epoch=epoch):
                self._request(lambda: bus.renew(name, epoch), self._renewed)
            case Release(epoch=epoch):
                self._request(lambda: bus.release(name, epoch), lambda _: None)
            case Publish():
                bus.check_sender(name, may_err=self._slept)
                self._publish(action)
            case OpenAccount():
                if self.feed is not None:
                    what = "it opens an account that is open"
                    raise Violation("I12", name, what, self._world.now)
                self.opened += 1
                self.feed = Feed(self._world, self._exchange, self._rng, self._tell)
                self._account = self.feed.account
            case CloseAccount():
                self._close_feed()

    def _close_feed(self) -> None:
        if self.feed is not None:
            self.feed.close()
        self.feed = self._account = None

    def _tell(self, account: Account, hear: Callable[[], tuple[object, ...]]) -> None:
        def act() -> RelayStep:
            holder = self._holder
            assert holder is not None  # as long as it lives
            if account is not self._account:
                return RelayStep(deadline=holder.deadline_reached(self._now).deadline)
            events = hear()
            if holder.epoch is not None:
                for event in events:
                    if isinstance(event, Update):
                        self._bus.told(holder.epoch, event)
            return holder.told(events, self._now)

        self._run(self._life, "", act)

    # --- the bus --------------------------------------------------------------------------------

    def _request(self, does: Callable[[], object], answered: Callable[[object], object]) -> None:
        life = self._life
        is_cut = self._world.now < self._cut_until

        def end(answer: object) -> None:
            if life == self._life and self._holder is not None:
                answered(answer)

        self._bus.request(does, end, _TIMEOUT, cut=is_cut)

    def _acquired(self, epoch: object) -> None:
        holder = self._holder
        assert holder is not None  # as long as it lives
        if epoch is None:
            self._do("", holder.acquire_failed, "no answer")
        elif epoch:
            self._do(f"gets lease {epoch}", holder.acquired, epoch)
        else:
            self._do("", holder.not_acquired)

    def _renewed(self, is_renewed: object) -> None:
        holder = self._holder
        assert holder is not None  # as long as it lives
        if is_renewed is None:
            self._do("", holder.renewal_failed, "no answer")
        else:
            self._do("", holder.renewed if is_renewed else holder.renewal_refused)

    def _publish(self, action: Publish) -> None:
        name, bus = self.plan.name, self._bus
        epoch, number, data = action.epoch, action.number, action.data

        def answered(answer: object) -> None:
            holder = self._holder
            assert holder is not None  # as long as it lives
            if answer is None:
                self._run(
                    self._life,
                    "",
                    lambda: holder.publish_failed("no answer", self._now, action),
                )
            elif answer == FENCED:
                self._run(self._life, "is fenced", lambda: holder.fenced(self._now, action))
            else:
                self._run(self._life, "", lambda: holder.published(self._now, action))

        self._request(
            lambda: bus.publish(name, epoch, number, data, snap=action.has_snapshot), answered
        )


def _brief(action: RelayAction) -> str:
    if isinstance(action, Publish):
        return f"Publish({action.epoch}-{action.number}, {len(action.data)} bytes)"
    return f"{type(action).__name__}()"
