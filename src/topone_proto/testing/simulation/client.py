"""An adapter without I/O: drives a feed over simulated links just as the real ones drive it over
sockets.

And the application behind it, which takes events at its own speed and calls what its plan says.
"""

from random import Random
from typing import TYPE_CHECKING, Any

from topone_proto.errors import FeedClosed, FeedFailed, TooManyEvents
from topone_proto.exchange import Accept, Reject
from topone_proto.failures import Failure, FailureKind, failure_from_response
from topone_proto.feed.core import FeedCore
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Action, Close, Connect, FetchToken, SendPing, SendText
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.testing.simulation.accountant import Accountant
from topone_proto.testing.simulation.auditor import Auditor
from topone_proto.testing.simulation.link import Frame, Link
from topone_proto.testing.simulation.scenario import Call, ClientPlan, Supply
from topone_proto.testing.simulation.server import Server
from topone_proto.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from topone_proto.feed.waiters import Waiter

__all__ = ["Client"]

_NEVER = float("inf")
_HAIR = 1e-6
_URL = "wss://simulation.invalid/ws/user/"


def _source() -> None: ...


class Client:
    """One feed.

    Args:
        world: the time.
        plan: everything that it does.
        server: where it dials.
        rng: the source of its network's and its back-off's chance.
        http: the source of its HTTP's.
    """

    def __init__(
        self, world: World, plan: ClientPlan, server: Server, rng: Random, http: Random
    ) -> None:
        self.plan = plan
        self.auditor: Auditor = Auditor(world, plan)
        self.accountant: Accountant = Accountant(
            world, plan.account, server, http, note=self._note, fail=self.auditor.fail
        )
        self.link: Link | None = None
        """The present dial or connection."""
        self.token: str = server.issue(plan.name)
        """The latest token."""
        self.is_finished: bool = False
        """True once the feed has ended and the transport is gone."""
        self.unreachable: tuple[float, FailureKind | None] = (0.0, None)
        """Until when dials fail, and how."""
        self.frozen_until: float = 0.0
        """Until when the network holds everything back."""
        self._blocked_since: float | None = None
        self._blocked_until = 0.0
        # What would have been done meanwhile, in order.
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._hurries_at = _NEVER
        self.links: list[Link] = []
        """Every dial and connection so far."""
        self._world = world
        self._server = server
        self._rng = rng
        self._core: FeedCore[Callable[[], object]] = FeedCore(
            # The callable is never called: what it would do is in the plan.
            token=Token(self.token) if plan.supplies is None else _source,
            url=_URL,
            topics=plan.topics,
            config=plan.config,
            origin=None,
            insecure=False,
            jitter=self._jitter,
        )
        self._session = self._core.session
        self._waiters: list[Waiter] = []
        self._job = 0
        self._fetches = 0
        self._armed = _NEVER
        self._is_reading = False
        self._resumed_at = 0.0
        self._parting: Link | None = None
        self._is_taking = False
        self._next_take_at = 0.0

    # --- the application ------------------------------------------------------------------------

    def start(self) -> None:
        """Open the feed, and do what the plan says when it is time."""
        self._note("starts")
        for call in self.plan.calls:
            self._at(call.at, self._call, call)
        self._take(self._session.start(self._world.now))

    def block(self, seconds: float) -> None:
        """The program does something else for so long: neither its application nor its feed gets a
        turn."""
        now = self._world.now
        self._note("does something else")
        self._blocked_since = now if self._blocked_since is None else self._blocked_since
        self._blocked_until = max(self._blocked_until, now + seconds)
        self._world.at(now + seconds, self._unblock)

    def close(self) -> None:
        """Close the feed, twice: once more must be harmless."""
        for _ in range(2):
            self._note("calls close")
            self.auditor.close_called()
            self._take(self._session.close(self._world.now))

    def hurry(self) -> None:
        """From now on the application takes everything at once, and HTTP does not fail."""
        self._hurries_at = self._world.now
        self.accountant.is_reliable = True

    def check_account(self) -> None:
        """What the account calls whole must be true, if nothing is on its way to it."""
        if self.is_settled and not self._is_stream_busy:
            self.accountant.check()

    def check_calm(self) -> None:
        """All is calm: nothing may be missing any more."""
        for waiter in self._waiters:
            if not waiter.is_settled:
                self.auditor.unanswered_call(waiter.method)
        self.auditor.all_is_calm()
        self.accountant.check_calm(set() if self._is_closed else self.auditor.desired)

    def check_closed(self) -> None:
        """The time to close is over."""
        is_finished = self.is_finished and self.link is None
        self.auditor.must_be_closed(self._core.deadline, is_finished=is_finished)

    @property
    def _is_closed(self) -> bool:
        return self._session.state is SessionState.CLOSED

    @property
    def is_settled(self) -> bool:
        """True if everything desired is acknowledged on a good connection, or the feed has
        ended."""
        if not self.auditor.is_settled:
            return False
        return self.is_finished or (self.link is not None and self._server.serves(self.link))

    @property
    def is_busy(self) -> bool:
        """True if something is still on its way to the application."""
        return self._is_stream_busy or self.accountant.is_busy

    @property
    def _is_stream_busy(self) -> bool:
        return self._core.has_events or (self.link is not None and self.link.is_busy)

    def _call(self, call: Call) -> None:
        if call.verb == "close":
            if not self._is_closed:
                self.close()
            return
        wanted = call.verb == "subscribe"
        self._note(f"calls {call.verb}", call.topic)
        ask = self._core.subscribe if wanted else self._core.unsubscribe
        try:
            waiter, step = ask(call.topic, self._world.now)
        except (FeedClosed, FeedFailed):
            assert self._is_closed
            return
        except TooManyEvents:
            # Nothing was changed by the call.
            return
        self.auditor.wants(call.topic, wanted=wanted)
        self._waiters.append(waiter)
        self._take(step)
        self._go_on_reading()

    def _consume(self) -> None:
        """Take what there is, at the plan's pace."""
        self._is_taking = False
        while self._core.has_events:
            ready_at = self._ready_at()
            if ready_at > self._world.now:
                self._is_taking = True
                self._at(ready_at, self._consume)
                return
            event = self._core.get()
            assert event is not None
            if self._world.timeline is not None:
                self._note("  the application takes", event)
            self.auditor.taken(event)
            self.accountant.told(event)
            self._next_take_at = self._world.now + self._pace
            self._pause_or_resume()

    def _ready_at(self) -> float:
        ready_at = max(self._next_take_at, self._world.now)
        for start, until in self.plan.stalls:
            if start <= ready_at < until:
                ready_at = until
        return ready_at

    @property
    def _pace(self) -> float:
        return self.plan.pace if self._world.now < self._hurries_at else 0.0

    def _supply(self, job: int, supply: Supply) -> None:
        """The token callable returns."""
        if job != self._job:
            return
        now = self._world.now
        match supply.kind:
            case "raise":
                step = self._session.token_failed("OSError", now)
            case "junk":
                step = self._core.token_obtained("", now)
            case _:
                if supply.kind == "fresh":
                    self.token = self._server.issue(self.plan.name)
                step = self._core.token_obtained(self.token, now)
        self._take(step)

    # --- the adapter ----------------------------------------------------------------------------

    def _at(self, when: float, call: "Callable[..., None]", *args: Any) -> None:
        """Call at a time, or as soon afterwards as the program has a turn for it."""
        self._world.at(when, self._in_turn, call, args)

    def _soon(self, call: "Callable[..., None]", *args: Any) -> None:
        self._at(self._world.now, call, *args)

    def _in_turn(self, call: "Callable[..., None]", args: tuple[Any, ...]) -> None:
        if self._is_blocked:
            self._held.append((call, args))
        else:
            call(*args)

    @property
    def _is_blocked(self) -> bool:
        return self._blocked_since is not None

    def _unblock(self) -> None:
        """Deadlines come before what is unread, as a loop may have it."""
        now = self._world.now
        if self._blocked_since is None or now < self._blocked_until:
            return
        self._note("goes on")
        self.auditor.held_up(now - self._blocked_since)
        self._blocked_since = None
        if self._armed <= now:
            self._ring(self._armed)
        held, self._held = self._held, []
        for call, args in held:
            self._soon(call, *args)
        self._go_on_reading()

    def _jitter(self) -> float:
        self.auditor.jitter = self._rng.random()
        return self.auditor.jitter

    def _take(self, step: Step, link: Link | None = None, frame: Frame | None = None) -> None:
        if self._world.timeline is not None:
            for thing in (*step.events, *step.actions):
                self._note("->", thing)
        self.auditor.told(step, link or self.link, frame)
        has_waiters = any(not waiter.is_settled for waiter in self._waiters)
        for action in self._core.take(step):
            self._carry_out(action)
        if step.events:
            self.auditor.waiting(self._core.waiting, has_waiters=has_waiters)
            if not self._is_taking:
                self._is_taking = True
                self._soon(self._consume)
        self._arm()
        self._pause_or_resume()
        if self._is_closed and self._parting is None and not self.is_finished:
            self.is_finished = True
            self.auditor.finished()

    def _carry_out(self, action: Action) -> None:
        match action:
            case SendText() | SendPing():
                if self.link is None or not self.link.is_open:
                    self.auditor.nowhere_to_send()
                elif isinstance(action, SendText):
                    self.link.send(Frame("text", action.text))
                else:
                    self.link.send(Frame("ping", action.payload))
            case Connect():
                self._job += 1
                self._soon(self._dial, self._job, action)
            case FetchToken():
                self._job += 1
                supplies = self.plan.supplies
                assert supplies is not None
                supply = supplies[min(self._fetches, len(supplies) - 1)]
                self._fetches += 1
                if supply.kind != "hang":
                    self._at(self._world.now + supply.seconds, self._supply, self._job, supply)
            case Close(timeout=timeout):
                self._job += 1
                self._leave(timeout)

    def _arm(self) -> None:
        deadline = self._core.deadline
        if deadline is not None and deadline < self._armed:
            self._armed = deadline
            self._world.at(deadline, self._ring, deadline)

    def _ring(self, armed: float) -> None:
        if armed != self._armed or self._is_blocked:
            return
        self._armed = _NEVER
        if self._core.deadline is not None:
            self._report_bytes()
            # Perhaps too early, since deadlines move: that must be harmless.
            self._take(self._session.deadline_reached(self._world.now))

    def _report_bytes(self) -> None:
        """What came and is no whole frame, told right before a silence is judged."""
        connection = self._session.connection
        if self.link is None or connection is None or connection.last_received is None:
            return
        if self.link.heard_at > connection.last_received:
            self._take(self._session.bytes_received(self.link.heard_at, self._world.now))

    def _dial(self, job: int, connect: Connect) -> None:
        if job != self._job:
            return
        until, kind = self.unreachable
        if self._world.now < until:
            if kind is not None:
                failure = Failure(kind, "simulated")
                self._at(self._world.now + self.plan.latency, self._fail, job, failure)
            return
        link = Link(
            self._world,
            self.plan,
            self._rng,
            to_server=self._at_server,
            to_client=lambda link: self._in_turn(self._received, (link,)),
            part_to_client=lambda link: self._in_turn(self._read, (link,)),
        )
        link.token = connect.token.reveal()
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
            self._take(self._session.connection_failed(failure, self._world.now))

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
                self._take(self._session.connection_made(self._world.now))
                self._soon(self._read, link)
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
        while link is self.link and link.received and len(link.inbox) < self.plan.readahead:
            self._off_the_socket(link)
        self._is_reading = False

    def _off_the_socket(self, link: Link) -> None:
        """What a WebSocket library does with a frame. It sees to control frames by itself."""
        frame = link.read()
        match frame.kind:
            case "ping":
                link.send(Frame("pong", frame.data))
            case "pong":
                self._take(self._session.pong_received(frame.data, self._world.now), link)
            case _:
                link.inbox.append(frame)

    def _message(self, link: Link, frame: Frame) -> None:
        now = self._world.now
        if frame.kind == "text":
            if self._world.timeline is not None:
                self._note("reads", frame.data.replace(link.token, "***")[:80])
            if "ping" in frame.data:
                link.asked_at = now if link.asked_at is None else link.asked_at
            self._take(self._session.message_received(frame.data, now), link, frame)
            return
        code, reason = frame.data if frame.kind == "close" else (None, "simulated")
        self._note("finds the connection ended", code)
        self.link = None
        link.leave()
        self._take(self._session.connection_lost(code, reason, now), link)

    def _pause_or_resume(self) -> None:
        """What an adapter does after each step, and after each event that is taken."""
        step = self._core.pause_or_resume(self._world.now)
        if step is None:
            return
        if self._core.is_paused:
            self._note("stops reading")
            self.auditor.paused()
        else:
            self._resumed_at = self._world.now
            self._note("reads again")
            self.auditor.resumed()
        self._take(step)
        self._go_on_reading()

    def _go_on_reading(self) -> None:
        if self.link is not None and self.link.is_open and not self._core.is_paused:
            self._soon(self._read, self.link)

    def _leave(self, timeout: float) -> None:
        """Give up whatever there is; an open connection with a closing handshake if there is time
        for one."""
        link, self.link = self.link, None
        if link is None:
            return
        if timeout and link.is_open:
            self._parting = link
            link.send(Frame("close"))
            self._at(self._world.now + timeout, self._parted, link, True)  # noqa: FBT003
            return
        link.leave()
        if self.plan.reports_tail and link.is_open:
            self._soon(self._report_tail, link)

    def _parted(self, link: Link, is_over: bool = False) -> None:  # noqa: FBT001, FBT002 - a timer's argument
        """The closing handshake is done when the peer's close frame comes, or when its time is
        over."""
        while link.received and not is_over:
            is_over = link.read().kind in {"close", "end"}
        if is_over and self._parting is link:
            self._parting = None
            link.leave()
            self.is_finished = True
            self.auditor.finished()

    def _report_tail(self, link: Link) -> None:
        """What a careless adapter does: it goes on reporting what it was told to close."""
        for frame in (*link.inbox, *link.received, Frame("text", "ping")):
            if self._session.state in {SessionState.WAITING, SessionState.CLOSED}:
                now = self._world.now
                if frame.kind == "text":
                    self._take(self._session.message_received(frame.data, now), link, frame)
                elif frame.kind == "pong":
                    self._take(self._session.pong_received(frame.data, now), link)

    # --- what the network does ------------------------------------------------------------------

    def watch(self, link: Link) -> None:
        """See to it that a half-open connection is noticed in time."""
        if self.link is not link or not link.is_open or link.dead_since is None:
            return
        is_reading = not (self._core.is_paused or self._is_blocked)
        resumed_at = self._resumed_at if is_reading else self._world.now
        resumed_at = max(resumed_at, self._blocked_until)
        until = self.auditor.half_open_until(link, resumed_at)
        if self._world.now > until + _HAIR:
            self.auditor.half_open()
        self._world.at(until + 2 * _HAIR, self.watch, link)

    def unanswered(self, link: Link) -> None:
        """The exchange closes the link because its ping was not answered."""
        # A pong that has just been sent is still on its way.
        round_trip = 2 * (self.plan.latency + self.plan.spread)
        answered_by = self._world.now - round_trip
        # What holds the ping up, or the client; one that does not read answers once an interval.
        free_at = max(self._blocked_until, link.slow_until)
        is_reading = (
            link is self.link
            and not self._core.is_paused
            and answered_by > max(self._resumed_at, free_at)
        )
        knows_at = free_at + (self.plan.config.ping_interval or 0.0) if free_at else 0.0
        can_know = link.asked_at is not None and answered_by > max(link.asked_at, knows_at)
        self.auditor.unanswered(link, is_reading=is_reading, can_know=can_know)

    def _note(self, what: str, *details: object) -> None:
        if self._world.timeline is not None:
            self._world.note(self.plan.name, what, *details)
