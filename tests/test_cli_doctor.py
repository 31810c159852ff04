"""``topone doctor`` against a simulator that is well, and against each of its faults."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import get_args

import pytest
import trustme

from proxies import connect_proxy
from topone_cli._checks import Check, verdict
from topone_cli._doctor import _Dials, examine
from topone_proto import Endpoint, Failure, FailureKind, Token
from topone_proto.exchange import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    AcceptThenClose,
    AddCode,
    AnswerGarbage,
    BookForm,
    Burst,
    CloseConnections,
    DelayAck,
    DropConnections,
    DuplicateAck,
    ExpireToken,
    Fault,
    GatewayConfig,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    NodeClock,
    PingForm,
    RefuseHandshake,
    RejectRequest,
    SendOddBook,
    SendRaw,
    SendStrangeUpdate,
    StepClock,
    TimeForm,
    WriteTimes,
    WrongId,
)
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

TOKEN = "topapi:5ecret"
QUIET = GatewayConfig(ping_interval=None)

# Every fault that strikes a dial or a request, and what the last line says of it.
LASTING: list[tuple[Fault, bool, str]] = [
    (RefuseHandshake(401, times=None), False, "token: refused: the API token was not accepted"),
    (RefuseHandshake(403, times=None), False, "handshake without Origin: the server answered"),
    (RefuseHandshake(403), False, "handshake without Origin: refused with HTTP 403, and accepted"),
    (RefuseHandshake(429, times=None), False, "too many connections"),
    (RefuseHandshake(503, times=None), False, "gateway is in trouble"),
    (RefuseHandshake(500), False, "HTTP 500"),
    (RefuseHandshake(200, times=None), False, "HTTP 200"),
    (AnswerGarbage(times=None), False, "handshake without Origin: not websocket"),
    (IgnoreHandshake(None), False, "handshake without Origin: timeout"),
    (AcceptThenClose(times=None), False, "acknowledgements: sub_balance and sub_orders not"),
    (AcceptThenClose(code=None, times=None), False, "the connection broke on the way"),
    (DelayAck(60.0, times=None), False, "not acknowledged within 0.3 s"),
    (DelayAck(0.01, times=None), True, "all is well"),
    (LoseAck(method="sub_orders"), False, "acknowledgements: sub_orders not acknowledged within"),
    (LoseAck(times=None), False, "sub_balance and sub_orders not acknowledged within 0.3 s"),
    (DuplicateAck(), True, "UnexpectedResponse"),
    (RejectRequest(7, "no rights"), False, "acknowledgements: the exchange refused sub_balance"),
    (WrongId(), False, "acknowledgements: sub_balance not acknowledged within 0.3 s"),
    (NodeClock(-3_600_000, None), True, "all is well"),
    (StepClock(-3_600_000), True, "all is well"),
    (WriteTimes(TimeForm.TEXT), True, "all is well"),
    (AddCode(), True, "all is well"),
]
# Every fault that strikes at once, while the doctor waits for a ping.
SUDDEN: list[tuple[Fault, bool, str]] = [
    (MALFORMED_FRAME, True, "a feed will work, but look at this: Malformed"),
    (UNKNOWN_METHOD_FRAME, True, "a feed will work, but look at this: Unrecognised"),
    (SendStrangeUpdate(), True, "all is well"),
    (SendOddBook(BookForm.CROSSED), True, "all is well"),
    (Burst(50), True, "all is well"),
    (GoSilent(), False, "ping: ours was not answered"),
    (CloseConnections(1012, "restart"), False, "ping: it was waited for a ping, because: closed"),
    (DropConnections(), False, "ping: it was waited for a ping, because: lost"),
    (ExpireToken(TOKEN), False, "code 1008 (token expired)"),
]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={TOKEN: "alice"}, config=QUIET) as simulator:
        yield simulator


def looked_at(
    url: str,
    *,
    token: str = TOKEN,
    ssl_context: ssl.SSLContext | None = None,
    ping_wait: float = 0.05,
    when_subscribed: Callable[[], object] = bool,
) -> list[Check]:
    checks: list[Check] = []
    for check in examine(
        url, Token(token), timeout=0.3, ping_wait=ping_wait, ssl_context=ssl_context
    ):
        checks.append(check)
        if check.name == "acknowledgements":
            when_subscribed()
    assert "5ecret" not in repr(checks)
    return checks


def named(checks: list[Check], name: str) -> Check:
    [found] = [check for check in checks if check.name == name]
    return found


def test_a_healthy_exchange(simulator: Simulator) -> None:
    checks = looked_at(simulator.url)
    assert [check.name for check in checks] == [
        "URL",
        "DNS",
        "TCP",
        "TLS",
        "handshake without Origin",
        "handshake with an empty Origin",
        "token",
        "acknowledgements",
        "ping",
    ]
    assert named(checks, "ping").text.startswith("none in 0.05 s")
    assert verdict(checks) == Check("verdict", ok=True, text="all is well: a feed will work")
    origins = [dict(handshake.headers).get("Origin") for handshake in simulator.handshakes]
    assert origins == [None, "", None]


def test_every_fault_is_among_them() -> None:
    assert {type(fault) for fault, _, _ in LASTING + SUDDEN} == set(get_args(Fault))


@pytest.mark.parametrize(("fault", "ok", "words"), LASTING, ids=lambda value: type(value).__name__)
def test_a_fault_that_lasts(simulator: Simulator, fault: Fault, words: str, *, ok: bool) -> None:
    simulator.inject(fault)
    last = verdict(looked_at(simulator.url))
    assert (last.ok, words in last.text) == (ok, True), last.text


@pytest.mark.parametrize(("fault", "ok", "words"), SUDDEN, ids=lambda value: type(value).__name__)
def test_a_sudden_fault(simulator: Simulator, fault: Fault, words: str, *, ok: bool) -> None:
    checks = looked_at(simulator.url, when_subscribed=lambda: simulator.inject(fault))
    last = verdict(checks)
    assert (last.ok, words in last.text) == (ok, True), last.text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (PingForm.CONTROL, "a WebSocket ping frame"),
        (PingForm.TEXT, "a text frame: ping"),
        (PingForm.METHOD, 'a text frame: {"method":"ping"}'),
        (PingForm.TIMESTAMP, 'a text frame: {"ping":'),
    ],
)
def test_the_form_of_the_ping_is_seen(form: PingForm, words: str) -> None:
    config = GatewayConfig(ping_form=form, ping_interval=0.05)
    with run_in_thread(tokens={TOKEN: "alice"}, config=config) as simulator:
        # It does not wait on once it has seen one.
        ping = named(looked_at(simulator.url, ping_wait=600.0), "ping")
    assert ping.ok
    assert ping.text.startswith(words)


def test_what_the_server_says_is_shown_without_the_token(simulator: Simulator) -> None:
    frame = SendRaw(f'{{"method":"{TOKEN}"}}')
    checks = looked_at(simulator.url, when_subscribed=lambda: simulator.inject(frame))
    assert "Unrecognised" in named(checks, "oddities").text


def test_a_token_that_nobody_knows(simulator: Simulator) -> None:
    last = verdict(looked_at(simulator.url, token="other"))
    assert last.text.startswith("token: refused")


def test_a_server_that_wants_no_origin_at_all() -> None:
    # By hand: the gateway takes both.
    class Dials(_Dials):
        def _try(self, endpoint: Endpoint) -> Failure | None:
            return None if endpoint.origin is None else Failure(FailureKind.HANDSHAKE, status=403)

    url = "wss://exchange.example/"
    dials = Dials(Token(TOKEN), 1.0, None)
    checks = list(dials.handshakes(Endpoint(url, None), Endpoint(url, "")))
    assert [check.ok for check in checks] == [True, None, True]
    assert checks[1].text == "not accepted (HTTP 403): leave Origin out"
    assert dials.good == Endpoint(url, None)


def test_a_url_that_is_none() -> None:
    assert verdict(looked_at("http://example/")).text.startswith("URL: ")


def test_a_name_that_does_not_exist() -> None:
    assert verdict(looked_at("wss://no.such.host.invalid/")).text.startswith("DNS: dns")


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert verdict(looked_at(f"ws://127.0.0.1:{port}/")).text.startswith("TCP: refused")


def test_tls_with_a_good_and_with_a_bad_certificate() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with run_in_thread(tokens={TOKEN: "alice"}, config=QUIET, ssl_context=context) as simulator:
        good = looked_at(simulator.url, ssl_context=trusting)
        bad = looked_at(simulator.url)
    assert named(good, "TLS").text == "TLSv1.3, the certificate is good"
    assert verdict(good).ok
    assert verdict(bad).text.startswith("TLS: tls (")
    assert bad[-1].name == "TLS"


def test_it_goes_the_way_of_a_feed_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("exchange.invalid").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with (
        run_in_thread(tokens={TOKEN: "alice"}, config=QUIET, ssl_context=context) as simulator,
        connect_proxy() as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.url}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        # A name that only the proxy knows.
        url = simulator.url.replace("127.0.0.1", "exchange.invalid")
        checks = looked_at(url, ssl_context=trusting)
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
        unusable = looked_at(url, ssl_context=trusting)
    assert named(checks, "proxy").text.startswith(f"HTTPS_PROXY names {proxy.url}")
    assert named(checks, "TLS").ok is None
    assert verdict(checks).ok, verdict(checks).text
    assert verdict(unusable).text.startswith("proxy: network (HTTPS_PROXY is no http://")


def doctor(simulator: Simulator, *arguments: str, token: str = TOKEN) -> tuple[int, str, str]:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from topone_cli import main; main()", "doctor"),
            *("--url", simulator.url, "--ping-wait", "0.1", *arguments),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TOPONE_TOKEN": token},
        check=False,
    )
    assert "5ecret" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_command_for_people(simulator: Simulator) -> None:
    code, out, err = doctor(simulator)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "ok  verdict: all is well: a feed will work"


def test_the_command_for_machines(simulator: Simulator) -> None:
    code, out, err = doctor(simulator, "--json", token="unknown-5ecret")
    assert (code, err) == (1, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["check"] for row in rows][-1] == "verdict"
    assert rows[-1]["ok"] is False
    assert {tuple(row) for row in rows} == {("check", "ok", "text")}
