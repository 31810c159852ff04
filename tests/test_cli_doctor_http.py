"""``topone doctor`` and HTTP: against an exchange that is well, and against each of its faults."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from commands import SECRET, invoke
from topone_accounts import FileStore, default_path
from topone_cli._access import Access
from topone_cli._checks import Check, verdict
from topone_cli._doctor_http import HttpDoctor
from topone_cli._http import fetch
from topone_proto import Credentials, Token
from topone_proto.account import StoredState
from topone_proto.account.token_service import TokenState
from topone_proto.adapters import HttpEndpoint, MemoryStore
from topone_proto.exchange import CutHttp, GarbleHttp, HangHttp, RefuseHttp, RejectHttp, ResetHttp
from topone_proto.exchange.http_faults import HttpFault
from topone_proto.wire.http import HttpRequest, HttpResponse
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={SECRET: "demo"}) as simulator:
        yield simulator


def looked_at(
    simulator: Simulator, access: Access | None = None, store: MemoryStore | None = None
) -> list[Check]:
    keys = Access(simulator.credentials, None, "the keyring")
    endpoint = HttpEndpoint(simulator.http_url)
    doctor = HttpDoctor(
        endpoint.url, partial(fetch, endpoint), access or keys, store or MemoryStore(), 0.5
    )
    checks = list(doctor.checks())
    assert simulator.credentials.reveal() not in repr(checks)
    assert "topapi" not in repr(checks)
    return checks


def named(checks: list[Check], name: str) -> Check:
    [found] = [check for check in checks if check.name == name]
    return found


NAMES = ["keys", "HTTP", "clock", "token service", "balances", "open orders"]


def test_a_healthy_exchange(simulator: Simulator) -> None:
    checks = looked_at(simulator)
    assert [check.name for check in checks] == NAMES
    assert all(check.ok for check in checks)
    assert named(checks, "balances").text == "3 assets"


FAULTS: list[tuple[HttpFault, str, str]] = [
    (RejectHttp("T0005", path="token"), "token service", "does not belong to this app id"),
    (RejectHttp("T0006", path="token"), "token service", "this machine's address"),
    (RefuseHttp(429, path="token"), "token service", "asked too often"),
    (GarbleHttp(path="token"), "token service", "a network's sign-in page"),
    (RefuseHttp(503, path="balance"), "balances", "the exchange is in trouble (HTTP 503"),
    (RejectHttp(10003, path="balance"), "balances", "does not accept the token"),
    (GarbleHttp('{"code": 0, "data": {"list": [{"asset": 5}]}}', path="balance"), "balances",
     "1 of the rows cannot be read: row 0: asset is no text"),
    (RejectHttp(10027, path="order/query"), "open orders", "asked too often (code 10027"),
    (ResetHttp(path="order/query"), "open orders", "Connection reset"),
    (CutHttp(path="market"), "HTTP", "lost"),
    (HangHttp(path="market"), "HTTP", "no answer within 0.5 s"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "name", "words"), FAULTS)
def test_a_fault_is_found_where_it_is(
    simulator: Simulator, fault: HttpFault, name: str, words: str
) -> None:
    simulator.inject(fault)
    checks = looked_at(simulator)
    assert named(checks, name).ok is False
    assert words in verdict(checks).text


def test_a_list_of_markets_that_is_refused_is_no_obstacle(simulator: Simulator) -> None:
    simulator.inject(RefuseHttp(503, path="market"))
    checks = looked_at(simulator)
    assert named(checks, "HTTP").ok is None
    assert verdict(checks).ok


def test_a_token_of_ones_own_is_used_as_it_is(simulator: Simulator) -> None:
    checks = looked_at(simulator, Access(None, Token(SECRET), "TOPONE_TOKEN"))
    assert [check.name for check in checks] == [n for n in NAMES if n != "token service"]
    assert named(checks, "keys").text == "a token in TOPONE_TOKEN"


@pytest.mark.parametrize(("date", "words"), [
    ("Thu, 01 Jan 2015 00:00:00 GMT", "s fast: set it, best by NTP"),
    ("Thu, 01 Jan 2099 00:00:00 GMT", "s slow: set it, best by NTP"),
    ("", "the server does not say its time"),
])  # fmt: skip
def test_the_clock_is_compared(date: str, words: str) -> None:
    def answer(request: HttpRequest, _: float) -> HttpResponse:
        return HttpResponse(200, b"{}", (("Date", date),), request)

    access = Access(None, Token(SECRET), "a file")
    checks = list(HttpDoctor("http://x", answer, access, None, 1.0).checks())
    assert words in named(checks, "clock").text


def test_a_stored_token_is_used_and_none_is_asked_for(simulator: Simulator) -> None:
    store = MemoryStore()
    looked_at(simulator, store=store)
    checks = looked_at(simulator, store=store)
    assert "one before, which is good still" in named(checks, "token service").text
    tokens = [call for call in simulator.http_calls if "token" in str(call)]
    assert len([call for call in simulator.http_calls if call.path.endswith("token")]) == 1, tokens


def stored(state: StoredState) -> MemoryStore:
    store = MemoryStore()
    assert store.save(state, StoredState()) is None
    return store


def test_it_does_not_wait_for_the_minute(simulator: Simulator) -> None:
    now = time.time()
    store = stored(StoredState(TokenState(asked_at=now, not_before=now + 50)))
    checks = looked_at(simulator, store=store)
    assert "one was asked for a moment ago; try again then" in verdict(checks).text
    assert [check.name for check in checks] == NAMES[:4]


def test_the_budget_of_calls_about_orders_is_kept(simulator: Simulator) -> None:
    now = time.time()
    store = stored(StoredState(order_calls=tuple(now - n for n in range(10, 0, -1))))
    access = Access(None, Token(SECRET), "a file")
    checks = looked_at(simulator, access, store)
    assert named(checks, "open orders").ok is None
    assert "not asked for" in named(checks, "open orders").text
    store = MemoryStore()
    looked_at(simulator, access, store)
    assert len(store.load().order_calls) == 1
    blocked = stored(StoredState(orders_not_before=now + 3000))
    assert named(looked_at(simulator, access, blocked), "open orders").ok is None


def test_the_command_looks_at_both(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keys = simulator.credentials
    env: dict[str, str | None] = {"TOPONE_APP_ID": keys.app_id, "TOPONE_APP_KEY": keys.reveal()}
    urls = ("--url", simulator.url, "--http-url", simulator.http_url)
    code, out, err = invoke("doctor", *urls, "--ping-wait", "0.05", "--json", env=env)
    assert (code, err) == (0, "")
    names = [json.loads(line)["check"] for line in out.splitlines()]
    assert names[:8] == ["URL", *NAMES, "DNS"]
    assert names[-1] == "verdict"
    path = default_path(keys.app_id, HttpEndpoint(simulator.http_url))
    assert FileStore(path).load().token.token is not None


def test_without_a_token_nothing_is_dialled(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    env: dict[str, str | None] = {"TOPONE_APP_ID": "x" * 32, "TOPONE_APP_KEY": "5ecret"}
    urls = ("--url", simulator.url, "--http-url", simulator.http_url)
    code, out, _ = invoke("doctor", *urls, env=env)
    assert code == 1
    assert "NO  verdict: token service: the exchange does not know this app id" in out
    assert simulator.handshakes == ()


def test_keys_that_nobody_has_are_no_secret() -> None:
    assert "5ecret" not in repr(Access(Credentials("x", "5ecret"), None, "here"))
