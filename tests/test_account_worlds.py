"""Random lives of an account session, judged by the exchange: what is whole is right (I8), budgets
are kept by any number of processes and restarts (I9), after the faults it is whole again within a
bound (I10), and nothing is invented (I11).

As a program it runs more of them: ``python tests/test_account_worlds.py 10000``.
"""

import sys
from random import Random
from typing import Any

import pytest

from http_exchange import World
from topone_proto.account import AccountConfig
from topone_proto.exchange import ErrorForm, MarkForm, NumberForm, TimeName, ZeroForm

AUDIT_INTERVAL = 300.0
CONFIG = AccountConfig(audit_interval=AUDIT_INTERVAL)

MILD = ("503", "429", "hang", "reset", "cut", "html", "10005")
HARD = ("bare429", "10003", "10027")


def bound(world_has: set[str]) -> float:
    """Seconds after the last fault within which the account is whole: the longest wait that can
    have begun before, and three minutes for dialling and asking."""
    longest = CONFIG.retry_cap
    if world_has & {*HARD, "token", "restarts"}:
        # A block, spread.
        longest = 1.5 * CONFIG.token_block + CONFIG.token_interval
    return longest + 180.0


class Life:
    """The life of one world, by one number."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = Random(seed)
        self.has: set[str] = set()
        self.may_expire_at = self.may_report_at = 0.0
        self.world = World(
            seed,
            page_cap=(cap := rng.choice((2, 5, 100, 500))),
            cuts_large_pages=cap <= 20 or rng.random() >= 0.3,
            lag=rng.choice((0.0, 0.0, 1.0, 1.9)),
            history_delay=rng.choice((0.0, 0.0, 5.0, 40.0)),
            clock_ahead=(ahead := rng.choice((0.0, 0.0, 0.0, 3600.0, -3600.0))),
            has_date=bool(ahead) or rng.random() < 0.7,
            token_life=rng.choice((7200.0, 7200.0, 400.0)),
            kills_old_tokens=rng.random() < 0.2,
            lacks=frozenset(rng.sample(range(1, 30), rng.choice((0, 0, 0, 3)))),
            error_form=rng.choice(tuple(ErrorForm)),
            has_statuses=rng.random() < 0.3,
            has_status=rng.random() < 0.3,
            has_left=rng.random() < 0.3,
            numbers=rng.choice(tuple(NumberForm)),
            zeros=rng.choice(tuple(ZeroForm)),
            finish_name=rng.choice(tuple(TimeName)),
            marks=rng.choice(tuple(MarkForm)),
            has_no_break_spaces=rng.random() < 0.2,
        )
        if self.world.exchange.clock_ahead or self.world.exchange.config.token_life < 7200:
            self.has.add("token")
        self.next_order = 1
        for _ in range(rng.randint(0, 12)):
            self.trade()
        self.clients = [self.world.client()]
        if rng.random() < 0.2:
            self.has.add("restarts")
            self.world.after(rng.random() * 100, self.add)

    def add(self) -> None:
        self.clients.append(self.world.client())

    def trade(self) -> None:
        exchange, rng = self.world.exchange, self.rng
        is_open = [number for number, order in exchange.orders.items() if order.is_open]
        what = rng.random()
        if not is_open or what < 0.4:
            exchange.open(self.next_order)
            self.next_order += 1
        elif what < 0.75:
            exchange.fill(rng.choice(is_open), rng.choice((1, 2, 10)))
        elif what < 0.95:
            exchange.cancel(rng.choice(is_open))
        else:
            exchange.set_balance(rng.choice(("BTC", "ETH", "TOP")), rng.randint(0, 1000))

    def drop(self) -> None:
        for client in tuple(self.world.clients):
            client.drop()

    def restart(self) -> None:
        """A process is killed at any moment, and starts again."""
        self.has.add("restarts")
        index = self.rng.randrange(len(self.clients))
        self.clients[index].kill()
        self.clients[index] = self.world.client()

    def fault(self) -> None:
        kind = self.rng.choice(MILD if self.rng.random() < 0.8 else HARD)
        where = self.rng.choice(("/", "/t/", "order", "balance", "token"))
        until = self.world.now + self.rng.choice((1.0, 20.0, 200.0))
        self.world.exchange.fault(kind, until, where)
        if kind in HARD or where in {"/", "token"}:
            self.has.add("token")

    def expire(self) -> None:
        """Every token ends. Not twice in a row, since a fresh token that is refused as well is the
        end."""
        if self.world.now >= self.may_expire_at:
            self.may_expire_at = self.world.now + 300.0
            self.has.add("token")
            self.world.exchange.expire()

    def full_disk(self) -> None:
        self.has.add("token")
        self.world.place.works = False
        # What the other processes cannot be told they cannot know.
        self.may_report_at = self.world.now + 60.0 + CONFIG.retry_cap + 1.0
        self.world.after(self.rng.random() * 60, self.empty_disk)

    def empty_disk(self) -> None:
        self.world.place.works = True

    def leave_out(self) -> None:
        """The stream leaves out updates of a topic, without a sign."""
        self.has.add("losses")
        self.world.is_stream_lossy = True
        self.world.exchange.drops = self.rng.choice(("orders", "balance"))
        self.world.after(self.rng.random() * 20, self.leave_out_nothing)

    def leave_out_nothing(self) -> None:
        self.world.exchange.drops = ""

    def set_clock(self) -> None:
        """Back only: no other process can know that one was set forward."""
        if self.world.exchange.config.has_date:
            self.has.add("token")
            self.world.wall_ahead -= self.rng.choice((30.0, 7200.0))

    def refresh(self) -> None:
        for client in tuple(self.world.clients):
            client.feed(client.machine.refresh)

    def user_calls(self) -> None:
        """The application places orders, in one process: the others share its store. It leaves
        some of the budget, since it does not ask before."""
        client, now = self.clients[0], self.world.now
        recent = [at for at in self.world.exchange.order_calls if now - at < 60.0]
        if len(recent) <= 6 and now >= self.may_report_at:
            self.world.exchange.application_calls(2)
            client.feed(lambda now: client.machine.order_calls_made(2, now))
            # A process that is killed before it has stored what it was told has not stored it.
            self.world.run(0.2)

    def run(self) -> None:
        rng, world = self.rng, self.world
        things = [self.trade] * 12 + [self.drop] * 2 + [self.fault] * 3
        things += [self.restart, self.expire, self.full_disk, self.refresh]
        things += [self.user_calls, self.set_clock] + [self.leave_out] * (self.rng.random() < 0.2)
        for _ in range(rng.randint(5, 60)):
            world.run(rng.choice((0.0, 0.1, 3.0, 3.0, 60.0)) * rng.random())
            rng.choice(things)()
        self.empty_disk()
        self.leave_out_nothing()
        world.run(max(0.0, world.exchange.faulty_until - world.now))
        if not world.exchange.violations:
            self.settle()
        assert world.exchange.violations == []

    def settle(self) -> None:
        world, clients = self.world, self.clients
        limit = bound(self.has)
        took = world.run(limit, lambda: all(client.is_whole for client in clients))
        assert took < limit, world.note()
        if "losses" in self.has:
            # The next audit, and the questions that it leads to. If its token has expired, each
            # process spends a request of the shared budget on finding out a clock that is wrong.
            clocks = 90.0 * len(clients) if world.exchange.clock_ahead else 0.0
            world.run(AUDIT_INTERVAL + 120.0 + clocks)
            world.is_stream_lossy = False
        world.run(1.0)
        for client in clients:
            assert not client.is_over
            client.check()


def random_life(seed: int) -> None:
    life: Any = None
    try:
        life = Life(seed)
        life.run()
    except Exception as error:
        error.add_note(f"seed {seed}, {life and life.has}")
        raise


@pytest.mark.parametrize("block", range(4))
def test_whatever_happens_it_is_right_keeps_to_its_budgets_and_becomes_whole(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        random_life(seed)


if __name__ == "__main__":
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 10**6
    for number in range(first, first + int(sys.argv[1])):
        random_life(number)
    sys.stdout.write(f"{sys.argv[1]} lives, and every one is right\n")
