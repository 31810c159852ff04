"""Accounts in threads: who reads and waits where, and what interrupts it. The rest is in
``test_open_account``, for all adapters."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from random import Random
from typing import Any

import attrs
import pytest

import topone_simulator
import topone_threads
from test_open_account import FAST, QUICK, SERVER, is_right, place, trade
from topone_proto import Closed, Conflated, FeedClosed, LocalProtocolError
from topone_proto.account import Account, AccountSession
from topone_proto.exchange import DropConnections, HangHttp
from topone_threads import _io
from waits import PATIENCE


@pytest.fixture
def simulator() -> Generator[topone_simulator.Simulator]:
    with topone_simulator.run_in_thread(http_config=SERVER) as simulator:
        yield simulator


def open_account(simulator: topone_simulator.Simulator, **more: Any) -> Any:
    arguments = {
        "url": simulator.url,
        "http_url": simulator.http_url,
        "cache": None,
        "config": FAST,
        "account_config": QUICK,
        **more,
    }
    keys = () if "token" in arguments else (simulator.credentials,)
    return topone_threads.open_account(*keys, **arguments)


def test_reads_in_four_threads_see_the_account_between_two_steps(
    simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []
    states: list[dict[int, Any]] = []
    seen: list[dict[int, Any]] = []
    in_steps: list[object] = []
    is_over = threading.Event()
    balances = Account.balances
    ways = ("message_received", "take_frame", "fetched")

    def taking(take: Any) -> Any:
        def take_slowly(machine: AccountSession, *arguments: Any) -> Any:
            steps.append(machine)
            step = take(machine, *arguments)
            # It is another thread's turn, in the middle of a step.
            time.sleep(0)
            states.append(dict(machine.account.open_orders().value))
            steps.pop()
            return step

        return take_slowly

    def balances_seen(account: Account) -> Any:
        in_steps.extend(steps)
        time.sleep(0)
        in_steps.extend(steps)
        return balances(account)

    def read() -> None:
        while not is_over.is_set():
            account.balances()
            orders = account.open_orders().value
            if not seen or seen[-1] != orders:
                seen.append(orders)

    for way in ways:
        monkeypatch.setattr(AccountSession, way, taking(getattr(AccountSession, way)))
    monkeypatch.setattr(Account, "balances", balances_seen)
    rng = Random(3)
    with open_account(simulator) as account:
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        account.wait_until_whole(PATIENCE)
        for _ in range(3):
            trade(simulator, rng, 30)
            simulator.inject(DropConnections())
            trade(simulator, rng, 10)
            account.refresh(PATIENCE)
        while not is_right(account, simulator.truth()):
            pass
        is_over.set()
        for reader in readers:
            reader.join()
    assert len(seen) > 3
    assert in_steps == []
    assert [orders for orders in seen if orders and orders not in states] == []


def test_waiting_gives_up_in_time(simulator: topone_simulator.Simulator) -> None:
    simulator.inject(HangHttp(times=None, path="/t/v1/"))
    with open_account(simulator) as account:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                account.wait_until_whole(timeout)
            with pytest.raises(TimeoutError):
                account.refresh(timeout)
        assert not account.is_whole


def test_a_ctrl_c_as_a_wait_begins_leaves_nobody_waiting(
    simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.inject(HangHttp(times=None, path="/t/v1/"))
    post = _io.IoThread.post
    interrupts = [KeyboardInterrupt]

    def post_interrupted(self: _io.IoThread, tenant: _io.Tenant, function: Any) -> None:
        post(self, tenant, function)
        if interrupts and threading.current_thread() is threading.main_thread():
            raise interrupts.pop()

    with open_account(simulator) as account:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(_io.IoThread, "post", post_interrupted)
            account.wait_until_whole()
        # Behind what that has asked for.
        account.order_calls_made(0)
        with account._lock:
            assert not account._core._waiting


def test_closing_ends_whoever_waits(simulator: topone_simulator.Simulator) -> None:
    ended = queue.SimpleQueue[BaseException]()
    simulator.inject(HangHttp(times=None, path="/t/v1/"))

    def wait() -> None:
        try:
            account.wait_until_whole()
        except FeedClosed as error:
            ended.put(error)

    with open_account(simulator) as account:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not account._sleeping:
            pass
    waiting.join(PATIENCE)
    assert isinstance(ended.get(timeout=PATIENCE), FeedClosed)
    # What can no longer be sent is no fault of the application's.
    account.order_calls_made()
    account.order_calls_blocked()
    for call in (account.wait_until_whole, account.refresh, lambda: account.give_up(1)):
        with pytest.raises(FeedClosed):
            call()


def test_an_account_that_was_not_entered_says_so(simulator: topone_simulator.Simulator) -> None:
    account: Any = open_account(simulator)
    for use in (account.get, account.wait_until_whole, account.refresh, lambda: account.give_up(1)):
        with pytest.raises(LocalProtocolError, match="use it in a with block"):
            use()
    assert not account.is_whole
    assert not account.metrics().is_whole
    account.close()
    assert list(account) == [Closed()]


def test_a_token_callable_may_use_the_account(simulator: topone_simulator.Simulator) -> None:
    accounts = queue.SimpleQueue[topone_threads.Account]()
    refused: list[object] = []

    def token(of: object) -> str:
        refused.append(of)
        account = accounts.get(timeout=PATIENCE)
        # These wait for what waits for this.
        for call in (account.wait_until_whole, account.refresh):
            with pytest.raises(LocalProtocolError, match="token callable"):
                call()
        account.order_calls_made()
        account.give_up(1)
        assert not account.is_whole
        return "demo"

    with topone_simulator.run_in_thread(tokens={"demo": "alice"}) as other:
        arguments = {"url": other.url, "http_url": simulator.http_url, "token": token}
        with open_account(simulator, **arguments) as account:
            accounts.put(account)
            while not account.metrics().is_connected:
                pass
    assert refused == [None]


def test_metrics_are_those_between_two_steps(
    simulator: topone_simulator.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[Any] = [open_account(simulator), topone_threads.open_feed(token="demo")]
    for handle in handles:
        held_lock = handle._lock
        monkeypatch.setattr(handle._core, "metrics", lambda _, lock=held_lock: lock.is_held_here)
        assert handle.metrics()


def test_nothing_is_left_out_once_somebody_iterates(simulator: topone_simulator.Simulator) -> None:
    with open_account(simulator, config=attrs.evolve(FAST, capacity=8)) as account:
        account.wait_until_whole(PATIENCE)
        for _ in range(20):
            place(simulator)
        numbers = [place(simulator)]
        while account.order(numbers[0]).value is None:
            pass
        # Nothing was held up meanwhile, and what is left out is counted.
        assert isinstance(next(account), Conflated)
        numbers += [place(simulator) for _ in range(20)]
        told = [event.after.id for event in until_told(account, numbers[-1])]
        assert told[-len(numbers) :] == numbers


def until_told(account: Any, number: int) -> Iterator[Any]:
    """The changes of orders, up to that of the last one."""
    for event in account:  # pragma: no branch
        if hasattr(event, "after") and hasattr(event.after, "id"):
            yield event
            if event.after.id == number:
                return


PROGRAM = """
import os, signal, sys, threading
import topone_threads
from topone_proto import Credentials, FeedFailed
from topone_proto.account import AccountConfig

url, http_url, app_id, app_key = sys.argv[1:]

def opened():
    return topone_threads.open_account(
        Credentials(app_id, app_key), url=url, http_url=http_url, cache=None,
        account_config=AccountConfig(answer_lag=0.0),
    )
"""


def run(simulator: topone_simulator.Simulator, program: str) -> list[str]:
    keys = simulator.credentials
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", "ignore:This process", "-c", PROGRAM + program),
            *(simulator.url, simulator.http_url, keys.app_id, keys.reveal()),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("waiting", ["wait_until_whole", "refresh"])
def test_ctrl_c_reaches_whoever_waits(simulator: topone_simulator.Simulator, waiting: str) -> None:
    simulator.inject(HangHttp(times=None, path="/t/v1/"))
    out = run(
        simulator,
        f"""
with opened() as account:
    def interrupt():
        while not (account._sleeping and account.metrics().is_connected):
            pass
        os.kill(os.getpid(), signal.SIGINT)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        account.{waiting}()
    except KeyboardInterrupt:
        print("interrupted", account.metrics().is_connected, account.is_whole)
    interrupter.join()
print([thread.name for thread in threading.enumerate()])
""",
    )
    assert out == ["interrupted True False", "['MainThread']"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_says_that_its_account_is_the_parents(
    simulator: topone_simulator.Simulator,
) -> None:
    out = run(
        simulator,
        """
with opened() as account:
    account.wait_until_whole(60)
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            said = []
            for use in (
                account.wait_until_whole, account.refresh, account.get, account.balances,
                lambda: account.give_up(1), lambda: account.order(1), lambda: account.is_whole,
            ):
                try:
                    use()
                except FeedFailed as error:
                    said.append(error.failure.kind.value)
            metrics = account.metrics()
            print(*said, metrics.is_whole, metrics.is_connected, account.close(), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    account.refresh(60)
    print("parent", account.is_whole)
""",
    )
    assert out == [*["forked " * 7 + "False False None"] * 5, "parent True"]
