"""One account on one machine: whether it is followed here, and what is published of it.

Theory. The states, and what moves them::

    idle ── start ──> trying ── acquired ──> holding ── the lease runs out ──> unsure
      ^                 ^  ^                  │  │  ^                           │  │
      │                 │  └──── fenced ──────┘  │  └──────── renewed ──────────┘  │
      │                 └────────── renewal_refused, or unsure for too long ───────┘
      └── idle again <── nothing waits any more ── releasing <── release, account_ended

- *Trying*: another machine has the lease, or nobody. It is asked for every ``acquire_interval``.
- *Holding*: the lease is renewed every ``renew_interval``, and messages are published while
  ``now`` is before its end by this machine's own clock, ``Lease.usable_until``.
- *Unsure*: that end has passed without an answer of the bus. Nothing is published. What is told
  waits, within the publisher's bounds, and the account stays open for ``keep_open``: if the bus is
  away for everybody, nobody else follows it. If the bus grants a renewal after all, the epoch goes
  on where it was. If it refuses one, a new lease is asked for at once, and the account is closed
  only if another machine has that.
- *Releasing*: consumers are told that the account is not followed, what waits is published, and
  the lease is given back. The account is closed at once, so that the exchange sees one connection.

The clock is never enough: a machine can stop at any moment, and go on after its lease has ended
with a message under way. That message is refused by the bus (``fenced``), since the new holder's
first one came before it.

Invariants:

- A message is handed out for publishing only while the lease can be used, and one at a time.
- At most one request about the lease is under way.
- The account is open only from ``OpenAccount`` to ``CloseAccount``, at most one at a time; while
  this machine has no lease, it is closed once another machine has it.
- After ``LeaseEnded`` nothing that is under way for that lease is waited for.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from topone_proto._checks import check_time, of_kind, or_default
from topone_proto.account import Snapshot
from topone_proto.errors import ConfigurationError
from topone_proto.failures import Failure, FailureKind
from topone_proto.relay._actions import (
    Acquire,
    CloseAccount,
    HolderEvent,
    LeaseAcquired,
    LeaseEnded,
    LeaseUnsure,
    OpenAccount,
    Publish,
    RelayAction,
    RelayStep,
    Release,
    Renew,
)
from topone_proto.relay._config import RelayConfig
from topone_proto.relay._lease import Lease
from topone_proto.relay._publisher import Publisher

__all__ = ["Holder", "HolderState"]

_HANDED_OVER: Final = Failure(FailureKind.CLOSED, "the machine that follows it releases it")


class HolderState(Enum):
    """The state of an account on one machine."""

    IDLE = "idle"
    """It is not wanted here."""
    TRYING = "trying"
    """It is wanted, and the lease is asked for."""
    HOLDING = "holding"
    """It is followed here, and published."""
    UNSURE = "unsure"
    """It was, until the lease ran out because the bus does not answer."""
    RELEASING = "releasing"
    """It is handed over: the rest is published, and then the lease is given back."""


# A tuple: a set would take the state's hash, which enum computes in Python.
_HELD: Final = (HolderState.HOLDING, HolderState.RELEASING)


class _Caused:
    def __init__(self) -> None:
        self.events: list[HolderEvent] = []
        self.actions: list[RelayAction] = []


class Holder:
    """One account on one machine; see the theory of its module.

    Call ``start``, or ``release`` to hand the account over. Carry out the actions of every step in
    order, report each one's end by the input that it names, and call ``deadline_reached`` when the
    deadline comes first. Every time is of one clock that never goes back.

    ::

        step = holder.start(time.monotonic())
        for action in step.actions:
            match action:
                case Acquire(account):
                    start_soon(acquire, account)  # and call acquired, not_acquired, acquire_failed
                case Publish(account, epoch, number, data):
                    start_soon(publish, action)  # and call published, publish_failed or fenced
                case OpenAccount(account):
                    start_soon(follow, account)  # and call told and account_ended
                case _:
                    ...

    Args:
        account: the account's name on the bus.
        config: every number.
        snapshot: returns the account as it is after the events that were told last, or None while
            it is not whole: ``Account.snapshot``.

    Raises:
        ConfigurationError: an argument is of a wrong kind.
    """

    def __init__(
        self,
        account: str,
        *,
        config: RelayConfig | None = None,
        snapshot: Callable[[], Snapshot | None],
    ) -> None:
        if not of_kind(account, str, "account"):
            raise ConfigurationError(
                setting="account", problem="its name is empty", remedy='use a name such as "main"'
            )
        self.account: str = account
        """The account's name on the bus."""
        self.state: HolderState = HolderState.IDLE
        """The present state."""
        self.failure: Failure | None = None
        """The reason why the account ended by itself; None if it has not since ``start``."""
        self._config = or_default(config, RelayConfig, "config")
        self._lease = Lease(self._config)
        self._publisher = Publisher(account, self._config, snapshot)
        self._is_open = False
        self._is_wanted = False
        self._acquire_at = 0.0
        self._unsure_since = 0.0

    # --- to read --------------------------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """The number of the lease that this machine has, or had when it was last sure; None without
        one."""
        return self._lease.epoch

    @property
    def is_held(self) -> bool:
        """True while this machine has the lease, and is sure of that."""
        return self.state in _HELD

    @property
    def is_open(self) -> bool:
        """True if the account is to be open here."""
        return self._is_open

    @property
    def waiting(self) -> int:
        """The number of items that wait to be published."""
        return self._publisher.waiting

    @property
    def dropped(self) -> int:
        """The number of items that were dropped so far because too many waited."""
        return self._publisher.dropped

    # --- inputs of the node ---------------------------------------------------------------------

    def start(self, now: float) -> RelayStep:
        """The account is wanted here: get the lease as soon as nobody has it. While it is released,
        that is completed first. Idempotent."""
        check_time(now)
        self.failure = None
        self._is_wanted = True
        if self.state is HolderState.IDLE:
            self.state = HolderState.TRYING
            self._acquire_at = now
        return self._settle(_Caused(), now)

    def release(self, now: float) -> RelayStep:
        """The account is not wanted here any more: hand it over. Idempotent."""
        check_time(now)
        self._is_wanted = False
        caused = _Caused()
        match self.state:
            case HolderState.HOLDING:
                self.state = HolderState.RELEASING
                self._publisher.end_feed(_HANDED_OVER)
                self._close(caused)
            case HolderState.UNSURE:
                self._end("it was released while the bus did not answer", caused, gives_back=True)
                self._close(caused)
                self.state = HolderState.IDLE
            case HolderState.TRYING:
                self._close(caused)
                self.state = HolderState.IDLE
            case _:
                pass
        return self._settle(caused, now)

    # --- answers about the lease ----------------------------------------------------------------

    def acquired(self, epoch: int, now: float) -> RelayStep:
        """The lease was granted (``Acquire``)."""
        caused = _Caused()
        self._lease.granted(epoch)
        if self.state is not HolderState.TRYING or not self._lease.is_usable(now):
            # Not wanted any more, or the answer took so long that the lease is about to end.
            self._end("it was granted too late", caused, gives_back=True)
            self._acquire_at = now + self._config.acquire_interval
            return self._settle(caused, now)
        self.state = HolderState.HOLDING
        caused.events.append(LeaseAcquired(self.account, epoch))
        self._publisher.open(epoch, now)
        self._publish(caused, now)
        if not self._is_open:
            self._is_open = True
            caused.actions.append(OpenAccount(self.account))
        return self._settle(caused, now)

    def not_acquired(self, now: float) -> RelayStep:
        """Another machine has the lease (``Acquire``)."""
        caused = _Caused()
        self._lease.is_asked = False
        self._acquire_at = now + self._config.acquire_interval
        self._close(caused)
        return self._settle(caused, now)

    def acquire_failed(self, detail: str, now: float) -> RelayStep:
        """The bus did not answer whether the lease is granted (``Acquire``)."""
        del detail  # for those who read a recording of these calls
        self._lease.is_asked = False
        self._acquire_at = now + self._config.acquire_interval
        return self._settle(_Caused(), now)

    def renewed(self, now: float) -> RelayStep:
        """The lease was renewed (``Renew``)."""
        caused = _Caused()
        epoch = self._lease.epoch
        if epoch is None or not self._lease.is_asked:
            return self._settle(caused, now)
        self._lease.granted(epoch)
        if self.state is HolderState.UNSURE and self._lease.is_usable(now):
            self.state = HolderState.HOLDING
            caused.events.append(LeaseAcquired(self.account, epoch))
        return self._settle(caused, now)

    def renewal_refused(self, now: float) -> RelayStep:
        """The lease has ended, or another machine has it (``Renew``)."""
        caused = _Caused()
        if self._lease.epoch is not None and self._lease.is_asked:
            self._lose("the bus refused to renew it", caused, now)
        return self._settle(caused, now)

    def renewal_failed(self, detail: str, now: float) -> RelayStep:
        """The bus did not answer whether the lease is renewed (``Renew``)."""
        del detail  # as above
        if self._lease.epoch is not None and self._lease.is_asked:
            self._lease.failed(now)
        return self._settle(_Caused(), now)

    # --- answers about messages -----------------------------------------------------------------

    def published(self, now: float, message: Publish | None = None) -> RelayStep:
        """The bus has taken the message (``Publish``), now or when it came before.

        Args:
            now: the time.
            message: the message, if the driver cannot promise to report nothing of a lease that has
                ended: of such a message nothing is believed.
        """
        if self._publisher.is_under_way(message):
            self._publisher.published()
        return self._settle(_Caused(), now)

    def publish_failed(self, detail: str, now: float, message: Publish | None = None) -> RelayStep:
        """It is unknown whether the message has arrived (``Publish``): it will come again."""
        del detail  # as above
        if self._publisher.is_under_way(message):
            self._publisher.failed(now)
        return self._settle(_Caused(), now)

    def fenced(self, now: float, message: Publish | None = None) -> RelayStep:
        """The bus has refused the message, since a newer holder has published (``Publish``)."""
        caused = _Caused()
        if self._lease.epoch is not None and self._publisher.is_under_way(message):
            self._lose("another machine has taken over", caused, now)
            self._acquire_at = now + self._config.acquire_interval
            self._close(caused)
        return self._settle(caused, now)

    # --- the account ----------------------------------------------------------------------------

    def told(self, events: Iterable[object], now: float) -> RelayStep:
        """The account has told these: the events of one step, in order, changes and reports among
        them. Call it before anything else is told to the account."""
        caused = _Caused()
        if self._is_open:
            caused.events += self._publisher.told(events, now)
        return self._settle(caused, now)

    def account_ended(self, failure: Failure | None, now: float) -> RelayStep:
        """The account has ended by itself, and cannot be followed here. It is handed over."""
        if not self._is_open:
            return self._settle(_Caused(), now)
        self._is_open = False
        self.failure = failure
        self._publisher.end_feed(failure or _HANDED_OVER)
        self._publisher.forget_account()
        return self.release(now)

    def deadline_reached(self, now: float) -> RelayStep:
        """The deadline of the latest step has come, or was put off."""
        return self._settle(_Caused(), now)

    # --- inside ---------------------------------------------------------------------------------

    def _settle(self, caused: _Caused, now: float) -> RelayStep:
        """Do everything that is due by now."""
        lease, config = self._lease, self._config
        is_usable = lease.is_usable(now)
        if self.state in _HELD and not is_usable:
            self._run_out(caused, now)
        if self.state is HolderState.UNSURE and now >= self._unsure_since + config.keep_open:
            self._lose("the bus did not answer for too long", caused, now)
            self._close(caused)
        if lease.epoch is not None and not lease.is_asked and now >= lease.renew_at:
            lease.sent(now)
            caused.actions.append(Renew(self.account, lease.epoch))
        if self.state in _HELD and is_usable:
            self._publish(caused, now)
        if self.state is HolderState.RELEASING and self._publisher.is_idle:
            self._end("it was released", caused, gives_back=True)
            self._finish_release(now)
        if self.state is HolderState.TRYING and not lease.is_asked and now >= self._acquire_at:
            lease.sent(now)
            caused.actions.append(Acquire(self.account))
        return RelayStep(tuple(caused.events), tuple(caused.actions), self._deadline())

    def _publish(self, caused: _Caused, now: float) -> None:
        message = self._publisher.next(now)
        if message is not None:
            caused.actions.append(message)

    def _run_out(self, caused: _Caused, now: float) -> None:
        """The lease cannot be used any more, by this machine's clock."""
        epoch = self._lease.epoch
        assert epoch is not None  # as long as it is held
        if self.state is HolderState.RELEASING:
            self._end("it ran out while it was released", caused, gives_back=True)
            self._finish_release(now)
            return
        self.state = HolderState.UNSURE
        self._unsure_since = now
        caused.events.append(LeaseUnsure(self.account, epoch))

    def _lose(self, reason: str, caused: _Caused, now: float) -> None:
        """The lease is lost. The account may stay open until another machine is known to have
        it."""
        self._end(reason, caused)
        if self.state is HolderState.RELEASING:
            self._finish_release(now)
        else:
            self.state = HolderState.TRYING
            self._acquire_at = now

    def _finish_release(self, now: float) -> None:
        """The lease is given back: it is for others to take, unless nobody does."""
        self.state = HolderState.TRYING if self._is_wanted else HolderState.IDLE
        self._acquire_at = now + self._config.acquire_interval

    def _end(self, reason: str, caused: _Caused, *, gives_back: bool = False) -> None:
        epoch = self._lease.epoch
        assert epoch is not None  # only what there is ends
        caused.events.append(LeaseEnded(self.account, epoch, reason))
        if gives_back:
            caused.actions.append(Release(self.account, epoch))
        self._lease.end()
        self._publisher.close()

    def _close(self, caused: _Caused) -> None:
        if self._is_open:
            self._is_open = False
            self._publisher.forget_account()
            caused.actions.append(CloseAccount(self.account))

    def _deadline(self) -> float | None:
        lease, state = self._lease, self.state
        until: float | None = None
        if state in _HELD:
            until = _earlier(lease.usable_until, self._publisher.deadline)
        elif state is HolderState.UNSURE:
            until = self._unsure_since + self._config.keep_open
        elif state is HolderState.TRYING and not lease.is_asked:
            until = self._acquire_at
        if lease.epoch is not None and not lease.is_asked:
            until = _earlier(lease.renew_at, until)
        return until


def _earlier(time: float, other: float | None) -> float:
    return time if other is None or time <= other else other
