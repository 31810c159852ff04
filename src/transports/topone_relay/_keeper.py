"""One account on one node: carries out what its ``Holder`` decides.

Theory. The holder is the machine; what is here has no rule of its own but one: each call to the bus
names the lease that it is for, and what it brings counts only while the holder has that lease.
Every call is a task of its own, and there are few at a time: one for the lease, one that says where
the latest snapshot is. One more publishes message by message for as long as the lease lasts. The
account is another task, which opens it, waits for its end and closes it.

The events of the account come through the tap of its core, in the very call that brought them, so
that the holder can ask for a snapshot of the account as they have left it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from topone_asyncio._feed import Condition
from topone_proto import FeedFailed, FeedMetrics
from topone_proto.account import Snapshot
from topone_proto.relay import (
    Acquire,
    CloseAccount,
    Holder,
    LeaseEnded,
    OpenAccount,
    Publish,
    RelayAction,
    RelayConfig,
    RelayStep,
    Release,
    Renew,
)
from topone_relay._bus import Bus, BusRefused, BusUnavailable, Fenced, Lease
from topone_relay._entry import AccountEntry
from topone_relay._following import Followed, OpenEntry, Tell
from topone_relay._happenings import AccountFailed
from topone_relay._pace import Pace
from topone_relay._store import BusStore

__all__ = ["Keeper"]

_FIRST_WAIT: Final = 60.0
_LONGEST_WAIT: Final = 900.0


class Keeper:
    """One account on one node.

    Args:
        entry: the account.
        bus: where it is published.
        node: the name of the node.
        config: every number.
        open_entry: opens the account.
        pace: spreads the opening of many accounts.
        report: is told what happens, to the lease and to the account.
        answered: is told of each call to the bus: None if it was answered, or the problem.
    """

    def __init__(
        self,
        entry: AccountEntry,
        bus: Bus,
        *,
        node: str,
        config: RelayConfig,
        open_entry: OpenEntry,
        pace: Pace,
        report: Callable[[str, object], object],
        answered: Callable[[str | None], object],
    ) -> None:
        self.entry: AccountEntry = entry
        """The account."""
        self.holder: Holder = Holder(entry.name, config=config, snapshot=self._snapshot)
        """The machine, to look at."""
        self.not_before: float = 0.0
        """The time from which this node may hold the account, after it has failed here."""
        self.problem: str = ""
        """The reason why the account has failed here; empty if it has not."""
        self._bus = bus
        self._node = node
        self._config = config
        self._open_entry = open_entry
        self._pace = pace
        self._report = report
        self._answered = answered
        self._store = BusStore(bus, entry.name, entry.local)
        self._lease: Lease | None = None
        self._followed: Followed | None = None
        self._following: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._tell: Tell | None = None
        # One for each message would take longer to begin.
        self._publishing: asyncio.Task[None] | None = None
        self._message: Publish | None = None
        """The message that is to be published."""
        self._message_came = Condition()
        # The snapshot that late joiners are to be shown: its number and place.
        self._to_point: tuple[Lease, int, str] | None = None
        self._is_pointing = False
        self._failures = 0
        self._has_settled = asyncio.Event()
        self.is_wanted: bool = False
        """True while this node holds the account or tries to."""
        self.leases: int = 0
        """The number of leases that were acquired."""
        self.messages: int = 0
        """The number of messages that were published."""
        self.published_at: float | None = None
        """The time of the latest of them; None if there was none."""

    # What the node asks for.

    def take_up(self) -> None:
        """Try to hold the account from now on."""
        self.is_wanted = True
        self._take(self.holder.start(self._loop.time()))

    def hand_over(self) -> None:
        """Publish what waits, release the lease and close the account, or try no longer to hold
        it."""
        self.is_wanted = False
        self._take(self.holder.release(self._loop.time()))

    async def idle(self) -> None:
        """Return when the account is not held, and nothing is under way any more."""
        while self._tasks or self._lease is not None:
            self._has_settled.clear()
            await self._has_settled.wait()

    def abort(self) -> None:
        """Cancel what is under way, and forget the lease."""
        self._wind(None)
        self._forget_lease()
        for task in self._tasks:
            task.cancel()

    @property
    def is_held(self) -> bool:
        """True while this node has the lease, and is sure of that."""
        return self.holder.is_held

    @property
    def feed(self) -> FeedMetrics | None:
        """The metrics of the account; None while it is not open."""
        return None if self._followed is None else self._followed.metrics()

    @property
    def is_whole(self) -> bool | None:
        """True if all of the account is known; None if it is not held, and for market data."""
        if not self.is_held or self.entry.is_market:
            return None
        return self._followed is not None and bool(self._followed.is_whole)

    # Steps of the holder.

    def _take(self, step: RelayStep) -> None:
        for event in step.events:
            self._report(self.entry.name, event)
            if isinstance(event, LeaseEnded):
                self._forget_lease()
        for action in step.actions:
            self._carry_out(action)
        self._wind(step.deadline)

    def _carry_out(self, action: RelayAction) -> None:
        match action:
            case Acquire():
                _ = self._spawn(self._acquire())
            case Renew() if self._lease is not None:
                _ = self._spawn(self._renew(self._lease))
            case Publish() if self._lease is not None:
                self._message = action
                self._message_came.notify_all()
            case Release(epoch=epoch):
                _ = self._spawn(self._release(Lease(self.entry.name, self._node, epoch)))
            case OpenAccount():
                self._following = self._spawn(self._follow(self._following))
            case CloseAccount():
                self._close()
            case _:
                # Of a lease that has ended.
                pass

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._has_settled.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of the program, in one account of many: the others go on.
            self._loop.call_exception_handler(
                {"message": f"account {self.entry.name}", "exception": error, "task": task}
            )

    def _wind(self, deadline: float | None) -> None:
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._take(self.holder.deadline_reached(self._loop.time()))

    # The lease.

    async def _acquire(self) -> None:
        try:
            lease = await self._bus.acquire(self.entry.name, self._node, self._config.ttl)
        except (BusUnavailable, BusRefused) as error:
            self._answered(str(error))
            self._take(self.holder.acquire_failed(str(error), self._loop.time()))
            return
        self._answered(None)
        if lease is None:
            self._take(self.holder.not_acquired(self._loop.time()))
        else:
            self._lease = lease
            self.leases += 1
            self._publishing = self._spawn(self._publish_all(lease))
            self._take(self.holder.acquired(lease.epoch, self._loop.time()))

    async def _renew(self, lease: Lease) -> None:
        try:
            is_renewed = await self._bus.renew(lease)
        except (BusUnavailable, BusRefused) as error:
            self._answered(str(error))
            if self._lease is lease:
                self._take(self.holder.renewal_failed(str(error), self._loop.time()))
            return
        self._answered(None)
        if self._lease is not lease:
            return
        now = self._loop.time()
        self._take(self.holder.renewed(now) if is_renewed else self.holder.renewal_refused(now))

    async def _release(self, lease: Lease) -> None:
        # It runs out by itself otherwise.
        with suppress(BusUnavailable, BusRefused):
            await self._bus.release(lease)

    def _forget_lease(self) -> None:
        self._lease = self._message = self._to_point = None
        self._has_settled.set()
        if self._publishing is not None:
            # Whether it has arrived does not matter any more.
            self._publishing.cancel()
            self._publishing = None

    # Messages.

    async def _publish_all(self, lease: Lease) -> None:
        """Publish what the holder asks for under a lease."""
        # A bus may forget that this was cancelled, and what comes next is of another lease.
        while self._lease is lease:
            if self._message is None:
                await self._message_came.wait()
                continue
            message, self._message = self._message, None
            await self._publish(lease, message)

    async def _publish(self, lease: Lease, message: Publish) -> None:
        try:
            place = await self._bus.publish(lease, message.number, message.data)
        except Fenced:
            self._answered(None)
            self._take(self.holder.fenced(self._loop.time(), message))
        except (BusUnavailable, BusRefused) as error:
            self._answered(str(error))
            self._take(self.holder.publish_failed(str(error), self._loop.time(), message))
        else:
            now = self._loop.time()
            self._answered(None)
            self.messages += 1
            self.published_at = now
            if message.has_snapshot:
                self._to_point = (lease, message.number, place)
                if not self._is_pointing:
                    _ = self._spawn(self._point())
            self._take(self.holder.published(now, message))

    async def _point(self) -> None:
        """Say where the latest snapshot is, until that has succeeded."""
        self._is_pointing = True
        try:
            while self._to_point is not None:
                target = self._to_point
                try:
                    await self._bus.point(*target)
                except (BusUnavailable, BusRefused):
                    await asyncio.sleep(self._config.retry_interval)
                    continue
                except Fenced:
                    pass
                if self._to_point is target:
                    self._to_point = None
        finally:
            self._is_pointing = False

    # The account.

    async def _follow(self, before: "asyncio.Task[None] | None") -> None:
        """Open the account, and wait for its end."""
        if before is not None and not before.done():
            # It may still be closing.
            await asyncio.wait({before})
        await self._pace.turn()
        tell = self._tell = self._teller()
        failure = None
        try:
            async with self._open_entry(self.entry, self._store, tell) as followed:
                self._followed = followed
                await followed.run()
        except FeedFailed as error:
            failure = error.failure
        finally:
            if self._tell is tell:
                self._followed = self._tell = None
        now = self._loop.time()
        if failure is not None:
            wait = min(_FIRST_WAIT * 2**self._failures, _LONGEST_WAIT)
            self._failures += 1
            self.is_wanted, self.not_before, self.problem = False, now + wait, str(failure)
            self._report(self.entry.name, AccountFailed(self.entry.name, failure, wait))
        self._take(self.holder.account_ended(failure, now))

    def _teller(self) -> Tell:
        def tell(events: tuple[Any, ...]) -> None:
            if self._tell is not tell:
                return
            for event in events:
                self._report(self.entry.name, event)
            if self._failures and self.is_whole:
                self._failures, self.problem = 0, ""
            self._take(self.holder.told(events, self._loop.time()))

        return tell

    def _close(self) -> None:
        self._followed = self._tell = None
        if self._following is not None:
            self._following.cancel()

    def _snapshot(self) -> Snapshot | None:
        return None if self._followed is None else self._followed.snapshot()
