"""Ways in which an account that heals itself could be wrong, each as a patch: what the simulation
has to notice with such an account in every scenario."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import attrs

from simulation.mutants import Mutant, Mutate, _around, _patched
from topone_proto.account import AccountSession, _kept_orders, _requests
from topone_proto.account._account import Account
from topone_proto.account._budget import OrderBudget
from topone_proto.account._forgotten import Forgotten
from topone_proto.account._healing import Healer
from topone_proto.account._ledger import Ledger
from topone_proto.account._missed import MissedOrders
from topone_proto.account._orders import Orders
from topone_proto.account._passes import ListPass, LookupPass
from topone_proto.account._stored import Store
from topone_proto.account._tokens import SuppliedTokens
from topone_proto.account._waits import Waits
from topone_proto.account._work import Caused
from topone_proto.account.token_service import FetchNewToken, TokenService, TokenState, TokenStep
from topone_proto.testing.simulation.accounts.process import Life
from topone_proto.wire.orders import Order, OrderStatus

ACCOUNT_MUTANTS: list[Mutant] = []


def account_mutant(*rules: str, seeds: int = 40) -> Callable[[Mutate], Mutate]:
    """A patch that breaks one of ``rules`` within the first so many seeds with an account."""

    def register(mutate: Mutate) -> Mutate:
        ACCOUNT_MUTANTS.append(Mutant(mutate.__name__, mutate, frozenset(rules), range(seeds)))
        return mutate

    return register


# --- I8: whole means right ------------------------------------------------------------------------


@account_mutant("I8")
def a_gap_leaves_an_account_whole() -> AbstractContextManager[Any]:
    return patch.object(Ledger, "_mark_stale", lambda *_: ())


@account_mutant("I8")
def the_first_page_is_the_whole_list() -> AbstractContextManager[Any]:
    def take(original: Any, self: ListPass, response: Any) -> bool:
        original(self, response)
        return True

    return _around(ListPass, "take", take)


@account_mutant("I8", "I11", seeds=200)
def what_the_stream_leaves_out_is_never_found() -> AbstractContextManager[Any]:
    def refresh(_: Any, self: Healer, now: float) -> None:
        self._retries.resume(now)

    removal = ExitStack()
    removal.enter_context(patch.object(Healer, "_audit", lambda *_: None))
    removal.enter_context(_around(Healer, "refresh", refresh))
    return removal


@account_mutant("I8", "I11", seeds=60)
def a_list_is_not_refuted_by_what_crossed_it() -> AbstractContextManager[Any]:
    return patch.object(Ledger, "_is_crossed", lambda *_: False)


# --- I9: budgets ----------------------------------------------------------------------------------


@account_mutant("I9")
def a_token_is_asked_for_before_that_is_stored() -> AbstractContextManager[Any]:
    def wanted(original: Any, self: TokenService, wall: float) -> Any:
        step = original(self, wall)
        if not self._is_reserving:
            return step
        self._is_reserving, self._sent_at = False, wall
        return TokenStep(step.token, (FetchNewToken(),), step.deadline)

    return _around(TokenService, "wanted", wanted)


@account_mutant("I9")
def a_token_is_asked_for_at_every_failure() -> AbstractContextManager[Any]:
    def failed(original: Any, self: TokenService, error: Any, wall: float, **more: Any) -> Any:
        original(self, error, wall, **more)
        self._state = attrs.evolve(self._state, not_before=wall + 1.0)
        self._held_until = None
        return self.wanted(wall)

    return _around(TokenService, "failed", failed)


@account_mutant("I9")
def order_calls_have_no_budget() -> AbstractContextManager[Any]:
    return patch.object(OrderBudget, "free_at", lambda _, now, __: now)


@account_mutant("I9", seeds=200)
def order_calls_of_others_are_not_counted() -> AbstractContextManager[Any]:
    return patch.object(OrderBudget, "merge", lambda *_: None)


@account_mutant("I9", seeds=150)
def a_block_of_order_calls_is_ignored() -> AbstractContextManager[Any]:
    return patch.object(OrderBudget, "block", lambda *_: None)


@account_mutant("I9", seeds=60)
def tokens_of_the_application_clear_the_stored_budget() -> AbstractContextManager[Any]:
    return patch.object(SuppliedTokens, "state", TokenState())


# --- I10: whole again -----------------------------------------------------------------------------


@account_mutant("I10")
def a_question_that_failed_is_not_asked_again() -> AbstractContextManager[Any]:
    return patch.object(Account, "retry", lambda *_: None)


@account_mutant("I10")
def a_write_that_failed_is_not_tried_again() -> AbstractContextManager[Any]:
    def failed(original: Any, self: Store, _: float) -> Any:
        return original(self, 1e9)

    return _around(Store, "failed", failed)


@account_mutant("I10", seeds=200)
def a_request_without_an_end_is_waited_for() -> AbstractContextManager[Any]:
    def failed(original: Any, self: AccountSession, number: int, failure: Any, now: float) -> Any:
        if failure.kind.value == "timeout":
            return self._settle(Caused(), now)
        return original(self, number, failure, now)

    removal = ExitStack()
    removal.enter_context(_around(AccountSession, "fetch_failed", failed))
    removal.enter_context(patch.object(_requests, "GRACE", 1e6))
    return removal


@account_mutant("I10", "quiet")
def a_driver_forgets_what_another_process_stored() -> AbstractContextManager[Any]:
    def stored(original: Any, self: Life, found: Any) -> Any:
        if found is None:
            original(self, found)

    return _around(Life, "_stored", stored)


# --- I15: every fill is told ----------------------------------------------------------------------


@account_mutant("I15")
def what_was_made_and_closed_unseen_is_not_asked_for() -> AbstractContextManager[Any]:
    return patch.object(Account, "history_query", None)


@account_mutant("I15")
def what_was_made_and_closed_unseen_is_not_told() -> AbstractContextManager[Any]:
    return patch.object(MissedOrders, "includes", lambda *_: False)


@account_mutant("I15", seeds=200)
def what_only_an_answer_told_hides_what_was_missed() -> AbstractContextManager[Any]:
    def heal(original: Any, self: Orders, order: Any, position: int) -> Any:
        self._missed.heard(order.id)
        return original(self, order, position)

    return _around(Orders, "_heal", heal)


# --- quiet: a wait is said ------------------------------------------------------------------------


@account_mutant("quiet", seeds=200)
def a_wait_for_a_budget_is_not_said() -> AbstractContextManager[Any]:
    return patch.object(Waits, "found", lambda *_: ())


# --- I11: nothing is invented ---------------------------------------------------------------------


@account_mutant("I11", "I8", "I15")
def what_is_not_listed_was_cancelled() -> AbstractContextManager[Any]:
    def accept(original: Any, self: Any, query: Any, found: Any, position: Any) -> Any:
        for number in self._listable() - found if isinstance(self, Orders) else ():
            known = self.find(number)
            assert known is not None
            self._put(attrs.evolve(known, status=OrderStatus.CANCELED), None, position)
        return original(self, query, found, position)

    return _around(Ledger, "_accept_list", accept)


@account_mutant("I11")
def the_end_of_a_forgotten_order_is_told_again() -> AbstractContextManager[Any]:
    return patch.object(Forgotten, "has_ended", lambda *_: False)


@account_mutant("I11")
def a_forgotten_order_counts_as_missed() -> AbstractContextManager[Any]:
    return patch.object(Forgotten, "__contains__", lambda *_: False)


@account_mutant("I11")
def a_fill_is_told_as_all_that_is_filled() -> AbstractContextManager[Any]:
    def fill(original: Any, before: Any, after: Order, *, healed: bool) -> Any:
        fills = original(before, after, healed=healed)
        return tuple(attrs.evolve(f, deal_stock=after.deal_stock) for f in fills)

    return _patched(_kept_orders, "fill_between", fill)


@account_mutant("I11", "I8", seeds=200)
def an_order_in_the_open_list_is_not_filled_yet() -> AbstractContextManager[Any]:
    def take(original: Any, self: ListPass, response: Any) -> bool:
        is_last: bool = original(self, response)
        self.rows = [attrs.evolve(row, deal_stock=Decimal(0)) for row in self.rows]
        return is_last

    return _around(ListPass, "take", take)


@account_mutant("I11", "I8", seeds=200)
def whatever_has_ended_was_completed() -> AbstractContextManager[Any]:
    def take(original: Any, self: LookupPass, response: Any) -> bool:
        is_last: bool = original(self, response)
        closed = [row for row in self._found if row.is_closed]
        for row in closed:
            self._found.remove(row)
            self._found.append(attrs.evolve(row, status=OrderStatus.COMPLETED))
        return is_last

    return _around(LookupPass, "take", take)
