"""The file that the processes of an account share."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

import topone_accounts._store as module
from topone_accounts import FileStore, StoreError, default_path
from topone_proto import ConfigurationError, Token, TopOneError
from topone_proto.account import StoredState, read_state, write_state
from topone_proto.account.token_service import TokenState
from topone_proto.adapters import HttpEndpoint, failure_from_exception

SECRET = "topapi:t0p-s3cr3t"
EMPTY = StoredState()
STATE = StoredState(
    TokenState(Token(SECRET), obtained_at=1000.25, asked_at=1000.25, not_before=1065.25), (999.5,)
)
OTHER = StoredState(order_calls=(7.0, 8.0))

posix = pytest.mark.skipif(os.name != "posix", reason="files have no modes here")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "cache" / "account.json")


def refused(call: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        call()
    error = caught.value
    assert isinstance(error, OSError)
    assert isinstance(error, TopOneError)
    assert str(error) == f"{error.problem}: {error.remedy}"
    assert failure_from_exception(error).detail == str(error)
    assert SECRET not in repr(error)
    return error


# --- What it keeps


def test_without_a_file_nothing_is_stored(store: FileStore) -> None:
    assert store.load() == EMPTY
    assert not store.path.parent.exists()


def test_what_was_stored_is_found(store: FileStore) -> None:
    assert store.save(STATE, EMPTY) is None
    assert store.load() == STATE
    assert FileStore(str(store.path)).load() == STATE
    assert store.save(OTHER, STATE) is None
    assert store.load() == OTHER


def test_a_process_that_is_late_is_told_what_is_stored(store: FileStore) -> None:
    store.save(STATE, EMPTY)
    assert store.save(OTHER, EMPTY) == STATE
    assert store.save(OTHER, OTHER) == STATE
    assert store.load() == STATE


def test_an_empty_state_can_be_stored(store: FileStore) -> None:
    store.save(STATE, EMPTY)
    assert store.save(EMPTY, STATE) is None
    assert store.load() == EMPTY
    assert store.save(STATE, EMPTY) is None


times = st.floats(0, 4e9)
states = st.builds(
    StoredState,
    st.builds(
        TokenState,
        st.none() | st.builds(Token, st.text(min_size=1)),
        st.none() | times,
        st.none() | times,
        st.none() | times,
        st.integers(0, 100),
    ),
    st.lists(times, max_size=4).map(tuple),
    st.none() | times,
)


@given(st.lists(states, min_size=1, max_size=3))
def test_every_state_can_follow_every_other(found: list[StoredState]) -> None:
    # Waiting for the disk each time would take seconds.
    with TemporaryDirectory() as directory, patch.object(os, "fsync"):
        store, previous = FileStore(Path(directory, "account.json")), EMPTY
        for state in found:
            assert store.save(state, previous) is None
            assert store.load() == read_state(write_state(state))
            previous = state


def test_threads_lose_no_write(store: FileStore) -> None:
    """Each adds to what it finds, and starts again if another was faster."""

    def add(number: int) -> None:
        found = store.load()
        while (other := store.save(with_call(found, number), found)) is not None:
            found = other

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(24)))
    assert store.load().order_calls == tuple(float(number) for number in range(24))


def with_call(state: StoredState, number: int) -> StoredState:
    return StoredState(order_calls=tuple(sorted((*state.order_calls, float(number)))))


# --- What is no state


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version": 2, "token": "x"}',
        write_state(STATE).encode()[:-5],
        b" " * 2**20 + write_state(STATE).encode(),
    ],
    ids=["empty", "torn", "binary", "list", "later", "half", "long"],
)
def test_a_file_that_says_nothing_counts_as_a_request_of_its_time(
    store: FileStore, text: bytes
) -> None:
    store = FileStore(store.path, token_interval=20.0)
    store.path.parent.mkdir()
    store.path.write_bytes(text)
    store.path.chmod(0o600)
    os.utime(store.path, (5000.0, 5000.5))
    found = store.load()
    assert found.token == TokenState(asked_at=5000.5, not_before=5020.5)
    assert found.order_calls == (5000.5,) * 10
    assert store.save(STATE, EMPTY) == found
    assert store.save(STATE, found) is None
    assert store.load() == STATE


# --- What others may do


@posix
@pytest.mark.parametrize("mask", [0, 0o777])
def test_only_the_owner_can_read_it(store: FileStore, mask: int) -> None:
    before = os.umask(mask)
    try:
        store.path.parent.mkdir()  # as the umask says: not made by the store
        store.path.parent.chmod(0o755)
        store.save(STATE, EMPTY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.with_name("account.json.lock").stat().st_mode) == 0o600


@posix
def test_directories_that_it_makes_are_its_owner_s(tmp_path: Path) -> None:
    FileStore(tmp_path / "a" / "b" / "account.json").save(STATE, EMPTY)
    for made in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_use_is_refused(store: FileStore, mode: int) -> None:
    store.save(STATE, EMPTY)
    store.path.chmod(mode)
    for call in (store.load, lambda: store.save(OTHER, STATE)):
        error = refused(call)
        assert f"mode {mode:o}" in error.problem
        assert f"chmod 600 {store.path}" in error.remedy
    store.path.chmod(0o600)
    assert store.load() == STATE


@posix
def test_a_file_of_another_user_is_refused(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(STATE, EMPTY)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert "another user" in refused(store.load).problem


@posix
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_refused(store: FileStore, is_there: bool) -> None:
    target = store.path.with_name("target")
    target.parent.mkdir()
    if is_there:
        target.write_text(write_state(STATE))
        target.chmod(0o600)
    store.path.symlink_to(target)
    assert "link" in refused(store.load).problem
    assert "link" in refused(lambda: store.save(STATE, EMPTY)).problem
    assert target.exists() is is_there


@posix
def test_a_link_in_the_place_of_the_new_file_is_not_followed(
    store: FileStore, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    store.path.parent.mkdir()
    store.path.with_name("account.json.new").symlink_to(precious)
    assert store.save(STATE, EMPTY) is None
    assert precious.read_text() == "precious"
    assert store.load() == STATE


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(store: FileStore, make: Callable[..., None]) -> None:
    store.path.parent.mkdir()
    make(store.path, 0o700)
    assert "no file" in refused(store.load).problem
    assert "no file" in refused(lambda: store.save(STATE, EMPTY)).problem


@posix
def test_a_directory_in_which_everybody_replaces_files_is_refused(store: FileStore) -> None:
    store.path.parent.mkdir()
    store.path.parent.chmod(0o777)
    assert "everybody" in refused(lambda: store.save(STATE, EMPTY)).problem
    store.path.parent.chmod(0o1777)
    assert store.save(STATE, EMPTY) is None


# --- What can go wrong


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", ["fsync", "replace", "open"])
def test_a_disk_that_fails_leaves_the_old_state(
    store: FileStore, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(STATE, EMPTY)
    real = getattr(os, name)

    def fail(*args: Any, **settings: Any) -> Any:
        if name == "open" and not str(args[0]).endswith(".new"):
            return real(*args, **settings)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        error = refused(lambda: store.save(OTHER, STATE))
    assert os.strerror(number) in error.problem
    assert str(store.path) in error.remedy
    assert not store.path.with_name("account.json.new").exists()
    assert store.load() == STATE
    assert store.save(OTHER, STATE) is None


def test_a_state_is_on_the_disk_before_its_name_is(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def note(*args: Any, name: str = name, real: Any = real) -> None:
            kind = ""
            if name == "fsync":
                kind = " file" if stat.S_ISREG(os.fstat(args[0]).st_mode) else " directory"
            done.append(name + kind)
            real(*args)

        monkeypatch.setattr(os, name, note)
    store.save(STATE, EMPTY)
    expected = ["fsync file", "replace", "fsync directory"]
    assert done == (expected if os.name == "posix" else expected[:2])


class Killed(BaseException):
    """In the place of a signal that ends the process."""


@pytest.mark.parametrize("step", range(12))
def test_a_process_that_is_killed_leaves_one_of_the_two_states(
    store: FileStore, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(STATE, EMPTY)
    count = 0

    def die_at(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise Killed
            return real(*args, **settings)

        return call

    with monkeypatch.context() as patched:
        for name in ("open", "fchmod", "fsync", "replace", "unlink"):
            patched.setattr(os, name, die_at(getattr(os, name)))
        with suppress(Killed):
            store.save(OTHER, STATE)
    found = store.load()
    assert found in (STATE, OTHER)
    assert store.save(EMPTY, found) is None


def test_a_directory_that_cannot_be_synced_is_no_failure(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(number: int) -> None:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    assert store.save(STATE, EMPTY) is None
    assert store.load() == STATE


def test_it_waits_for_others_and_not_for_ever(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(STATE, EMPTY)
    with FileLock(f"{store.path}.lock"):
        monkeypatch.setattr(module, "_WAIT", 0.02)
        error = refused(lambda: store.save(OTHER, STATE))
        assert "does not let go" in error.problem
        assert f"{store.path}.lock" in error.remedy
        assert store.load() == STATE
    monkeypatch.undo()
    lock = FileLock(f"{store.path}.lock", thread_local=False)
    lock.acquire()
    threading.Timer(0.02, lock.release).start()
    assert store.save(OTHER, STATE) is None


def test_a_directory_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refused(lambda: FileStore(tmp_path / "file" / "account.json").save(STATE, EMPTY))
    assert "choose another place" in error.remedy


# --- Its name


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes"])
def test_what_is_no_path_is_refused_where_it_is_given(path: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^cache: "):
        FileStore(path)


def test_a_relative_path_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore("account.json")
    monkeypatch.chdir("/")
    store.save(STATE, EMPTY)
    assert (tmp_path / "account.json").exists()


def test_each_key_pair_at_each_exchange_has_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    paths = [
        default_path("app-one", HttpEndpoint()),
        default_path("app-two", HttpEndpoint()),
        default_path("app-one", HttpEndpoint("https://other.example")),
        default_path("app-one", HttpEndpoint("http://127.0.0.1:8080")),
        default_path("app-one", HttpEndpoint("http://127.0.0.1:8081")),
        default_path("\ud800", HttpEndpoint()),
    ]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.parent.name == "topone-proto"
        assert "app" not in path.name
    same = HttpEndpoint("https://GATEWAY.topone.run.:443/")
    assert default_path("app-one", same) == paths[0]


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "user_cache_path", lambda *_, **__: Path("~/.cache"))
    with pytest.raises(ConfigurationError, match=r"^cache: .*HOME"):
        default_path("app", HttpEndpoint())
