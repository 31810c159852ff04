"""One connection on a simulated network: in order, as TCP is, with delay, with limits, and with
what can go wrong."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from topone_proto.testing.simulation.client_plan import ClientPlan
from topone_proto.testing.simulation.world import World

__all__ = ["Frame", "Link"]


class Frame(NamedTuple):
    """A thing that travels in one piece: a message, a control frame, an answer to a handshake, the
    end of the stream."""

    kind: str
    """``text``, ``ping``, ``pong``, ``close``, ``answer`` or ``end``."""
    data: Any = None
    """The content: a text, a payload, an answer."""
    number: int = 0
    """The number of the step of the exchange that sent it."""


class _Pipe:
    """One direction."""

    def __init__(
        self, world: World, plan: ClientPlan, rng: Random, deliver: Callable[[Frame], None]
    ) -> None:
        self.is_cut = False
        self._is_frozen = False
        self._world = world
        self._latency = plan.latency
        self._spread = plan.spread
        self._rng = rng
        self._deliver = deliver
        self._held: list[Frame] = []
        self._last = 0.0

    def send(self, frame: Frame) -> None:
        if not self.is_cut:
            delay = self._latency + self._spread * self._rng.random()
            self._last = max(self._last, self._world.now + delay)
            self._world.at(self._last, self._arrive, frame)

    def trickle(self, seconds: float, every: float, tell: Callable[[], None]) -> float:
        """The next frame takes so long, and its first bytes come one by one. Returns when it is
        whole."""
        first = max(self._last, self._world.now + self._latency)
        self._last = first + seconds
        for number in range(int(seconds / every) + 1):
            self._world.at(first + number * every, self._part, tell)
        return self._last

    def _part(self, tell: Callable[[], None]) -> None:
        if not (self._is_frozen or self.is_cut):
            tell()

    def freeze(self) -> None:
        self._is_frozen = True

    def thaw(self) -> None:
        self._is_frozen = False
        held, self._held = self._held, []
        for frame in held:
            self._arrive(frame)

    def _arrive(self, frame: Frame) -> None:
        if self._is_frozen:
            self._held.append(frame)
        elif not self.is_cut:
            self._deliver(frame)


class Link:
    """One dial, and the connection that may become of it.

    The window bounds what has left the exchange and was not read by the client: frames beyond wait
    with the exchange, so that a client which does not read is a client that hears nothing, pings
    and acknowledgements included.
    """

    def __init__(
        self,
        world: World,
        plan: ClientPlan,
        rng: Random,
        *,
        to_server: Callable[["Link", Frame], None],
        to_client: Callable[["Link"], None],
        part_to_client: Callable[["Link"], None],
    ) -> None:
        self.world = world
        self.plan = plan
        self.peer = 0
        """The gateway's number for it; 0 until it is accepted."""
        self.token = ""
        """The token that it was dialled with."""
        self.is_open: bool = False
        """True once the client knows that it was accepted."""
        self.is_left: bool = False
        """True once the client has dropped it."""
        self.faults: list[str] = []
        """The faults on it: without such a reason, no connection ends."""
        self.dead_since: float | None = None
        """Since when nothing new gets through to the client; None if it does."""
        self.heard_at: float = 0.0
        """The time at which the client last read something, be it a part of a frame."""
        self.arrived_at: float = 0.0
        """The time at which something last came into the client's socket, be it a part of a
        frame."""
        self.has_part: bool = False
        """True if a part of a frame waits in the client's socket."""
        self.slow: tuple[float, float] | None = None
        """The seconds that the next message takes, and those from one of its bytes to the next."""
        self.slow_until: float = 0.0
        """The time at which the last slow message was whole, or will be."""
        self.is_unanswered: bool = False
        """True once a ping of the client's was ignored."""
        self.asked_at: float | None = None
        """The time at which the first of the server's own pings was read as a message."""
        self.received: deque[Frame] = deque()
        """The frames that wait in the client's socket."""
        self.inbox: deque[Frame] = deque()
        """The frames that wait in the client's WebSocket library."""
        self._is_muted = False
        self._room = plan.window
        self._backlog: deque[Frame] = deque()
        self._to_client = to_client
        self._part_to_client = part_to_client
        self._up = _Pipe(world, plan, rng, lambda frame: to_server(self, frame))
        self._down = _Pipe(world, plan, rng, self._received)

    @property
    def is_busy(self) -> bool:
        """True if something is on its way to the client, or waits there to be read."""
        return self._room < self.plan.window or bool(self.inbox)

    # The client's end.

    def send(self, frame: Frame) -> None:
        """Towards the exchange."""
        self._up.send(frame)

    def read(self) -> Frame:
        """The next frame out of the socket."""
        self.heard_at = self.world.now
        self.has_part = False
        self._room += 1
        if self._backlog and self._room > 0:
            self._transmit(self._backlog.popleft())
        return self.received.popleft()

    def read_part(self) -> None:
        """Take what there is of a frame out of the socket."""
        if self.has_part:
            self.has_part = False
            self.heard_at = self.world.now

    def leave(self) -> None:
        """The client drops the connection. The exchange hears of it, if the network lets it."""
        if not self.is_left:
            self.is_left = True
            self._down.is_cut = True
            self._up.send(Frame("end"))

    # The exchange's end.

    def answer(self, frame: Frame) -> None:
        """Towards the client."""
        if self._is_muted:
            return
        if self._room > 0:
            self._transmit(frame)
        else:
            self._backlog.append(frame)

    def mute(self) -> None:
        """The exchange falls silent."""
        self.blame("silence")
        self._is_muted = True
        self.dead_since = self.world.now

    # The network.

    def blame(self, fault: str) -> None:
        """Something went wrong on this connection."""
        self.faults.append(fault)

    def black_hole(self) -> None:
        """Everything is lost from now on."""
        self.blame("black hole")
        self._up.is_cut = self._down.is_cut = True
        self.dead_since = self.world.now

    def freeze(self) -> None:
        """Everything waits from now on."""
        self.blame("outage")
        self._up.freeze()
        self._down.freeze()
        if self.dead_since is None:
            self.dead_since = self.world.now

    def thaw(self) -> None:
        """Everything goes on."""
        if not (self._is_muted or self._down.is_cut):
            self.dead_since = None
        self._up.thaw()
        self._down.thaw()

    def reset(self) -> None:
        """The connection breaks. What was on the way is lost; the client finds out as soon as it
        reads."""
        self.blame("reset")
        if not self._down.is_cut:
            self._up.is_cut = self._down.is_cut = True
            self._backlog.clear()
            self._received(Frame("end"))

    def _transmit(self, frame: Frame) -> None:
        self._room -= 1
        if self.slow is not None and frame.kind == "text" and not self._down.is_cut:
            seconds, every = self.slow
            self.slow = None
            self.slow_until = self._down.trickle(seconds, every, self._part)
        self._down.send(frame)

    def _part(self) -> None:
        self.arrived_at = self.world.now
        self.has_part = True
        self._part_to_client(self)

    def _received(self, frame: Frame) -> None:
        self.arrived_at = self.world.now
        self.received.append(frame)
        self._to_client(self)
