"""The token from the system's keyring; the other places are tested with the commands."""

import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from topone_cli._token import KEYRING_ENTRY, find_token
from topone_proto import ConfigurationError, Token

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
