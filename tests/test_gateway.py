"""The gateway core: what it answers to whom, when it speaks by itself, and each scripted fault."""

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import exchange as g
from topone_proto.errors import ConfigurationError
from topone_proto.models import Side
from topone_proto.wire.balance import BALANCE, Balance
from topone_proto.wire.orders import ORDERS, Order, OrderStatus, OrderType

TARGET = "/ws/user/?token=demo"
START = 1561948335075
ETH = Balance("ETH", Decimal("99999980.24173"), Decimal("23.596"))
ORDER = Order(
    id=132991,
    market="ETH/BTC",
    type=OrderType.LIMIT,
    side=Side.BUY,
    status=OrderStatus.COMPLETED,
    price=Decimal("0.08132"),
    amount=Decimal("1.389"),
    left=Decimal(0),
    deal_stock=Decimal("1.389"),
    deal_money=Decimal("0.10953654"),
    create_time=1522235513.740678,
    update_time=1522235513.740684,
)


def make(**settings: Any) -> g.Gateway:
    return g.Gateway(config=g.GatewayConfig(**{"ping_interval": None, **settings}))


def dial(
    gateway: g.Gateway, target: str = TARGET, *headers: tuple[str, str], now: float = 0.0
) -> g.GatewayAction:
    return gateway.handshake(target, headers, now).actions[0]


def join(gateway: g.Gateway, *topics: str, target: str = TARGET) -> int:
    answer = dial(gateway, target)
    assert isinstance(answer, g.Accept)
    for topic in topics:
        gateway.message_received(answer.peer, ask(f"sub_{topic}"), 0.0)
    return answer.peer


def ask(method: str, identity: str = "1") -> str:
    return json.dumps({"id": identity, "method": method, "params": {}, "lang": "zh-CN"})


def texts(step: g.GatewayStep) -> list[str]:
    return [action.text for action in step.actions if isinstance(action, g.SendFrame)]


def frames(step: g.GatewayStep) -> list[Any]:
    return [json.loads(text) for text in texts(step)]


def status(action: g.GatewayAction) -> int:
    return action.status if isinstance(action, g.Reject) else 101


# --- handshake ---


@pytest.mark.parametrize(
    ("rule", "absent", "empty"),
    [("absent_or_empty", 101, 101), ("absent", 101, 403), ("empty", 403, 101)],
)
def test_origin(rule: str, absent: int, empty: int) -> None:
    gateway = make(origin=rule)
    assert status(dial(gateway)) == absent
    assert status(dial(gateway, TARGET, ("oRiGiN", ""))) == empty
    assert status(dial(gateway, TARGET, ("Origin", "https://topone.run"))) == 403
    assert status(dial(gateway, TARGET, ("Origin", ""), ("Origin", "https://topone.run"))) == 403


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/ws/user/?token=wrong", 401),
        ("/ws/user/?token=", 401),
        ("/ws/user/", 401),
        ("/ws/user/?token=demo&token=demo", 401),
        ("/ws/?token=demo", 404),
        ("/ws/user/?lang=en&token=demo", 101),
    ],
)
def test_path_and_token(target: str, answer: int) -> None:
    assert status(dial(make(), target)) == answer


def test_a_quoted_token_and_any_path() -> None:
    gateway = g.Gateway({"topapi:a+b/=": "alice"}, config=g.GatewayConfig(path=None))
    assert status(dial(gateway, "/elsewhere?token=topapi:a%2Bb%2F%3D")) == 101


def test_origin_is_judged_before_the_token() -> None:
    assert status(dial(make(), "/ws/user/?token=wrong", ("Origin", "x"))) == 403


def test_peer_numbers_are_never_used_twice() -> None:
    gateway = make()
    first = join(gateway)
    gateway.disconnected(first, 0.0)
    assert join(gateway) == first + 1
    assert gateway.peers == (first + 1,)


def test_a_token_allowed_later() -> None:
    gateway = make()
    gateway.allow("fresh", "demo")
    assert status(dial(gateway, "/ws/user/?token=fresh")) == 101


# --- requests ---


@pytest.mark.parametrize("topic", ["orders", "balance"])
@pytest.mark.parametrize("action", ["sub", "unsub"])
def test_the_response_of_the_page(topic: str, action: str) -> None:
    gateway = make()
    step = gateway.message_received(join(gateway), ask(f"{action}_{topic}", "7"), 1.25)
    assert texts(step) == [
        f'{{"id":"7","method":"{action}_{topic}","code":0,"msg":"","ts":{START + 1250}}}'
    ]


def test_the_second_form_of_a_response() -> None:
    gateway = make(ok_form=True)
    assert texts(gateway.message_received(join(gateway), ask("sub_orders"), 0.0)) == [
        f'{{"id":"1","method":"sub_orders","code":0,"msg":"OK","ts":{START},"data":{{}}}}'
    ]


def test_asking_twice_is_harmless_and_acknowledged() -> None:
    gateway = make()
    peer = join(gateway, "orders")
    assert frames(gateway.message_received(peer, ask("sub_orders", "2"), 0.0))[0]["code"] == 0
    assert len(texts(gateway.publish("demo", ORDER, 0.0))) == 1
    assert frames(gateway.message_received(peer, ask("unsub_balance", "3"), 0.0))[0]["code"] == 0
    assert gateway.subscriptions(peer) == {ORDERS}


def test_an_unknown_method() -> None:
    gateway = make()
    answer = frames(gateway.message_received(join(gateway), ask("sub_weather", "9"), 0.0))
    assert [(f["id"], f["method"], f["code"]) for f in answer] == [
        ("9", "sub_weather", g.UNKNOWN_METHOD)
    ]


@pytest.mark.parametrize(
    ("frame", "identity", "method"),
    [
        ("ping", None, None),
        ("[1]", None, None),
        ("{}", None, None),
        ('{"id":1,"method":"sub_orders"}', None, "sub_orders"),
        ('{"id":"1","method":7}', "1", None),
        ('{"id":"1","method":"sub_orders","params":[]}', "1", "sub_orders"),
        ('{"id":"1","method":"sub_orders","lang":1}', "1", "sub_orders"),
        ("[" * 100_000, None, None),
        (b"\xff", None, None),
    ],
)
def test_a_malformed_request_is_answered_and_changes_nothing(
    frame: str | bytes, identity: str | None, method: str | None
) -> None:
    gateway = make()
    peer = join(gateway)
    (answer,) = frames(gateway.message_received(peer, frame, 0.0))
    assert (answer["id"], answer["method"]) == (identity, method)
    assert answer["code"] == g.MALFORMED_REQUEST
    assert gateway.subscriptions(peer) == frozenset()


@given(st.one_of(st.text(), st.binary(), st.text().map(json.dumps)))
def test_no_frame_raises(frame: str | bytes) -> None:
    gateway = make()
    for text in texts(gateway.message_received(join(gateway), frame, 0.0)):
        text.encode()


def test_input_of_a_peer_that_is_gone_is_ignored() -> None:
    gateway = make()
    assert gateway.message_received(5, ask("sub_orders"), 0.0) == g.GatewayStep()
    assert gateway.pong_received(5, 0.0) == g.GatewayStep()
    assert gateway.disconnected(5, 0.0) == g.GatewayStep()
    assert gateway.close_peer(5, 0.0) == g.GatewayStep()


# --- updates ---


def test_the_updates_of_the_page() -> None:
    gateway = make()
    peer = join(gateway, "orders", "balance")
    order = gateway.publish("demo", ORDER, 0.0)
    assert texts(order)[0] == (
        '{"method":"sub_orders","ts":1561948335075,"data":{"id":132991,"market":"ETH/BTC","type":1,'
        '"side":2,"status":2,"price":"0.08132","amount":"1.389","left":"0","dealStock":"1.389",'
        '"dealMoney":"0.10953654","createTime":1522235513.740678,"updateTime":1522235513.740684}}'
    )
    assert order.publications == (g.Publication(peer, ORDERS, START, ORDER),)
    balance = gateway.publish("demo", ETH, 0.5)
    assert texts(balance)[0] == (
        '{"method":"sub_balance","ts":1561948335575,"data":{"asset":"ETH",'
        '"available":"99999980.24173","freeze":"23.596"}}'
    )
    assert balance.publications == (g.Publication(peer, BALANCE, START + 500, ETH),)


def test_what_a_market_order_may_lack() -> None:
    gateway = make()
    join(gateway, "orders")
    bare = evolve(ORDER, price=None, left=None, deal_money=Decimal("0E-16"), create_time=5)
    data = frames(gateway.publish("demo", bare, 0.0))[0]["data"]
    assert "price" not in data
    assert "left" not in data
    assert data["dealMoney"] == "0E-16"
    assert isinstance(data["createTime"], float)


def test_updates_go_only_to_who_subscribed_of_that_account() -> None:
    gateway = g.Gateway({"a": "alice", "a2": "alice", "b": "bob"})
    first = join(gateway, "orders", target="/ws/user/?token=a")
    second = join(gateway, "orders", "balance", target="/ws/user/?token=a2")
    join(gateway, target="/ws/user/?token=a")
    join(gateway, "orders", target="/ws/user/?token=b")

    def reached(update: Order | Balance) -> list[int]:
        step = gateway.publish("alice", update, 0.0)
        assert [p.peer for p in step.publications] == [
            a.peer for a in step.actions if isinstance(a, g.SendFrame)
        ]
        return [p.peer for p in step.publications]

    assert reached(ORDER) == [first, second]
    assert reached(ETH) == [second]
    gateway.message_received(first, ask("unsub_orders"), 0.0)
    assert reached(ORDER) == [second]


# --- pings ---


@pytest.mark.parametrize(
    ("form", "ping"),
    [
        ("control", g.SendPing(1, b"1")),
        ("text", g.SendFrame(1, "ping")),
        ("method", g.SendFrame(1, '{"method":"ping"}')),
        ("timestamp", g.SendFrame(1, f'{{"ping":{START + 20_000}}}')),
    ],
)
def test_pings_in_every_form(form: str, ping: g.GatewayAction) -> None:
    gateway = make(ping_interval=20.0, ping_form=form)
    assert gateway.handshake(TARGET, [], 0.0).deadline == 20.0
    assert gateway.deadline_reached(19.9).actions == ()
    step = gateway.deadline_reached(20.0)
    assert step.actions == (ping,)
    assert step.deadline == 40.0


@pytest.mark.parametrize(
    "pong",
    ["pong", '{"method":"pong"}', '{"pong":1}', '{"id":"1","method":"pong"}', None],
)
def test_every_pong_keeps_the_connection(pong: str | None) -> None:
    gateway = make(ping_interval=20.0, pong_timeout=30.0)
    peer = join(gateway)
    gateway.deadline_reached(20.0)
    if pong is None:
        gateway.pong_received(peer, 21.0)
    else:
        assert gateway.message_received(peer, pong, 21.0).actions == ()
    gateway.deadline_reached(40.0)
    gateway.deadline_reached(60.0)
    assert gateway.peers == (peer,)
    step = gateway.deadline_reached(70.0)
    assert step.actions == (g.ClosePeer(peer, 1008, "no pong"),)
    assert step.deadline is None
    assert not gateway.peers


def test_other_traffic_answers_no_ping() -> None:
    gateway = make(ping_interval=100.0, pong_timeout=180.0)
    peer = join(gateway)
    gateway.deadline_reached(100.0)
    assert gateway.message_received(peer, ask("sub_orders"), 150.0).deadline == 200.0
    gateway.deadline_reached(200.0)
    assert gateway.deadline_reached(280.0).actions == (g.ClosePeer(peer, 1008, "no pong"),)


def test_without_a_pong_timeout_nobody_is_closed() -> None:
    gateway = make(ping_interval=20.0, pong_timeout=None)
    join(gateway)
    for now in range(20, 1000, 20):
        assert gateway.deadline_reached(now).actions == (g.SendFrame(1, "ping"),)


def test_a_clients_own_ping_is_answered() -> None:
    gateway = make()
    peer = join(gateway)
    assert gateway.ping_received(peer, b"x", 0.0).actions == (g.SendPong(peer, b"x"),)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_are_none(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="ping_interval"):
        g.GatewayConfig(ping_interval=seconds)


# --- faults ---


@pytest.mark.parametrize("refused", [403, 401, 429, 503, 500, 200])
def test_fault_refuse_handshake(refused: int) -> None:
    gateway = make()
    gateway.inject(g.RefuseHandshake(refused, retry_after=7, times=2), 0.0)
    for _ in range(2):
        answer = dial(gateway)
        assert isinstance(answer, g.Reject)
        assert answer.status == refused
        assert answer.headers == (("Retry-After", "7"),)
    assert status(dial(gateway)) == 101


def test_faults_of_dials_strike_in_order_until_cleared() -> None:
    gateway = make()
    gateway.inject(g.AnswerGarbage(b"?"), 0.0)
    gateway.inject(g.IgnoreHandshake(times=None), 0.0)
    assert dial(gateway) == g.SendGarbage(b"?")
    assert [dial(gateway) for _ in range(3)] == [g.Stall()] * 3
    gateway.clear_faults()
    assert dial(gateway) == g.Accept(1)


@pytest.mark.parametrize(
    ("code", "end"), [(1013, g.ClosePeer(1, 1013, "busy")), (None, g.ResetPeer(1))]
)
def test_fault_accept_then_close(code: int | None, end: g.GatewayAction) -> None:
    gateway = make()
    gateway.inject(g.AcceptThenClose(code, "busy"), 0.0)
    assert status(dial(gateway, "/ws/user/?token=wrong")) == 401  # would not have been accepted
    assert gateway.handshake(TARGET, [], 0.0).actions == (g.Accept(1), end)
    assert not gateway.peers
    assert gateway.handshake(TARGET, [], 0.0).actions == (g.Accept(2),)


def test_fault_delay_ack() -> None:
    gateway = make()
    peer = join(gateway)
    gateway.inject(g.DelayAck(5.0, method="sub_orders"), 0.0)
    assert len(texts(gateway.message_received(peer, ask("sub_balance"), 1.0))) == 1
    step = gateway.message_received(peer, ask("sub_orders"), 1.0)
    assert step.actions == ()
    assert step.deadline == 6.0
    assert len(texts(gateway.publish("demo", ORDER, 2.0))) == 1  # active before the ack
    assert gateway.deadline_reached(5.9).actions == ()
    assert frames(gateway.deadline_reached(6.0))[0]["ts"] == START + 1000


def test_a_delayed_ack_of_a_peer_that_is_gone_is_not_sent() -> None:
    gateway = make()
    peer = join(gateway)
    gateway.inject(g.DelayAck(5.0), 0.0)
    gateway.message_received(peer, ask("sub_orders"), 1.0)
    gateway.disconnected(peer, 2.0)
    assert gateway.deadline_reached(6.0) == g.GatewayStep()


def test_fault_lose_ack() -> None:
    gateway = make()
    peer = join(gateway)
    gateway.inject(g.LoseAck(), 0.0)
    assert gateway.message_received(peer, ask("sub_orders"), 0.0).actions == ()
    assert gateway.subscriptions(peer) == {ORDERS}
    assert len(texts(gateway.message_received(peer, ask("sub_orders"), 0.0))) == 1


def test_fault_duplicate_ack() -> None:
    gateway = make()
    gateway.inject(g.DuplicateAck(), 0.0)
    first, second = texts(gateway.message_received(join(gateway), ask("sub_orders"), 0.0))
    assert first == second


def test_fault_reject_request() -> None:
    gateway = make()
    peer = join(gateway)
    gateway.inject(g.RejectRequest(1003, "no right"), 0.0)
    (answer,) = frames(gateway.message_received(peer, ask("sub_orders"), 0.0))
    assert (answer["id"], answer["code"], answer["msg"]) == ("1", 1003, "no right")
    assert gateway.subscriptions(peer) == frozenset()


def test_fault_wrong_id() -> None:
    gateway = make()
    gateway.inject(g.WrongId("nobody"), 0.0)
    (answer,) = frames(gateway.message_received(join(gateway), ask("sub_orders"), 0.0))
    assert (answer["id"], answer["code"]) == ("nobody", 0)


def test_fault_send_raw() -> None:
    gateway = make()
    join(gateway)
    second = join(gateway)
    (text,) = texts(gateway.inject(evolve(g.MALFORMED_FRAME, peer=second), 0.0))
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(text)
    unknown = frames(gateway.inject(g.UNKNOWN_METHOD_FRAME, 0.0))
    assert [f["method"] for f in unknown] == ["notice", "notice"]


def test_fault_strange_update() -> None:
    gateway = make()
    join(gateway, "balance")
    peer = join(gateway, "orders")
    step = gateway.inject(g.SendStrangeUpdate(), 0.0)
    (frame,) = frames(step)
    assert {"id": 0, "type": 7, "side": 9, "status": 42}.items() <= frame["data"].items()
    assert "flags" in frame
    assert "flags" in frame["data"]
    assert [p.peer for p in step.publications] == [peer]


def test_fault_burst() -> None:
    gateway = make()
    join(gateway, "orders", "balance")
    gateway.publish("demo", evolve(ETH, asset="BTC"), 0.0)
    step = gateway.inject(g.Burst(100), 0.0)
    assert len(step.actions) == len(step.publications) == 200
    updates = {p.update for p in step.publications}
    assert updates == {evolve(ETH, asset="BTC"), ORDER}


def test_fault_step_clock() -> None:
    gateway = make()
    peer = join(gateway)
    gateway.inject(g.StepClock(-500), 0.0)
    (answer,) = frames(gateway.message_received(peer, ask("sub_orders"), 1.0))
    assert answer["ts"] == START + 500


def test_fault_node_clock() -> None:
    gateway = make()
    gateway.inject(g.NodeClock(5000), 0.0)
    led, right = join(gateway, "balance"), join(gateway, "balance")
    step = gateway.publish("demo", ETH, 0.0)
    assert {p.peer: p.ts - START for p in step.publications} == {led: 5000, right: 0}
    assert [frame["ts"] - START for frame in frames(step)] == [5000, 0]


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("milliseconds", str(START)),
        ("float", f"{START}.0"),
        ("text", f'"{START}"'),
        ("seconds", "1561948335.075"),
        ("microseconds", f"{START}000"),
    ],
)
def test_fault_write_times(form: str, written: str) -> None:
    gateway = make()
    peer = join(gateway, "balance")
    join(gateway, "balance")
    gateway.inject(g.WriteTimes(g.TimeForm(form), peer), 0.0)
    changed, plain = texts(gateway.publish("demo", ETH, 0.0))
    assert f'"ts":{written},' in changed
    assert f'"ts":{START},' in plain


def test_fault_add_code() -> None:
    gateway = make()
    join(gateway, "balance")
    gateway.inject(g.AddCode("0"), 0.0)
    (update,) = frames(gateway.publish("demo", ETH, 0.0))
    assert update["code"] == "0"


def test_fault_go_silent() -> None:
    gateway = make(ping_interval=20.0)
    peer = join(gateway, "orders")
    other = join(gateway, "orders")
    gateway.inject(g.DelayAck(1.0), 0.0)
    gateway.message_received(peer, ask("sub_balance"), 0.0)
    assert gateway.inject(g.GoSilent(peer), 0.0).actions == (g.MutePeer(peer),)
    step = gateway.publish("demo", ORDER, 0.0)
    assert [p.peer for p in step.publications] == [peer, other]
    assert all(a == g.SendFrame(other, texts(step)[0]) for a in step.actions)
    assert gateway.message_received(peer, ask("unsub_orders"), 0.0).actions == ()
    assert gateway.ping_received(peer, b"x", 0.0).actions == ()
    assert gateway.inject(g.CloseConnections(peer=peer), 0.0).actions == ()
    assert gateway.deadline_reached(20.0).actions == (g.SendFrame(other, "ping"),)
    assert peer in gateway.peers
    gateway.disconnected(peer, 21.0)
    assert gateway.peers == (other,)


def test_faults_that_end_connections() -> None:
    gateway = make()
    first, second, third = join(gateway), join(gateway), join(gateway)
    step = gateway.inject(g.CloseConnections(1012, "restart", peer=second), 0.0)
    assert step.actions == (g.ClosePeer(second, 1012, "restart"),)
    assert gateway.inject(g.DropConnections(), 0.0).actions == (
        g.ResetPeer(first),
        g.ResetPeer(third),
    )
    assert not gateway.peers


def test_fault_expire_token() -> None:
    gateway = g.Gateway({"old": "alice", "new": "alice"})
    old = join(gateway, target="/ws/user/?token=old")
    new = join(gateway, target="/ws/user/?token=new")
    fault = g.ExpireToken("old")
    assert "old" not in repr(fault)
    assert gateway.inject(fault, 0.0).actions == (g.ClosePeer(old, 1008, "token expired"),)
    assert gateway.peers == (new,)
    assert status(dial(gateway, "/ws/user/?token=old")) == 401
    assert status(dial(gateway, "/ws/user/?token=new")) == 101


def test_close_peer() -> None:
    gateway = make()
    peer = join(gateway)
    assert gateway.close_peer(peer, 0.0, code=4000, reason="bye").actions == (
        g.ClosePeer(peer, 4000, "bye"),
    )
    assert not gateway.peers
