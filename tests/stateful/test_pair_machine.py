"""``Connection`` and the gateway core together, with a network between them that this machine
plays: frames wait in it, in order, and nothing is lost but on purpose.

The two share no code, so what they agree on is what the exchange's page says.
"""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from stateful.machine import Machine, counted, exercise
from topone_proto import (
    BALANCE,
    ORDERS,
    BalanceUpdate,
    Close,
    Connection,
    Event,
    FailureKind,
    LocalProtocolError,
    Malformed,
    OrderUpdate,
    SendPing,
    SendText,
    SessionConfig,
    Step,
    Subscribed,
    SubscriptionRejected,
    SubscriptionState,
    Topic,
    UnexpectedResponse,
    Unrecognised,
    Unsubscribed,
)
from topone_proto import exchange as server
from topone_proto.exchange import Gateway, GatewayConfig, GatewayStep, PingForm, Publication
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

from stateful.models import update_of  # isort: skip

S = SubscriptionState
CONFIG = SessionConfig()
TOPICS = [ORDERS, BALANCE]
# The longest that a frame waits in the network: less than any timeout.
LAG = 4.0

LOST_ACK: list[server.Fault] = [server.LoseAck(), server.WrongId(), server.DelayAck(20.0)]
FAULTS: list[server.Fault] = [
    *LOST_ACK,
    server.DelayAck(2.0),
    server.DuplicateAck(),
    server.RejectRequest(5, "no"),
    server.RejectRequest(5, "no", times=2),
    server.MALFORMED_FRAME,
    server.UNKNOWN_METHOD_FRAME,
    server.SendStrangeUpdate(),
    server.Burst(2),
    server.GoSilent(),
    server.CloseConnections(1012, "restart"),
    server.DropConnections(),
]


def is_up(machine: Any) -> bool:
    return not machine.is_over


class PairMachine(Machine):
    """A client and a server. The truth is what the server published and what it has subscribed."""

    @initialize(form=st.sampled_from(PingForm), ok_form=st.booleans(), both=st.booleans())
    def begin(self, form: PingForm, ok_form: bool, both: bool) -> None:
        self.form = form
        config = GatewayConfig(ping_form=form, ok_form=ok_form, ping_interval=12, pong_timeout=40)
        self.gateway = Gateway(config=config)
        self.first_id = 1
        self.dial()
        for topic in TOPICS if both else []:
            self.ask(topic)
        self.deliver()

    def dial(self) -> None:
        self.gateway.clear_faults()
        self.faults: list[server.Fault] = []
        self.is_over = self.is_silent = self.is_paused = False
        self.silent_since = self.delivered_at = self.now
        self.up: deque[SendText | SendPing] = deque()
        self.down: deque[tuple[str | bytes, Publication | None]] = deque()
        step = self.gateway.handshake("/ws/user/?token=demo", [], self.now)
        [accepted] = step.actions
        assert isinstance(accepted, server.Accept)
        self.peer = accepted.peer
        self.connection = Connection(CONFIG, first_id=self.first_id)
        self.obey(self.connection.deadline_reached(self.now))

    # The network.

    def obey(self, step: Step) -> tuple[Event, ...]:
        """Carry out what the client wants."""
        for action in step.actions:
            match action:
                case SendText() | SendPing():
                    self.up.append(action)
                case Close():
                    self.may_give_up()
                    self.carry(self.gateway.disconnected(self.peer, self.now))
                    self.is_over = True
                case _:
                    raise AssertionError(action)
        return step.events

    def may_give_up(self) -> None:
        """The client gives a connection up only if something is wrong with it."""
        assert self.connection.failure is not None
        kind = self.connection.failure.kind
        self.count(f"given up: {kind.value}")
        if kind is FailureKind.ACK_TIMEOUT:
            assert self.is_silent or any(fault in LOST_ACK for fault in self.faults)
        else:
            assert kind is FailureKind.PONG_TIMEOUT
            assert self.is_silent

    def carry(self, step: GatewayStep) -> None:
        """Carry out what the server wants."""
        published = deque(entry for entry in step.publications if entry.peer == self.peer)
        for action in step.actions:
            match action:
                case server.SendFrame(peer=self.peer, text=text):
                    self.down.append((text, published.popleft() if published else None))
                case server.SendPing(peer=self.peer):
                    # A WebSocket library answers it in the client's name, when it reads it.
                    self.down.append((b"\x09", None))
                case server.SendPong(peer=self.peer, payload=payload):
                    self.down.append((b"\x0a" + payload, None))
                case server.ClosePeer(peer=self.peer, reason=reason):
                    # Every ping was answered in time, also while nobody read.
                    assert reason != "no pong"
                    self.is_over = True
                case server.ResetPeer(peer=self.peer):
                    self.is_over = True
                case server.MutePeer(peer=self.peer):
                    self.is_silent = True
                    self.silent_since = self.now
                    self.down.clear()
                case _:
                    pass

    def server_reads(self) -> None:
        match self.up.popleft():
            case SendText(text=text):
                self.carry(self.gateway.message_received(self.peer, text, self.now))
            case SendPing(payload=payload):
                self.carry(self.gateway.ping_received(self.peer, payload, self.now))

    def client_reads(self) -> None:
        frame, publication = self.down.popleft()
        if frame == b"\x09":
            self.carry(self.gateway.pong_received(self.peer, self.now))
            return
        if isinstance(frame, bytes):
            assert self.obey(self.connection.pong_received(frame[1:], self.now)) == ()
            return
        events = self.obey(self.connection.message_received(frame, self.now))
        if publication is not None:
            # All that was published is told, whatever the client has asked for meanwhile.
            update, ts = publication.update, publication.ts
            assert isinstance(update, Balance | Order)
            told = (
                BalanceUpdate(update, ts)
                if isinstance(update, Balance)
                else OrderUpdate(update, ts)
            )
            assert events == (told,)
            self.count(f"update while {self.connection.state_of(publication.topic).value}")
        elif events == ():
            self.count("answered a ping")
        else:
            [event] = events
            self.count(type(event).__name__)
            if isinstance(event, UnexpectedResponse):
                fits = (server.DuplicateAck(), server.WrongId())
                assert any(fault in fits for fault in self.faults)
            else:
                fine = (Subscribed, Unsubscribed, SubscriptionRejected, Malformed, Unrecognised)
                assert isinstance(event, fine)

    def deliver(self) -> None:
        """Everything arrives, and what comes of it."""
        while not self.is_over and (self.up or (self.down and not self.is_paused)):
            if self.up:
                self.server_reads()
            else:
                self.client_reads()
        self.delivered_at = self.now

    @counted(is_up, times=st.integers(1, 3))
    def the_server_reads(self, times: int) -> None:
        for _ in range(times):
            if self.up and not self.is_over:
                self.server_reads()

    @counted(is_up, times=st.integers(1, 3))
    def the_client_reads(self, times: int) -> None:
        for _ in range(times):
            if self.down and not (self.is_over or self.is_paused):
                self.client_reads()

    @counted(is_up)
    def everything_arrives(self) -> None:
        self.deliver()

    # The client.

    def ask(self, topic: Topic) -> bool:
        match self.connection.state_of(topic):
            case S.IDLE | S.REJECTED:
                self.obey(self.connection.subscribe(topic, self.now))
            case S.ACTIVE:
                self.obey(self.connection.unsubscribe(topic, self.now))
            case _:
                return False
        return True

    @counted(is_up, topic=st.sampled_from(TOPICS))
    def request(self, topic: Topic) -> None:
        if self.ask(topic):
            self.count("asked")

    @counted(is_up, topic=st.sampled_from(TOPICS), by=st.sampled_from(["subscribe", "unsubscribe"]))
    def wrong_request(self, topic: Topic, by: str) -> None:
        """Nothing of it reaches the server."""
        fit = {S.IDLE, S.REJECTED} if by == "subscribe" else {S.ACTIVE}
        if self.connection.state_of(topic) in fit:
            return
        self.count("refused to ask")
        before = self.connection.subscriptions, self.connection.pending
        with pytest.raises(LocalProtocolError):
            getattr(self.connection, by)(topic, self.now)
        assert (self.connection.subscriptions, self.connection.pending) == before

    @counted(is_up)
    def the_client_stops_reading_or_goes_on(self) -> None:
        """Only once it has answered a ping: before, it cannot know how."""
        if self.is_paused:
            self.is_paused = False
            # It could not notice before.
            self.silent_since = self.now
            self.obey(self.connection.reading_resumed(self.now))
        elif self.form is not PingForm.CONTROL and not self.is_silent:
            self.pass_time(13.0)
            if not self.is_over:
                self.is_paused = True
                self.obey(self.connection.reading_paused(self.now))

    # The server.

    @counted(topic=st.sampled_from(TOPICS))
    def publish(self, topic: Topic) -> None:
        self.publish_on(topic)

    def publish_on(self, topic: Topic) -> None:
        update = update_of(topic, 0)
        assert isinstance(update, BalanceUpdate | OrderUpdate)
        changed: Balance | Order
        changed = update.balance if isinstance(update, BalanceUpdate) else update.order
        self.carry(self.gateway.publish("demo", changed, self.now))

    @counted(is_up, fault=st.sampled_from(FAULTS), topic=st.sampled_from([None, *TOPICS]))
    def something_goes_wrong(self, fault: server.Fault, topic: Topic | None) -> None:
        self.something_goes_wrong_with(fault, topic)

    def something_goes_wrong_with(self, fault: server.Fault, topic: Topic | None) -> None:
        self.faults.append(fault)
        self.carry(self.gateway.inject(fault, self.now))
        if topic is not None and not self.is_over:
            self.ask(topic)

    @counted(is_up, topic=st.sampled_from(TOPICS))
    def an_update_overtakes_the_answer(self, topic: Topic) -> None:
        self.something_goes_wrong_with(server.DelayAck(2.0), topic)
        self.deliver()
        self.publish_on(topic)
        self.deliver()

    @counted(lambda self: is_up(self) and not self.is_paused, seconds=st.sampled_from([19.0, 45.0]))
    def goes_half_open(self, seconds: float) -> None:
        self.deliver()
        if not self.is_over:
            self.carry(self.gateway.inject(server.GoSilent(), self.now))
            self.pass_time(seconds)

    # Time.

    @counted(seconds=st.sampled_from([1.0, 13.0, 45.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        """Everything arrives at once, and whoever has a deadline is called."""
        until = self.now + seconds
        while True:
            self.deliver()
            deadlines = [self.gateway.deadline_reached(self.now).deadline]
            if not self.is_over:
                deadlines.append(self.connection.deadline)
            due = [time for time in deadlines if time is not None and time <= until]
            self.now = max(self.now, min(due, default=until))
            self.deadlines()
            if not due:
                return

    def deadlines(self) -> None:
        self.carry(self.gateway.deadline_reached(self.now))
        if not self.is_over:
            self.obey(self.connection.deadline_reached(self.now))

    @counted(is_up, seconds=st.sampled_from([1.0, LAG]))
    def the_network_lags(self, seconds: float) -> None:
        """Time passes, and nothing arrives meanwhile."""
        if self.now + seconds <= self.delivered_at + LAG:
            self.now += seconds
            self.deadlines()

    @counted(lambda self: self.is_over)
    def dial_again(self) -> None:
        self.first_id = self.connection.next_id
        self.carry(self.gateway.disconnected(self.peer, self.now))
        self.dial()

    # Always.

    @invariant()
    def both_say_the_same_once_all_has_arrived(self) -> None:
        if self.is_over or self.is_silent or self.up or self.down or self.connection.pending:
            return
        states = self.connection.subscriptions
        active = {topic for topic, state in states.items() if state is S.ACTIVE}
        assert active == self.gateway.subscriptions(self.peer)
        if active:
            self.count("in agreement")

    @invariant()
    def half_open_is_noticed_in_time(self) -> None:
        if not self.is_over and self.is_silent and not self.is_paused:
            assert CONFIG.ping_interval is not None
            assert self.now <= self.silent_since + CONFIG.ping_interval + CONFIG.pong_timeout + LAG


TestPair = PairMachine.TestCase
TestPair.settings = settings(stateful_step_count=30)


@pytest.mark.thorough
def test_every_rule_is_run_and_everything_that_may_be_told_is() -> None:
    exercise(
        PairMachine,
        {
            "Subscribed",
            "Unsubscribed",
            "SubscriptionRejected",
            "UnexpectedResponse",
            "Malformed",
            "Unrecognised",
            "answered a ping",
            "asked",
            "refused to ask",
            "in agreement",
            "update while subscribing",
            "update while active",
            "update while unsubscribing",
            "given up: ack_timeout",
            "given up: pong_timeout",
        },
    )
