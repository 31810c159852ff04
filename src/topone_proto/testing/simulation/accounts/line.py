"""HTTP without a network: requests of one process, in virtual time."""

from collections.abc import Callable
from random import Random
from typing import Final

from topone_proto.account import AccountSession, AccountStep, Fetch
from topone_proto.exchange import Breakage, HttpDesk, HttpReply
from topone_proto.failures import Failure, FailureKind
from topone_proto.testing.simulation.accounts.budgets import Asker, Budgets
from topone_proto.testing.simulation.accounts.plan import SharedAccount
from topone_proto.testing.simulation.adapter import Adapter
from topone_proto.testing.simulation.world import World
from topone_proto.wire.http import HttpResponse

__all__ = ["Line"]

_BROKEN: Final = {
    Breakage.RESET: FailureKind.NETWORK,
    Breakage.CUT: FailureKind.NETWORK,
}


class Line:
    """The HTTP client of one life of a process. It keeps the rules of the real one: a request ends
    once, with an answer, a failure or its timeout.

    Args:
        world: the time.
        shared: the latency.
        desk: who answers.
        budgets: who counts.
        asker: who asks.
        adapter: the process's network and its turns.
        session: who is told.
        rng: the source of all chance.
        note: records a line.
    """

    def __init__(
        self,
        world: World,
        shared: SharedAccount,
        desk: HttpDesk,
        budgets: Budgets,
        asker: Asker,
        adapter: Adapter,
        session: AccountSession,
        rng: Random,
        note: Callable[..., None],
    ) -> None:
        self.sent: Callable[[], None] = lambda: None
        """Called once a request has left."""
        self._world = world
        self._shared = shared
        self._desk = desk
        self._budgets = budgets
        self._asker = asker
        self._adapter = adapter
        self._session = session
        self._rng = rng
        self._note = note
        self._under_way: set[int] = set()

    def fetch(self, action: Fetch) -> None:
        """Send a request."""
        now, adapter = self._world.now, self._adapter
        self._under_way.add(action.id)
        timeout = Failure(FailureKind.TIMEOUT, "simulated")
        adapter.turns.at(now + action.timeout, self._failed, action.id, timeout)
        self._budgets.left(self._asker, action.request.path, now)
        self.sent()
        until, kind = adapter.unreachable
        if now < adapter.frozen_until or (now < until and kind is None):
            return
        if now < until and kind is not None:
            adapter.turns.at(self._later(), self._failed, action.id, Failure(kind, "simulated"))
            return
        self._world.at(self._later(), self._arrive, action)

    def _later(self) -> float:
        shared = self._shared
        return self._world.now + shared.latency + shared.spread * self._rng.random()

    def _arrive(self, action: Fetch) -> None:
        """The exchange reads a request, whether its process is still there or not."""
        now, request = self._world.now, action.request
        self._budgets.came(self._asker, request.path, now)
        reply = self._desk.answer("GET", request.target, request.headers(), now)
        if self._world.timeline is not None:
            self._note("  asks", request.path, reply.status, *self._shown(reply))
        if reply.fault is Breakage.HANG or now < self._adapter.frozen_until:
            return
        at = self._later() + reply.delay
        if reply.fault is not None:
            failure = Failure(_BROKEN[reply.fault], "simulated")
            self._adapter.turns.at(at, self._failed, action.id, failure)
        else:
            response = HttpResponse(reply.status, reply.body, reply.headers)
            self._adapter.turns.at(at, self._answered, action, response)

    def _shown(self, reply: HttpReply) -> tuple[str, ...]:
        text = reply.body.decode()
        shown = "(a token)" if "apiToken" in text else text[:200]
        return (shown, *(() if reply.fault is None else (reply.fault.value,)))

    def _answered(self, action: Fetch, response: HttpResponse) -> None:
        if action.id in self._under_way:
            now = self._world.now
            self._budgets.told(self._asker, action.request.path, response, now)
            self._end(action.id, self._session.fetched(action.id, response, now))

    def _failed(self, number: int, failure: Failure) -> None:
        if number in self._under_way:
            self._end(number, self._session.fetch_failed(number, failure, self._world.now))

    def _end(self, number: int, step: AccountStep) -> None:
        self._under_way.discard(number)
        self._adapter.take(step)
