"""``topone login``: where keys are kept, and how one token proves them."""

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keyring
import pytest
from attrs import evolve
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, NoKeyringError

import topone_cli._http
from commands import at_terminal, invoke
from topone_accounts import FileStore, default_path
from topone_cli._errors import CommandFailed
from topone_cli._keys import find_keys, find_stored_keys, keys_file
from topone_cli._prove import Prover, explain_refusal
from topone_proto import (
    ConfigurationError,
    ConnectionFailed,
    Credentials,
    Failure,
    FailureKind,
    Token,
)
from topone_proto.account import StoredState
from topone_proto.account.token_service import TokenState
from topone_proto.adapters import HttpEndpoint, MemoryStore
from topone_proto.wire.http import ApiError, HttpRequest, HttpResponse, read_data

ID = "0123456789abcdef0123456789abcdef"
KEY = "a-5ecret-key"
KEYS = Credentials(ID, KEY)
ENDPOINT = HttpEndpoint()
TOKEN = "topapi:" + "5ecret" * 10
FOUND = HttpResponse(200, json.dumps({"code": 0, "data": {"apiToken": TOKEN}}).encode())


def refusal(code: str, **headers: str) -> HttpResponse:
    body = json.dumps({"status": 200, "error_code": code, "data": "no"})
    return HttpResponse(200, body.encode(), tuple(headers.items()))


class Keyring(KeyringBackend):
    priority = 1.0  # pyright: ignore[reportAssignmentType]  # keyring's own back ends do so, too

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring has no types there
        self.entries: dict[tuple[str, str], str] = {}
        self.trouble: Exception | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.trouble is not None:
            raise self.trouble
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("TOPONE_APP_ID", "TOPONE_APP_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ring() -> Iterator[Keyring]:
    before = keyring.get_keyring()
    ring = Keyring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> "Exchange":
    exchange = Exchange()
    monkeypatch.setattr(topone_cli._http, "fetch", exchange.answer)
    return exchange


class Exchange:
    """One that answers what it was given, the last again and again."""

    def __init__(self, *answers: HttpResponse | Failure) -> None:
        self.answers: Sequence[HttpResponse | Failure] = answers or (FOUND,)
        self.requests: list[HttpRequest] = []

    def fetch(self, request: HttpRequest, _: float) -> HttpResponse:
        self.requests.append(request)
        answer, *rest = self.answers
        self.answers = rest or self.answers
        if isinstance(answer, Failure):
            raise ConnectionFailed(answer)
        return evolve(answer, request=request)

    def answer(self, _: HttpEndpoint, request: HttpRequest, timeout: float) -> HttpResponse:
        return self.fetch(request, timeout)


def login(*arguments: str, typed: str = f"{ID}\n{KEY}\n") -> tuple[int, str, str]:
    return invoke("login", *arguments, typed=typed)


# --- the proof -----------------------------------------------------------------------------------


def prove(*answers: HttpResponse | Failure, store: Any = None, is_new: bool = True) -> Token:
    exchange = Exchange(*answers)
    notes: list[str] = []
    prover = Prover(exchange.fetch, store or MemoryStore(), notes.append, lambda _: None)
    return prover.prove(KEYS, is_new=is_new)


def test_one_request_proves_the_keys() -> None:
    exchange, store = Exchange(), MemoryStore()
    token = Prover(exchange.fetch, store, pytest.fail).prove(KEYS, is_new=True)
    assert token == Token(TOKEN)
    [request] = exchange.requests
    assert (request.path, dict(request.query)["appId"]) == ("/u/v1/api/token", ID)
    assert store.load().token.token == Token(TOKEN)


def stored(**changes: Any) -> MemoryStore:
    store = MemoryStore()
    state = StoredState(TokenState(token=Token("old"), obtained_at=time.time() - 500, **changes))
    assert store.save(state, StoredState()) is None
    return store


def test_a_stored_token_proves_nothing_of_a_key() -> None:
    store = stored()
    assert prove(store=store) == Token(TOKEN)
    store = stored()
    assert prove(store=store, is_new=False) == Token("old")


def test_the_stored_token_stays_if_the_key_is_wrong() -> None:
    store = stored()
    with pytest.raises(CommandFailed, match="the app key does not belong to this app id"):
        prove(refusal("T0005"), store=store)
    assert store.load().token.token == Token("old")
    assert store.load().token.not_before is not None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal("T0001"), "does not know this app id .code T0001"),
        (refusal("T0005"), "the app key does not belong to this app id"),
        (refusal("T0006"), "may not be used from this machine's address"),
        (HttpResponse(200, b"<html>Please sign in</html>"), "sign-in page .* --http-url"),
        (HttpResponse(503, b"<html>"), "the exchange is in trouble .HTTP 503"),
        (HttpResponse(404, b"nothing here"), "does not know the question .HTTP 404.*--http-url"),
        (HttpResponse(429), "asked too often .HTTP 429.*, and blocks for an hour"),
        (Failure(FailureKind.DNS), "check the host's name"),
        (Failure(FailureKind.TIMEOUT), "check the network"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(answer: HttpResponse | Failure, words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        prove(answer)


def test_a_wrong_clock_is_said_and_corrected_by_one_more_request() -> None:
    exchange = Exchange(refusal("T0004", Date="Thu, 01 Jan 2015 00:00:00 GMT"), FOUND)
    notes: list[str] = []
    clock = Jumping()
    prover = Prover(exchange.fetch, MemoryStore(), notes.append, clock.sleep)
    with clock:
        assert prover.prove(KEYS, is_new=True) == Token(TOKEN)
    assert len(exchange.requests) == 2
    assert "s fast: set it" in notes[0]
    assert "one token a minute: " in notes[1]
    assert clock.slept > 60


class Jumping:
    """Both clocks, ahead by what was slept."""

    def __init__(self) -> None:
        self.slept = 0.0
        self._patch = pytest.MonkeyPatch()

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def __enter__(self) -> None:
        for name in ("time", "monotonic"):  # of every module
            real = getattr(time, name)

            def jumped(real: Callable[[], float] = real) -> float:
                return real() + self.slept

            self._patch.setattr(time, name, jumped)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def test_it_waits_for_its_minute() -> None:
    clock = Jumping()
    now = time.time()
    store = stored(asked_at=now - 30, not_before=now + 35)
    exchange, notes = Exchange(), list[str]()
    with clock:
        Prover(exchange.fetch, store, notes.append, clock.sleep).prove(KEYS, is_new=True)
    assert 30 < clock.slept < 60
    assert notes[0].startswith("the exchange gives one token a minute: 3")


def test_it_does_not_wait_for_the_end_of_a_block() -> None:
    store = stored(asked_at=time.time(), not_before=time.time() + 3000)
    exchange = Exchange()
    with pytest.raises(CommandFailed, match=r"no token may be asked for before \d\d:\d\d:\d\d"):
        Prover(exchange.fetch, store, pytest.fail).prove(KEYS, is_new=True)
    assert exchange.requests == []


def test_a_place_that_cannot_be_written_to_is_said() -> None:
    class Full(MemoryStore):
        def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
            raise OSError(28, "the disk is full")

    with pytest.raises(CommandFailed, match="the disk is full"):
        prove(store=Full())


def test_other_codes_are_said_as_they_are() -> None:
    with pytest.raises(ApiError) as error:
        read_data(HttpResponse(200, b'{"code": 77, "msg": "so\\u001b[2J"}'))
    assert explain_refusal(error.value) == "the exchange refuses (code 77, so\\x1b[2J)"


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("exchange")
def test_it_stores_in_a_file_that_others_cannot_read() -> None:
    code, out, err = login("--file")
    path = keys_file(ENDPOINT)
    assert (code, err) == (0, "")
    assert f"stored in {path}." in out
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert find_keys(ENDPOINT) == (KEYS, str(path))
    assert FileStore(default_path(ID, ENDPOINT)).load().token.token == Token(TOKEN)


@pytest.mark.usefixtures("exchange")
def test_it_stores_in_the_keyring(ring: Keyring) -> None:
    code, out, err = login()
    assert (code, err) == (0, "")
    assert "stored in the keyring" in out
    assert [service for service, _ in ring.entries] == ["topone"]
    assert find_keys(ENDPOINT) == (KEYS, "the keyring")
    assert find_keys(HttpEndpoint("https://other.example")) is None


@pytest.mark.parametrize("where", ["--file", ""])
def test_an_account_with_a_name_has_keys_of_its_own(
    exchange: Exchange, ring: Keyring, where: str
) -> None:
    code, out, err = login(*filter(None, (where, "--account", "desk-2")))
    assert (code, err) == (0, "")
    assert "[accounts.desk-2]" in out
    assert find_keys(ENDPOINT) is None
    assert find_stored_keys(ENDPOINT, "desk-3") is None
    found = find_stored_keys(ENDPOINT, "desk-2")
    assert found is not None
    assert found[0] == KEYS
    assert bool(ring.entries) is not bool(where)
    assert invoke("logout")[0] == 1
    code, out, _ = invoke("logout", "--account", "desk-2")
    assert (code, found[1] in out) == (0, True)
    assert find_stored_keys(ENDPOINT, "desk-2") is None


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "a.b", "é", "x" * 65])
def test_a_name_that_no_bus_and_no_file_can_have_is_refused(name: str) -> None:
    code, out, err = invoke("logout", "--account", name)
    assert (code, out) == (2, "")
    assert "--account: use at most 64 letters, digits, - and _" in err


def test_nothing_is_stored_of_keys_that_are_not_good(exchange: Exchange) -> None:
    exchange.answers = [refusal("T0005")]
    code, out, err = login("--file")
    assert (code, out) == (1, "")
    assert err.startswith("topone: the app key does not belong to this app id")
    assert not keys_file(ENDPOINT).exists()
    assert KEY not in err


def test_logout_deletes_all(exchange: Exchange, ring: Keyring) -> None:
    login("--file")
    exchange.answers = [FOUND]
    FileStore(default_path(ID, ENDPOINT)).path.unlink()  # as if a minute had passed
    login()
    code, out, err = invoke("logout")
    assert (code, err) == (0, "")
    assert f"{keys_file(ENDPOINT)} and the keyring" in out
    assert ring.entries == {}
    assert find_keys(ENDPOINT) is None
    state = FileStore(default_path(ID, ENDPOINT)).load()
    assert (state.token.token, state.token.asked_at is None) == (None, False)
    code, _, err = invoke("logout")
    assert (code, err) == (1, "topone: no keys are stored for https://gateway.topone.run\n")


@pytest.mark.parametrize("typed", ["", f"{ID}\n", f"\n{KEY}\n"])
def test_both_are_needed(typed: str, exchange: Exchange) -> None:
    code, _, err = login("--file", typed=typed)
    assert (code, exchange.requests) == (2, [])
    assert "the app id or the app key is missing" in err


@pytest.mark.parametrize("option", ["--app-id", "--app-key"])
def test_no_key_is_taken_from_the_command_line(option: str) -> None:
    code, _, err = login(option, KEY)
    assert code == 2
    assert "never taken from the command line" in err
    assert KEY not in err


def test_a_url_that_cannot_be_used_is_said_first() -> None:
    code, _, err = login("--file", "--http-url", "http://other.example", typed="")
    assert code == 2
    assert "--http-url" in err
    assert "--insecure" in err


def test_without_the_extra_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    code, _, err = login()
    assert (code, "a login without --file needs keyring" in err) == (2, True)


@pytest.mark.usefixtures("exchange")
def test_a_keyring_that_does_not_work_is_said(ring: Keyring) -> None:
    ring.trouble = KeyringLocked(KEY)
    code, _, err = login()
    assert code == 1
    assert "the keyring cannot be written to (KeyringLocked)" in err
    assert KEY not in err
    ring.trouble = NoKeyringError()
    assert find_keys(ENDPOINT) is None


@pytest.mark.skipif(os.name != "posix", reason="has no terminals of this kind")
def test_at_a_terminal_the_key_is_not_shown(tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    arguments = ("login", "--file", "--http-url", "http://127.0.0.1:9")
    shown, process = at_terminal(arguments, None, places)
    try:
        while b"App id: " not in shown.data:
            assert shown.more()
        os.write(shown._descriptor, f"{ID}\n".encode())
        while b"not shown): " not in shown.data:
            assert shown.more()
        os.write(shown._descriptor, f"{KEY}\n".encode())
        while shown.more():
            pass
    finally:
        process.kill()
        process.wait()
        shown.close()
    assert KEY.encode() not in shown.data
    assert b"check the host and the port" in shown.data


# --- finding them --------------------------------------------------------------------------------


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPONE_APP_ID", ID)
    with pytest.raises(ConfigurationError, match="TOPONE_APP_KEY: it is not set"):
        find_keys(ENDPOINT)
    monkeypatch.setenv("TOPONE_APP_KEY", KEY)
    assert find_keys(ENDPOINT) == (KEYS, "the environment")


@pytest.mark.usefixtures("exchange")
def test_a_file_that_others_can_read_is_taken_with_a_warning() -> None:
    login("--file")
    keys_file(ENDPOINT).chmod(0o644)
    said: list[str] = []
    find_keys(ENDPOINT, said.append)
    path = keys_file(ENDPOINT)
    assert said == [f"others can read or change {path}: chmod 600 {path}"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"app_id": "x"}', '{"app_id": 5, "app_key": "5ecret"}', "[" * 9999]
)
def test_a_file_without_keys_says_so_and_shows_nothing(text: str) -> None:
    path = keys_file(ENDPOINT)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"has none; .* with 'topone login'") as error:
        find_keys(ENDPOINT)
    assert "5ecret" not in str(error.value)
    assert error.value.__context__ is None
