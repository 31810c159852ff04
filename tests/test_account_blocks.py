"""A block by the exchange outlives the process that was told of it."""

from http_exchange import KEYS, START
from topone_proto.account import AccountSession, AccountStep, StoreState


def writes(step: AccountStep) -> list[StoreState]:
    return [action for action in step.actions if isinstance(action, StoreState)]


def test_a_block_that_comes_during_a_write_is_written_right_after_it() -> None:
    account = AccountSession(KEYS, jitter=lambda: 0.5, wall=lambda: START)
    [first] = writes(account.start(0.0))

    # Another write could overtake the one that is under way.
    assert writes(account.order_calls_blocked(0.0)) == []
    [second] = writes(account.state_stored(0.1))
    assert second.previous == first.state
    assert second.state.orders_not_before == START + 3600.0
