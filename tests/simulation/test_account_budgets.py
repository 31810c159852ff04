"""The judge of budgets: which blocks a process must know of, and which it cannot."""

from typing import Never

import pytest

from topone_proto.account import AccountConfig
from topone_proto.exchange import HttpConfig
from topone_proto.testing.simulation import Violation
from topone_proto.testing.simulation.accounts.budgets import Asker, Budgets
from topone_proto.wire.http import HttpResponse

TOKEN = "/u/v1/api/token"
BLOCKED = HttpResponse(429, b"")


def fail(who: str, rule: str, what: str) -> Never:
    raise Violation(rule, who, what, 0.0)


def budgets() -> Budgets:
    return Budgets(HttpConfig(), AccountConfig(), fail)


def test_a_process_knows_of_a_block_that_it_was_told_of() -> None:
    judge, asker = budgets(), Asker("P")
    judge.told(asker, TOKEN, BLOCKED, 10.0)
    with pytest.raises(Violation, match="told of a block until 3610"):
        judge.left(asker, TOKEN, 3600.0)
    judge.left(asker, "/t/v1/balance/query", 3600.0)
    judge.left(asker, TOKEN, 3610.0)


def test_a_block_that_comes_during_a_write_is_stored_by_the_next_one() -> None:
    judge, killed, restarted = budgets(), Asker("P"), Asker("P")
    before = tuple(killed.told)  # of a write that begins here
    judge.told(killed, TOKEN, BLOCKED, 10.0)
    judge.saved(killed, before, 10.1)
    judge.saved(restarted, (), 20.0)
    judge.left(restarted, TOKEN, 20.1)  # nobody could have known

    judge.saved(killed, tuple(killed.told), 20.2)
    judge.left(restarted, TOKEN, 20.3)  # its own latest write was before
    judge.saved(restarted, (), 20.4)
    with pytest.raises(Violation, match="P was told of a block"):
        judge.left(restarted, TOKEN, 20.5)
