"""The token: where it comes from, what is checked before anybody types one, and the words in which
trouble with it and with everything else is told."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from commands import BOUND, at_terminal, interrupt, invoke, read_until, running
from topone_cli._describe import describe
from topone_cli._errors import explain_failure
from topone_cli._token import KEYRING_ENTRY, find_token
from topone_proto import (
    ORDERS,
    Closed,
    ConfigurationError,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    RequestTimedOut,
    SubscriptionRejected,
    Token,
)
from topone_proto.exchange import DropConnections
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

SECRET = "topapi:5ecret"


class Memory(KeyringBackend):
    """A keyring that is a dict."""

    priority = 1.0  # pyright: ignore[reportAssignmentType]  # keyring's own back ends do so, too

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring has no types there
        self.entries: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.is_locked:
            raise KeyringLocked(SECRET)
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=50.0) as simulator:
        yield simulator


@pytest.fixture
def memory() -> Iterator[Memory]:
    before = keyring.get_keyring()
    memory = Memory()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


def test_the_keyring_is_asked_again_for_every_dial(memory: Memory) -> None:
    memory.set_password(*KEYRING_ENTRY, SECRET)
    read = find_token(None, keyring=True)
    assert callable(read)
    assert not isinstance(read, Token)
    assert read() == Token(SECRET)
    memory.set_password(*KEYRING_ENTRY, "renewed")
    assert read() == Token("renewed")


def test_the_environment_is_not_asked_then(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPONE_TOKEN", "other")
    memory.set_password(*KEYRING_ENTRY, SECRET)
    read = find_token(None, keyring=True)
    assert not isinstance(read, Token)
    assert read() == Token(SECRET)


def test_an_empty_keyring_says_how_to_fill_it(memory: Memory) -> None:
    with pytest.raises(ConfigurationError, match="store it with 'keyring set topone token'"):
        find_token(None, keyring=True)


def test_what_is_no_token_is_refused(memory: Memory) -> None:
    memory.set_password(*KEYRING_ENTRY, "5ecret with spaces")
    with pytest.raises(ConfigurationError) as error:
        find_token(None, keyring=True)
    assert "5ecret" not in str(error.value)


def test_a_keyring_that_cannot_be_read_shows_nothing_of_it(memory: Memory) -> None:
    memory.is_locked = True
    with pytest.raises(ConfigurationError, match=r"cannot be read \(KeyringLocked\)") as error:
        find_token(None, keyring=True)
    assert "5ecret" not in str(error.value)
    assert error.value.__suppress_context__


def test_one_place_at_a_time(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both"):
        find_token(tmp_path / "token.txt", keyring=True)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ImportError, match=r'pip install "topone-proto\[keyring\]"'):
        find_token(None, keyring=True)


# --- the file -----------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="has other rights")
@pytest.mark.parametrize(
    ("mode", "is_warned"),
    [(0o600, False), (0o400, False), (0o700, False), (0o640, True), (0o604, True), (0o620, True)],
)
def test_a_file_that_others_can_read_is_taken_with_a_warning(
    tmp_path: Path, mode: int, is_warned: bool
) -> None:
    file = tmp_path / "token of mine"
    file.write_text(SECRET)
    file.chmod(mode)
    said: list[str] = []
    source = find_token(file, warn=said.append)
    assert not isinstance(source, Token)
    assert source() == Token(SECRET)
    assert bool(said) == is_warned
    if is_warned:
        assert said[0].endswith(f"chmod 600 '{file}'")


def test_the_command_warns_on_standard_error_and_goes_on(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("demo")
    file.chmod(0o644)
    server = ("--url", simulator.url, "--token-file", str(file))
    for command in (
        ("watch", "--seconds", "1", *server),
        ("record", str(tmp_path / "new"), "--seconds", "1", *server),
        ("doctor", "--ping-wait", "0.1", *server),
    ):
        code, _, err = invoke(*command)
        assert code == 0
        assert err == f"topone: --token-file: others can read or change {file}: chmod 600 {file}\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(SECRET,))
    writer.start()
    assert find_token(pipe) == Token(SECRET)
    writer.join()


def test_a_file_that_goes_away_is_said_in_words_of_the_command(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("demo")
    file.chmod(0o600)
    arguments = ("watch", "--plain", "--url", simulator.url, "--token-file", str(file))
    with running(*arguments) as process:
        read_until(process, lambda line: "Subscribed    orders" in line)
        file.unlink()
        simulator.inject(DropConnections())
        said = read_until(process, lambda line: " -- " in line)
        again = read_until(process, lambda line: "Disconnected" in line)
        file.write_text("demo")
        read_until(process, lambda line: "Connected" in line)
        assert interrupt(process)[0] == 130
    assert said[-1][9:] == f"-- {file} cannot be read (No such file or directory)\n"
    assert "there is no token: look at the file of --token-file" in again[-1]
    assert "callable" not in "".join(said + again)
    assert len([line for line in said + again if " -- " in line]) == 1, "said once"


# --- before anybody is asked --------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of POSIX")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("watch", "--record", "{there}"), "exists: use another name"),
        (("record", "{there}"), "exists: use another name"),
        (("record", "/nowhere/file"), "cannot write to /nowhere/file"),
        (("watch", "--url", "http://nowhere/"), "it is no ws:// or wss:// URL"),
        (("doctor", "--url", "http://nowhere/"), "it is no ws:// or wss:// URL"),
        (("watch", "--topics", "nothing"), "is not a topic"),
        (("watch", "--origin", "\n"), "origin"),
        (("watch", "--json", "--plain"), "not both"),
        (("watch", "something"), "too many arguments"),
    ],
)
def test_nobody_types_a_token_for_nothing(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    there = tmp_path / "there"
    there.touch()
    shown, process = at_terminal([text.format(there=there) for text in arguments], token=None)
    with process:
        while shown.more():
            pass
        assert process.wait(timeout=BOUND) in {1, 2}
    assert words in " ".join(shown.data.decode().split())
    assert b"API token" not in shown.data


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of POSIX")
def test_ctrl_c_at_the_prompt_ends_it() -> None:
    shown, process = at_terminal(["watch"], token=None)
    with process:
        while b"API token" not in shown.data:
            assert shown.more()
        process.send_signal(signal.SIGINT)
        while shown.more():
            pass
        assert process.wait(timeout=BOUND) == 130
    assert b"Traceback" not in shown.data


# --- words --------------------------------------------------------------------------------------

OF_THE_LIBRARY = re.compile(
    r"callable|ssl_context|SessionConfig|origin=|insecure=|token=|[a-z]+_[a-z]+\(|ConfigurationError"
)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *((kind, None) for kind in FailureKind),
        *((FailureKind.HANDSHAKE, status) for status in (301, 401, 403, 404, 429, 500)),
    ],
)
def test_no_failure_is_said_in_words_of_the_library(kind: FailureKind, status: int | None) -> None:
    detail = "ConfigurationError" if kind is FailureKind.TOKEN else "a detail"
    failure = Failure(kind, detail, status=status)
    events: list[Event] = [
        Disconnected(failure, 1.0, 1, 1),
        Disconnected(failure, None, 1, 1),
        Closed(failure),
    ]
    for text in (explain_failure(failure), *map(describe, events)):
        assert not OF_THE_LIBRARY.search(text), text
    if kind is not FailureKind.TOKEN:
        assert "a detail" in explain_failure(failure)
    if status is not None:
        assert f"HTTP {status}" in explain_failure(failure)


def test_no_refusal_is_said_in_words_of_the_library() -> None:
    events: list[Event] = [
        SubscriptionRejected(
            topic=ORDERS, method="sub_orders", code=7, msg="no right", ts=1, epoch=1
        ),
        RequestTimedOut(ORDERS, "sub_orders", 5.0, 1),
    ]
    assert not [event for event in events if OF_THE_LIBRARY.search(describe(event))]
    assert "check --topics and the rights of the token" in describe(events[0])


def test_a_refusal_that_is_not_the_last_word_says_when_it_is_asked_again() -> None:
    event = SubscriptionRejected(
        topic=ORDERS, method="sub_orders", code=7, msg="", ts=1, epoch=1, retry_in=2.5
    )
    assert describe(event) == (
        "the exchange refused sub_orders with code 7 (no message): it is asked again in 2.5 s"
    )


def test_no_setting_is_said_in_words_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "two").write_text("two words")
    for arguments in (
        ("--url", "ws://exchange.example/"),
        ("--url", "wss://exchange.example/?token=x"),
        ("--url", "wss:///"),
        ("--origin", "\n"),
        ("--token-file", str(tmp_path / "two")),
        ("--token-file", str(tmp_path)),
    ):
        code, _, err = invoke("watch", *arguments, env={"COLUMNS": "200"})
        assert code == 2
        assert not OF_THE_LIBRARY.search(err.replace("?token=", "")), err
    for env in ({"TOPONE_TOKEN": "two words"},):
        code, _, err = invoke("watch", env=dict(env))
        assert (code, err[:21]) == (2, "topone: TOPONE_TOKEN:")
