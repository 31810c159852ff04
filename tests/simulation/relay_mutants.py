"""Ways in which a relay could be wrong, each as a patch: what the simulation has to notice with one
in every scenario."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import attrs

from simulation.mutants import Mutant, Mutate, _around, _patched
from topone_proto.account._account import Account
from topone_proto.account._balances import Balances
from topone_proto.account._orders import Orders
from topone_proto.relay import Cursor, Holder, Publish, _publisher
from topone_proto.relay._lease import Lease
from topone_proto.relay._publisher import Publisher

RELAY_MUTANTS: list[Mutant] = []


def relay_mutant(*rules: str, seeds: int = 100) -> Callable[[Mutate], Mutate]:
    """A patch that breaks one of ``rules`` within the first so many seeds with a relay."""

    def register(mutate: Mutate) -> Mutate:
        RELAY_MUTANTS.append(Mutant(mutate.__name__, mutate, frozenset(rules), range(seeds)))
        return mutate

    return register


# --- I12: one writer ------------------------------------------------------------------------------


@relay_mutant("I12")
def a_lease_never_runs_out_by_its_holders_clock() -> AbstractContextManager[Any]:
    def granted(original: Any, self: Lease, epoch: int) -> None:
        original(self, epoch)
        self.usable_until = math.inf

    return _around(Lease, "granted", granted)


@relay_mutant("I12", seeds=300)
def a_request_that_was_not_answered_renews_the_lease() -> AbstractContextManager[Any]:
    def failed(original: Any, self: Lease, now: float) -> None:
        assert self.epoch is not None
        self.granted(self.epoch)
        original(self, now)

    return _around(Lease, "failed", failed)


@relay_mutant("I12")
def a_message_that_may_have_arrived_is_not_repeated() -> AbstractContextManager[Any]:
    return patch.object(Publisher, "failed", lambda self, _: self.published())


@relay_mutant("I12", "I13", seeds=300)
def a_message_is_repeated_with_what_has_come_since() -> AbstractContextManager[Any]:
    def following(original: Any, self: Publisher, now: float) -> Publish | None:
        message: Publish | None = original(self, now)
        if message is not None and message is getattr(self, "_before", None) and self._waiting:
            self._number -= 1
            message = self._message = self._compose()
        if message is not None:
            self._before = message  # type: ignore[attr-defined]  # for this patch only
        return message

    return _around(Publisher, "next", following)


@relay_mutant("I12")
def numbers_go_on_from_epoch_to_epoch() -> AbstractContextManager[Any]:
    def begin(original: Any, self: Publisher, epoch: int, now: float) -> None:
        number = self._number
        original(self, epoch, now)
        self._number = number

    return _around(Publisher, "open", begin)


# --- I13: once and in order, or a gap -------------------------------------------------------------


@relay_mutant("I13")
def a_hole_is_no_gap() -> AbstractContextManager[Any]:
    return patch.object(Cursor, "_gaps_of_all", lambda _: [])


@relay_mutant("I13")
def a_take_over_is_no_gap() -> AbstractContextManager[Any]:
    return patch.object(Cursor, "_close_gap", lambda *_: [])


@relay_mutant("I13")
def what_is_dropped_is_not_declared() -> AbstractContextManager[Any]:
    return _patched(_publisher, "difference", lambda *_: iter(()))


@relay_mutant("I13")
def a_position_is_that_before_its_event() -> AbstractContextManager[Any]:
    def placed(original: Any, self: Cursor, before: Any, after: Any, position: Any) -> Any:
        return [(event, position) for event, _ in original(self, before, after, position)]

    return _around(Cursor, "_placed", placed)


@relay_mutant("I13")
def a_repetition_is_news() -> AbstractContextManager[Any]:
    def received(original: Any, self: Cursor, data: bytes) -> Any:
        self._number = 0
        return original(self, data)

    return _around(Cursor, "received", received)


@relay_mutant("I13", seeds=300)
def a_part_of_a_snapshot_is_a_snapshot() -> AbstractContextManager[Any]:
    def take(original: Any, self: Cursor, item: Any, position: Any) -> Any:
        payload = {**item.payload, "part": 1, "parts": 1}
        return original(self, attrs.evolve(item, payload=payload), position)

    return _around(Cursor, "_take_part", take)


@relay_mutant("I13")
def an_order_that_a_snapshot_lacks_stays_open() -> AbstractContextManager[Any]:
    return patch.object(Orders, "_give_up", lambda *_: ())


@relay_mutant("I15")
def a_snapshot_tells_orders_and_not_their_fills() -> AbstractContextManager[Any]:
    def show(original: Any, self: Orders, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)[:1]

    return _around(Orders, "_show", show)


@relay_mutant("I13", seeds=300)
def a_gap_leaves_a_relayed_account_whole() -> AbstractContextManager[Any]:
    return patch.object(Account, "_miss", lambda *_: ())


@relay_mutant("I13")
def a_snapshot_has_no_balances() -> AbstractContextManager[Any]:
    return patch.object(Balances, "_replace", lambda *_: ())


@relay_mutant("I13", seeds=300)
def a_snapshot_is_taken_of_an_account_that_is_not_whole() -> AbstractContextManager[Any]:
    def taken(original: Any, self: Account) -> Any:
        for ledger in self._ledgers:
            ledger.knowledge = type(ledger.knowledge).WHOLE
        return original(self)

    return _around(Account, "snapshot", taken)


# --- I14: taken over in time ----------------------------------------------------------------------


@relay_mutant("I14")
def a_lease_is_asked_for_once() -> AbstractContextManager[Any]:
    def refused(original: Any, self: Holder, now: float) -> Any:
        step = original(self, now)
        self._acquire_at = math.inf
        return attrs.evolve(step, deadline=None)

    return _around(Holder, "not_acquired", refused)


@relay_mutant("I14", "I13", seeds=300)
def a_request_without_an_answer_is_waited_for() -> AbstractContextManager[Any]:
    def failed(original: Any, self: Holder, detail: str, now: float) -> Any:
        step = original(self, detail, now)
        self._acquire_at = math.inf
        return attrs.evolve(step, deadline=None)

    return _around(Holder, "acquire_failed", failed)


@relay_mutant("I14", "I13")
def a_lease_is_never_renewed() -> AbstractContextManager[Any]:
    def granted(original: Any, self: Lease, epoch: int) -> None:
        original(self, epoch)
        self.renew_at = math.inf

    return _around(Lease, "granted", granted)
