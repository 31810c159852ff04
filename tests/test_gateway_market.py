"""The gateway's public socket: who is served market data, what is pushed, what a pull is answered
with."""

import json
from decimal import Decimal
from typing import Any

import pytest

from topone_proto import exchange as g
from topone_proto.models import Side
from topone_proto.wire.balance import Balance
from topone_proto.wire.topic import Topic, families

BTC = "BTC/USDT"
START = 1561948335075
TIME = START / 1000
MINUTE = 1561948320


class Server:
    """A gateway and its markets, at the time 0 unless told otherwise."""

    def __init__(self, **config: Any) -> None:
        # TOP/ETH is the market of the exchange's own examples.
        markets = {**g.DEFAULT_MARKETS, "TOP/ETH": g.DEFAULT_MARKETS["ETH/BTC"]}
        self.living = g.LivingExchange(seed=1, start_time=TIME, markets=markets)
        self.market = self.living.markets[BTC]
        settings = g.GatewayConfig(**{"ping_interval": None, **config})
        self.gateway = g.Gateway(config=settings, markets=self.living.markets)

    def dial(self, target: str = "/ws/", *headers: tuple[str, str]) -> g.GatewayAction:
        return self.gateway.handshake(target, headers, 0.0).actions[0]

    def join(self, *topics: str, target: str = "/ws/") -> int:
        answer = self.dial(target)
        assert isinstance(answer, g.Accept)
        for topic in topics:
            assert self.ask(answer.peer, f"sub_{topic}")[0]["code"] == 0
        return answer.peer

    def ask(self, peer: int, method: str, now: float = 0.0, **params: Any) -> list[Any]:
        text = json.dumps({"id": "1", "method": method, "params": params, "lang": "zh-CN"})
        return frames(self.gateway.message_received(peer, text, now))

    def trade(self, price: str, amount: str = "1", now: float = 0.0) -> list[Any]:
        self.market.trade(Decimal(price), Decimal(amount), Side.BUY, now)
        return self.changed(now)

    def changed(self, now: float = 0.0) -> list[Any]:
        return frames(self.gateway.market_changed(BTC, now))


def frames(step: g.GatewayStep) -> list[Any]:
    return [json.loads(a.text) for a in step.actions if isinstance(a, g.SendFrame)]


def status(action: g.GatewayAction) -> int:
    return action.status if isinstance(action, g.Reject) else 101


# --- the two sockets ---


def test_the_public_socket_needs_no_token() -> None:
    server = Server()
    assert [status(server.dial(t)) for t in ("/ws/", "/ws/?token=no", "/ws", "/ws/user/")] == [
        *(101, 101, 404, 401)
    ]


def test_the_public_socket_is_as_strict_about_origin() -> None:
    assert status(Server().dial("/ws/", ("Origin", "http://here"))) == 403


def test_without_markets_there_is_no_public_socket() -> None:
    assert status(g.Gateway().handshake("/ws/", (), 0.0).actions[0]) == 404
    everything = g.Gateway(config=g.GatewayConfig(path=None))
    assert status(everything.handshake("/ws/", (), 0.0).actions[0]) == 401


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_each_family_is_served_on_its_socket_and_on_no_other(family: Any) -> None:
    method = family.example.topic.subscribe_method
    codes = {
        name: code_of(method, target)
        for name, target in (("public", "/ws/"), ("private", "/ws/user/?token=demo"))
    }
    assert codes == {"public": g.UNKNOWN_METHOD, "private": g.UNKNOWN_METHOD} | {family.socket: 0}


def code_of(method: str, target: str) -> int:
    server = Server()
    code: int = server.ask(server.join(target=target), method)[0]["code"]
    return code


def test_the_private_socket_may_serve_market_data_too() -> None:
    server = Server(is_mixed=True)
    peer = server.join("orders", f"deals_{BTC}", target="/ws/user/?token=demo")
    assert [frame["method"] for frame in server.trade("9150.5")] == [f"sub_deals_{BTC}"]
    assert server.gateway.subscriptions(peer) == {Topic("orders"), Topic(f"deals_{BTC}")}


@pytest.mark.parametrize(
    "name",
    [
        *("kline_BTC/USDT", "kline_BTC/USDT_3m", "kline_NO/NE_1m", "kline", "kline_", "depth_"),
        *("depth_BTC/USDT", "depth_BTC/USDT_2x", "deals_", "deals_NO/NE", "deals_BTC/USDT_1m"),
        "sample_BTC/USDT",
    ],
)
def test_what_is_no_topic_of_a_market_is_refused(name: str) -> None:
    server = Server()
    (answer,) = server.ask(server.join(), f"sub_{name}")
    assert answer["code"] == g.UNKNOWN_METHOD


# --- pushes ---


def test_a_subscription_is_followed_by_what_there_is() -> None:
    server = Server()
    for price in ("9150.5", "9151"):
        server.trade(price)
    peer = server.join()

    ack, push = server.ask(peer, f"sub_deals_{BTC}")
    assert ack == {"id": "1", "method": f"sub_deals_{BTC}", "code": 0, "msg": "", "ts": START}
    assert push == {
        "method": f"sub_deals_{BTC}",
        "ts": START,
        "data": {"list": [[TIME, "9151", "1", 2], [TIME, "9150.5", "1", 2]]},
    }
    _, push = server.ask(peer, f"sub_kline_{BTC}_1m")
    row = [MINUTE, "9150.5", "9151", "9151", "9150.5", "2", "18301.5"]
    assert push["data"] == {"list": [row]}
    _, push = server.ask(peer, f"sub_depth_{BTC}_10x")
    assert [*push["data"]] == ["time", "asks", "bids"]
    assert push["data"]["time"] == TIME
    assert len(push["data"]["asks"]) == len(push["data"]["bids"]) == 10
    assert push["data"]["asks"][0][0] == "9150.60"
    # Subscribing again is harmless, and tells nothing new.
    assert len(server.ask(peer, f"sub_depth_{BTC}_10x")) == 1
    assert len(server.ask(peer, f"unsub_depth_{BTC}_10x")) == 1
    assert len(server.ask(peer, f"unsub_depth_{BTC}_10x")) == 1


def test_a_market_without_deals_has_no_first_push_but_the_book() -> None:
    server = Server()
    peer = server.join()
    names = (f"deals_{BTC}", f"kline_{BTC}_1d", f"depth_{BTC}_1x")
    assert [len(server.ask(peer, f"sub_{name}")) for name in names] == [1, 1, 2]


def test_there_need_be_no_first_push() -> None:
    server = Server(has_first_push=False)
    server.trade("9150.5")
    names = (f"deals_{BTC}", f"kline_{BTC}_1d", f"depth_{BTC}_1x")
    peer = server.join()
    assert [len(server.ask(peer, f"sub_{name}")) for name in names] == [1, 1, 1]


def test_new_deals_are_told_once() -> None:
    server = Server(is_newest_first=False)
    server.trade("1")
    server.join(f"deals_{BTC}")
    server.market.trade(Decimal(2), Decimal(1), Side.SELL, 1.0)
    (push,) = server.trade("3", now=1.0)
    assert push["data"] == {"list": [[TIME + 1.0, "2", "1", 1], [TIME + 1.0, "3", "1", 2]]}
    assert server.changed() == []


def test_the_backlog_is_bounded() -> None:
    server = Server(backlog=2)
    for price in "123":
        server.trade(price)
    _, push = server.ask(server.join(), f"sub_deals_{BTC}")
    assert [row[1] for row in push["data"]["list"]] == ["3", "2"]


def test_the_newest_candle_repeats_and_the_one_before_is_told_when_its_period_ends() -> None:
    server = Server()
    server.join(f"kline_{BTC}_1m")

    def closes(price: str, now: float) -> list[tuple[int, str]]:
        (push,) = server.trade(price, now=now)
        return [((row[0] - MINUTE) // 60, row[2]) for row in push["data"]["list"]]

    assert closes("1", 0.0) == [(0, "1")]
    assert closes("2", 1.0) == [(0, "2")]
    assert closes("3", 60.0) == [(0, "2"), (1, "3")]
    assert closes("4", 180.0) == [(1, "3"), (2, "3"), (3, "4")]


def test_a_book_is_told_when_it_has_changed() -> None:
    server = Server()
    server.join(f"depth_{BTC}_1x")
    server.changed()
    assert server.changed() == []
    server.living.account.place(BTC, Side.BUY, Decimal(2), 0.0, price=Decimal("9150.50"))
    (push,) = server.changed()
    assert push["data"]["bids"][0] == ["9150.50", "2"]


def test_a_change_of_one_market_is_nothing_to_the_topics_of_another() -> None:
    server = Server()
    server.join("deals_ETH/BTC", "kline_ETH/BTC_1m", "depth_ETH/BTC_1x")
    assert server.trade("1") == []


def test_what_is_published_is_recorded() -> None:
    server = Server()
    server.join(f"deals_{BTC}")
    server.market.trade(Decimal(2), Decimal(1), Side.SELL, 0.0)
    (publication,) = server.gateway.market_changed(BTC, 0.0).publications
    deals = (g.Trade(TIME, Decimal(2), Decimal(1), Side.SELL),)
    assert publication == g.Publication(1, Topic(f"deals_{BTC}"), START, deals)


def test_made_up_market_data_goes_to_whoever_is_subscribed() -> None:
    server = Server()
    server.join(f"depth_{BTC}_1x")
    server.join()
    book = g.Depth(1.5, ((Decimal(2), Decimal("1E+1")),), ())
    step = server.gateway.publish_market(Topic(f"depth_{BTC}_1x"), book, 0.0)
    (push,) = frames(step)
    assert push["data"] == {"time": 1.5, "asks": [["2", "10"]], "bids": []}


# --- pulls ---


def test_a_pull_is_answered_with_the_candles_of_its_range() -> None:
    server = Server()
    server.trade("1")
    server.trade("2", now=120.0)
    peer = server.join()
    (answer,) = server.ask(
        peer, f"req_kline_{BTC}_1m", 120.0, **{"from": MINUTE, "to": MINUTE + 60}
    )
    assert answer == {
        "id": "1",
        "method": f"req_kline_{BTC}_1m",
        "code": 0,
        "msg": "",
        "ts": START + 120_000,
        "data": {
            "list": [
                [MINUTE, "1", "1", "1", "1", "1", "1"],
                [MINUTE + 60, "1", "1", "1", "1", "0", "0"],
            ]
        },
    }


@pytest.mark.parametrize(("cut", "first"), [("oldest", 101), ("newest", 0)])
def test_a_pull_has_300_rows_at_most(cut: str, first: int) -> None:
    server = Server(pull_cut=cut, ok_form=True)
    server.trade("1")
    day = {"from": MINUTE, "to": MINUTE + 400 * 60}
    (answer,) = server.ask(server.join(), f"req_kline_{BTC}_1m", 86400.0, **day)
    rows = answer["data"]["list"]
    assert answer["msg"] == "OK"
    assert [len(rows), (rows[0][0] - MINUTE) // 60] == [300, first]


@pytest.mark.parametrize(
    "params", [{}, {"from": 1}, {"from": "1", "to": 2}, {"from": 1.5, "to": 2}, {"from": True}]
)
def test_a_pull_without_whole_seconds_is_refused(params: dict[str, Any]) -> None:
    server = Server()
    (answer,) = server.ask(server.join(), f"req_kline_{BTC}_1m", **params)
    assert answer["code"] == g.MALFORMED_REQUEST
    assert "data" not in answer


@pytest.mark.parametrize("name", [f"depth_{BTC}_1x", f"deals_{BTC}", "balance", "kline_NO/NE_1m"])
def test_only_candles_can_be_pulled(name: str) -> None:
    server = Server()
    (answer,) = server.ask(server.join(), f"req_{name}", **{"from": 1, "to": 2})
    assert answer["code"] == g.UNKNOWN_METHOD


def test_the_faults_of_requests_strike_pulls_too() -> None:
    server = Server()
    peer = server.join()
    server.gateway.inject(g.RejectRequest(7, "no", method=f"req_kline_{BTC}_1m"), 0.0)
    (answer,) = server.ask(peer, f"req_kline_{BTC}_1m", **{"from": 1, "to": 2})
    assert (answer["code"], answer["msg"]) == (7, "no")


# --- faults ---


@pytest.mark.parametrize("form", g.BookForm)
def test_an_odd_book(form: g.BookForm) -> None:
    server = Server()
    server.join(f"depth_{BTC}_1x", f"deals_{BTC}")
    server.join("balance", target="/ws/user/?token=demo")
    (push,) = frames(server.gateway.inject(g.SendOddBook(form), 0.0))
    asks, bids = push["data"]["asks"], push["data"]["bids"]
    match form:
        case g.BookForm.CROSSED:
            assert Decimal(asks[0][0]) < Decimal(bids[0][0])
            assert asks == sorted(asks, key=lambda level: Decimal(level[0]))
        case g.BookForm.EMPTY:
            assert asks == bids == []
        case g.BookForm.ZERO:
            assert asks[0][1] == "0"
            assert len(asks) == 10


def test_a_burst_repeats_books_and_candles_and_no_deals() -> None:
    server = Server()
    server.trade("1")
    server.join(f"depth_{BTC}_1x", f"deals_{BTC}", f"kline_{BTC}_1m")
    pushes = frames(server.gateway.inject(g.Burst(2), 0.0))
    assert [push["method"].split("_")[1] for push in pushes] == ["depth"] * 2 + ["kline"] * 2


def test_a_connection_of_the_public_socket_has_no_token_that_could_expire() -> None:
    server = Server()
    peer = server.join()
    server.gateway.inject(g.ExpireToken("demo"), 0.0)
    assert server.gateway.peers == (peer,)
    update = Balance("ETH", Decimal(1), Decimal(0))
    assert frames(server.gateway.publish("demo", update, 0.0)) == []


# --- pings ---


def test_a_pong_repeats_the_number_of_its_ping() -> None:
    server = Server(ping_interval=20.0, pong_timeout=50.0, ping_form="timestamp")
    gateway, peer = server.gateway, server.join()
    for now in (20.0, 40.0):
        assert frames(gateway.deadline_reached(now)) == [{"ping": START + now * 1000}]
    # The one number was never sent, and the other forms have none.
    for frame in (f'{{"pong":{START}}}', "pong", '{"method":"pong"}'):
        gateway.message_received(peer, frame, 50.0)
    assert gateway.deadline_reached(70.0).actions == (g.ClosePeer(peer, 1008, "no pong"),)


def test_a_pong_may_answer_an_earlier_ping() -> None:
    server = Server(ping_interval=20.0, pong_timeout=50.0, ping_form="timestamp")
    gateway, peer = server.gateway, server.join()
    for now in (20.0, 40.0):
        gateway.deadline_reached(now)
    gateway.message_received(peer, f'{{"pong":{START + 20_000}}}', 50.0)
    assert [type(a) for a in gateway.deadline_reached(70.0).actions] == [g.SendFrame]
