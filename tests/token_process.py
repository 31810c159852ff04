"""Processes of an account, one after the other, that want a new token all the time and are killed:
``python token_process.py PATH PORT INTERVAL TIMES SEED``.

They have no WebSocket, and ask a token service on this machine. Each says when it is about to write
the file, and is killed in the middle of that, or a little later.
"""

import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

from topone_accounts import FileStore, StoreError
from topone_proto import Connect, Credentials, Failure, FailureKind
from topone_proto.account import (
    AccountConfig,
    AccountSession,
    AccountStep,
    Fetch,
    LoadState,
    StoredState,
    StoreState,
)
from topone_proto.wire.http import HttpRequest, HttpResponse

Input = Callable[[float], AccountStep]


def ask(port: int, request: HttpRequest) -> HttpResponse:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{request.target}\n".encode())
        with line.makefile("rb") as answer:
            return HttpResponse(200, answer.read())


def live(path: str, port: int, interval: float, say: Callable[[], object]) -> None:
    """Follow the account, until somebody ends this process."""
    store = FileStore(path, token_interval=interval)
    machine = AccountSession(
        Credentials("app", "key"),
        account_config=AccountConfig(
            token_interval=interval, token_soft_age=interval / 100, token_hard_age=interval * 100
        ),
        jitter=random.Random(os.getpid()).random,
        wall=time.time,
    )
    inputs: deque[Input] = deque([machine.start])

    def finding(state: StoredState) -> Input:
        return lambda now: machine.state_found(state, now)

    def failing(detail: str) -> Input:
        return lambda now: machine.state_not_stored(detail, now)

    def carry_out(action: object) -> None:
        match action:
            case Fetch(id=number, request=request):
                response = ask(port, request)
                inputs.append(lambda now: machine.fetched(number, response, now))
            case StoreState(state=state, previous=previous):
                say()
                other = store.save(state, previous)
                inputs.append(machine.state_stored if other is None else finding(other))
            case LoadState():
                inputs.append(finding(store.load()))
            case Connect():
                failure = Failure(FailureKind.REFUSED)
                inputs.append(lambda now: machine.connection_failed(failure, now))
            case _:
                pass

    while True:
        now = time.monotonic()
        step = inputs.popleft()(now) if inputs else machine.deadline_reached(now)
        for action in step.actions:
            try:
                carry_out(action)
            except StoreError as error:
                inputs.append(failing(str(error)))
        if not inputs and step.deadline is not None:
            time.sleep(max(0.0, min(step.deadline - time.monotonic(), 0.05)))


def be_killed(path: str, port: int, interval: float, rng: random.Random) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(path, port, interval, lambda: os.write(writing, b"."))
        finally:
            os._exit(1)
    os.close(writing)
    for _ in range(rng.choice((1, 1, 1, 2))):
        assert os.read(reading, 1) == b"."
    time.sleep(rng.choice((0.0, rng.random() / 100, rng.random() / 5)))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    assert os.WTERMSIG(status) == signal.SIGKILL


def main(path: str, port: str, interval: str, times: str, seed: str) -> None:
    rng = random.Random(int(seed))
    for _ in range(int(times)):
        be_killed(path, int(port), float(interval), rng)


if __name__ == "__main__":
    main(*sys.argv[1:])
