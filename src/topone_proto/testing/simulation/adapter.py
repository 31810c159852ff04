"""An adapter without I/O: drives a feed over simulated links just as the real ones drive it over
sockets."""

import gzip
from collections.abc import Callable
from random import Random
from typing import Any

from topone_proto.account import AccountAction
from topone_proto.exchange import Accept, Reject
from topone_proto.failures import Failure, FailureKind, failure_from_response
from topone_proto.feed.base import BaseCore
from topone_proto.session.actions import Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.states import SessionState
from topone_proto.testing.simulation.accounts.judge import AccountJudge
from topone_proto.testing.simulation.application import Application
from topone_proto.testing.simulation.auditor import Auditor
from topone_proto.testing.simulation.client_plan import ClientPlan, Supply
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.server import Server
from topone_proto.testing.simulation.supplier import Supplier
from topone_proto.testing.simulation.turns import Turns
from topone_proto.testing.simulation.world import World

__all__ = ["Adapter"]

_NEVER = float("inf")
_HAIR = 1e-6


class Adapter:
    """The transport of one feed.

    Args:
        world: the time.
        plan: the network between the feed and the exchange.
        server: where it dials.
        rng: the source of its network's chance.
        core: the feed.
        supplier: the application's token callable.
        auditor: who sees everything that goes in and comes out.
        application: who takes the events.
        note: records a line.
    """

    def __init__(
        self,
        world: World,
        plan: ClientPlan,
        server: Server,
        rng: Random,
        *,
        core: BaseCore[Any, Any, Any],
        supplier: Supplier,
        auditor: Auditor | AccountJudge,
        application: Application,
        note: Callable[..., None],
    ) -> None:
        self.link: Link | None = None
        """The present dial or connection."""
        self.links: list[Link] = []
        """Every dial and connection so far."""
        self.supplier: Supplier = supplier
        """The application's token callable, which knows the latest token."""
        self.is_finished: bool = False
        """True once the feed has ended and the transport is gone."""
        self.is_killed: bool = False
        """True once the process was killed."""
        self.unreachable: tuple[float, FailureKind | None] = (0.0, None)
        """Until when dials fail, and how."""
        self.frozen_until: float = 0.0
        """Until when the network holds everything back."""
        self.turns: Turns = Turns(world, before=self._goes_on, after=self.go_on_reading)
        """The turns that the program gets."""
        self._world = world
        self._plan = plan
        self._server = server
        self._rng = rng
        self._core = core
        self._machine = core.machine
        self._session = core.session
        self._auditor = auditor
        self._application = application
        self._note = note
        self._turns = self.turns
        self._job = 0
        self._armed = _NEVER
        self._is_reading = False
        self._resumed_at = 0.0
        self._parting: Link | None = None

    @property
    def is_closed(self) -> bool:
        """True once the feed has ended."""
        return self._session.state is SessionState.CLOSED

    @property
    def deadline(self) -> float | None:
        """The time at which the feed has something to do by itself."""
        return self._core.deadline

    def kill(self) -> None:
        """Kill the process: it gets no turn any more, and its system closes what is open."""
        self.is_killed = True
        self.turns.stop()
        self._job += 1
        self._armed = _NEVER
        for link in (self.link, self._parting):
            if link is not None:
                link.leave()
        self.link = self._parting = None

    def _goes_on(self, seconds: float) -> None:
        """The program was busy for so long. Deadlines come before what is unread, as a loop may
        have it."""
        self._note("goes on")
        self._auditor.held_up(seconds)
        if self._armed <= self._world.now:
            self._ring(self._armed)

    def take(self, step: Any, link: Link | None = None, frame: Frame | None = None) -> None:
        """Carry a step of the machine out; ``frame`` is what it answers, if it is one."""
        if self._world.timeline is not None:
            for thing in (*step.events, *step.actions):
                self._note("->", thing)
        self._auditor.told(step, link or self.link, frame)
        has_waiters = self._application.is_waiting
        for action in self._core.take(step):
            self._carry_out(action)
        if step.events:
            self._auditor.waiting(self._core.waiting, has_waiters=has_waiters)
            self._application.wake()
        self._arm()
        self.pause_or_resume()
        if self._core.fault is not None and not self.is_closed:
            # A fault of the program ends the feed.
            self._auditor.close_called()
            self.take(self._machine.close(self._world.now))
        if self.is_closed and self._parting is None and not self.is_finished:
            self.is_finished = True
            self._auditor.finished()

    def _carry_out(self, action: AccountAction) -> None:
        match action:
            case SendText() | SendPing():
                if self.link is None or not self.link.is_open:
                    self._auditor.nowhere_to_send()
                elif isinstance(action, SendText):
                    self.link.send(Frame("text", action.text))
                else:
                    self.link.send(Frame("ping", action.payload))
            case Connect():
                self._job += 1
                self._turns.soon(self._dial, self._job, action)
            case FetchToken():
                self._job += 1
                supply = self.supplier.called()
                if supply.kind != "hang":
                    self._turns.at(
                        self._world.now + supply.seconds, self._supply, self._job, supply
                    )
            case Close(timeout=timeout):
                self._job += 1
                self._leave(timeout)
            case _:
                self._application.carry_out(action)

    def _arm(self) -> None:
        deadline = self._core.deadline
        if deadline is not None and deadline < self._armed:
            self._armed = deadline
            self._world.at(deadline, self._ring, deadline)

    def _ring(self, armed: float) -> None:
        if armed != self._armed or self._turns.is_blocked:
            return
        self._armed = _NEVER
        if self._core.deadline is not None:
            self._report_bytes()
            # Perhaps too early, since deadlines move: that must be harmless.
            self.take(self._machine.deadline_reached(self._world.now))

    def _report_bytes(self) -> None:
        """Report the bytes of a frame that is not whole, right before a silence is judged."""
        connection = self._session.connection
        if self.link is None or connection is None or connection.last_received is None:
            return
        if self.link.heard_at > connection.last_received:
            self.take(self._machine.bytes_received(self.link.heard_at, self._world.now))

    def _dial(self, job: int, connect: Connect) -> None:
        if job != self._job:
            return
        until, kind = self.unreachable
        if self._world.now < until:
            if kind is not None:
                failure = Failure(kind, "simulated")
                self._turns.at(self._world.now + self._plan.latency, self._fail, job, failure)
            return
        link = Link(
            self._world,
            self._plan,
            self._rng,
            to_server=self._at_server,
            to_client=lambda link: self._turns.in_turn(self._received, (link,)),
            part_to_client=lambda link: self._turns.in_turn(self._read, (link,)),
        )
        link.token = "" if connect.token is None else connect.token.reveal()
        self.supplier.token = link.token or self.supplier.token
        self.link = link
        self.links.append(link)
        if self._world.now < self.frozen_until:
            link.freeze()
        link.send(Frame("dial", connect))

    def _at_server(self, link: Link, frame: Frame) -> None:
        if frame.kind == "dial":
            connect: Connect = frame.data
            if not link.is_left:
                self._server.dial(link, connect.target(), connect.endpoint.headers)
        else:
            self._server.receive(link, frame)

    def _fail(self, job: int, failure: Failure) -> None:
        if job == self._job:
            self.link = None
            self.take(self._machine.connection_failed(failure, self._world.now))

    def _received(self, link: Link) -> None:
        """Something has come into the socket."""
        if not link.is_open:
            self._opened(link)
        elif link is self._parting:
            self._parted(link)
        elif link is self.link:
            self._read(link)

    def _opened(self, link: Link) -> None:
        """The answer to a handshake, or what comes instead."""
        frame = link.read()
        if link is not self.link:
            return
        match frame.data:
            case Accept():
                link.is_open = True
                self.take(self._machine.connection_made(self._world.now))
                self._turns.soon(self._read, link)
                return
            case Reject(status=status, headers=headers):
                failure = failure_from_response(status, headers)
            case _:
                failure = Failure(FailureKind.NOT_WEBSOCKET, "simulated")
        link.leave()
        self._fail(self._job, failure)

    def _read(self, link: Link) -> None:
        """The reader: message by message, as long as the feed has room."""
        if self._is_reading:
            return
        self._is_reading = True
        while self.link is link:
            if self._core.is_paused:
                break
            link.read_part()
            if link.inbox:
                self._message(link, link.inbox.popleft())
            elif link.received:
                self._off_the_socket(link)
            else:
                break
        # The library goes on a little further.
        while link is self.link and link.received and len(link.inbox) < self._plan.readahead:
            self._off_the_socket(link)
        self._is_reading = False

    def _off_the_socket(self, link: Link) -> None:
        """Take a frame as a WebSocket library does. It sees to control frames by itself."""
        frame = link.read()
        match frame.kind:
            case "ping":
                link.send(Frame("pong", frame.data))
            case "pong":
                self.take(self._machine.pong_received(frame.data, self._world.now), link)
            case _:
                link.inbox.append(frame)

    def _message(self, link: Link, frame: Frame) -> None:
        now = self._world.now
        if frame.kind == "text":
            if self._world.timeline is not None:
                text: str = frame.data
                self._note("reads", (text.replace(link.token, "***") if link.token else text)[:80])
            if "ping" in frame.data:
                link.asked_at = now if link.asked_at is None else link.asked_at
            data = frame.data
            if self._plan.is_compressed:
                data = gzip.compress(data.encode(), mtime=0)
            self.take(self._machine.message_received(data, now), link, frame)
            return
        code, reason = frame.data if frame.kind == "close" else (None, "simulated")
        self._note("finds the connection ended", code)
        self.link = None
        link.leave()
        self.take(self._machine.connection_lost(code, reason, now), link)

    def pause_or_resume(self) -> None:
        """Pause or resume reading, as an adapter does after each step and after each event that is
        taken."""
        step = self._core.pause_or_resume(self._world.now)
        if step is None:
            return
        if self._core.is_paused:
            self._note("stops reading")
            self._auditor.paused()
        else:
            self._resumed_at = self._world.now
            self._note("reads again")
            self._auditor.resumed()
        self.take(step)
        self.go_on_reading()

    def go_on_reading(self) -> None:
        """Read what waits, if the feed has room."""
        if self.link is not None and self.link.is_open and not self._core.is_paused:
            self._turns.soon(self._read, self.link)

    def _supply(self, job: int, supply: Supply) -> None:
        """The token callable returns."""
        if job != self._job:
            return
        self.take(self.supplier.supply(supply, self._core, self._world.now))

    def _leave(self, timeout: float) -> None:
        """Give up whatever there is; an open connection with a closing handshake if there is time
        for one."""
        link, self.link = self.link, None
        if link is None:
            return
        if timeout and link.is_open:
            self._parting = link
            link.send(Frame("close"))
            self._turns.at(self._world.now + timeout, self._parted, link, True)  # noqa: FBT003 - a timer's argument
            return
        link.leave()
        if self._plan.reports_tail and link.is_open:
            self._turns.soon(self._report_tail, link)

    def _parted(self, link: Link, is_over: bool = False) -> None:  # noqa: FBT001, FBT002 - a timer's argument
        """The closing handshake is done when the peer's close frame comes, or when its time is
        over."""
        while link.received and not is_over:
            is_over = link.read().kind in {"close", "end"}
        if is_over and self._parting is link:
            self._parting = None
            link.leave()
            self.is_finished = True
            self._auditor.finished()

    def _report_tail(self, link: Link) -> None:
        """Report on a connection that is to be closed, as a careless adapter does."""
        for frame in (*link.inbox, *link.received, Frame("text", "ping")):
            if self._session.state in {SessionState.WAITING, SessionState.CLOSED}:
                now = self._world.now
                if frame.kind == "text":
                    self.take(self._machine.message_received(frame.data, now), link, frame)
                elif frame.kind == "pong":
                    self.take(self._machine.pong_received(frame.data, now), link)

    # --- what the network does ------------------------------------------------------------------

    def watch(self, link: Link) -> None:
        """See to it that a half-open connection is noticed in time."""
        if self.link is not link or not link.is_open or link.dead_since is None:
            return
        is_reading = not (self._core.is_paused or self._turns.is_blocked)
        resumed_at = self._resumed_at if is_reading else self._world.now
        resumed_at = max(resumed_at, self._turns.blocked_until)
        until = self._auditor.half_open_until(link, resumed_at)
        if self._world.now > until + _HAIR:
            self._auditor.half_open()
        self._world.at(until + 2 * _HAIR, self.watch, link)

    def unanswered(self, link: Link) -> None:
        """The exchange closes the link because its ping was not answered."""
        # A pong that has just been sent is still on its way.
        round_trip = 2 * (self._plan.latency + self._plan.spread)
        answered_by = self._world.now - round_trip
        # What holds the ping up, or the client; one that does not read answers once an interval.
        free_at = max(self._turns.blocked_until, link.slow_until)
        is_reading = (
            link is self.link
            and not self._core.is_paused
            and answered_by > max(self._resumed_at, free_at)
        )
        knows_at = free_at + (self._plan.config.ping_interval or 0.0) if free_at else 0.0
        can_know = link.asked_at is not None and answered_by > max(link.asked_at, knows_at)
        self._auditor.unanswered(link, is_reading=is_reading, can_know=can_know)
