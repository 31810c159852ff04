"""The file in which the processes of an account keep what they share: the token and the budgets.

Everything is written under a lock, to a new file that then takes the place of the old one. So at
every moment, also after a crash or a loss of power, the file has either the old state or the new
one, whole. A process that is killed leaves at most that one new file behind, which the next write
replaces, and no lock: the system ends it with the process.

A file that cannot be read as a state (of another program, of a later version, damaged) says nothing
about what was asked of the exchange. It counts as one written at the worst moment: a token and all
that a minute allows were asked for when it was last modified.
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from topone_proto import ConfigurationError, Credentials, TopOneError
from topone_proto.account import AccountConfig, StoredState, read_state, write_state
from topone_proto.account.token_service import TokenState
from topone_proto.adapters import HttpEndpoint

__all__ = ["FileStore", "StoreError", "default_path", "open_store"]

_WAIT: Final = 5.0
"""Seconds to wait for another process. Each has the lock for some milliseconds."""

_LARGEST: Final = 2**16
"""Bytes of a file that may be a state."""

_ORDER_CALLS: Final = 10
"""The requests about orders that the exchange allows in a minute."""

_TOKEN_INTERVAL: Final = AccountConfig().token_interval

_IS_WINDOWS: Final = os.name == "nt"
_OWNER_ONLY: Final = 0o600
_DIRECTORY: Final = 0o700


def default_path(app_id: str, endpoint: HttpEndpoint) -> Path:
    """Return the file that all processes of this user share for one key pair at one exchange. It is
    in the user's cache directory, and its name says neither of the two.

    Raises:
        ConfigurationError: this user has no such directory.
    """
    place = f"{endpoint.server_name.lower()}:{endpoint.port}"
    name = sha256(f"{app_id}\n{place}".encode("utf-8", "surrogatepass")).hexdigest()
    path = user_cache_path("topone-proto", appauthor=False) / f"account-{name[:32]}.json"
    if not path.is_absolute():
        raise ConfigurationError(
            setting="cache",
            problem="this user has no cache directory",
            remedy="pass the path of a file, set HOME, or keep the token in memory with None",
        )
    return path


def open_store(
    path: str | os.PathLike[str] | None,
    credentials: Credentials | None,
    endpoint: HttpEndpoint,
    token_interval: float = _TOKEN_INTERVAL,
) -> "FileStore":
    """Return the store in a file, for ``open_account(cache=...)``.

    Args:
        path: the file; None for the default one of the key pair.
        credentials: the key pair; None only with a path.
        endpoint: where its questions go.
        token_interval: that of the account's ``AccountConfig``.
    """
    if path is None:
        assert credentials is not None  # otherwise there is no default
        path = default_path(credentials.app_id, endpoint)
    return FileStore(path, token_interval=token_interval)


class StoreError(TopOneError, OSError):
    """The file of an account cannot be used, so the account asks nothing that counts.

    Mend it as ``remedy`` says: the account tries again by itself.
    """

    def __init__(self, path: Path, *, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.strerror: str | None = str(self)
        """The whole text, for whoever looks at an ``OSError``."""
        self.path = path
        """The file."""
        self.problem = problem
        """The cause."""
        self.remedy = remedy
        """The remedy."""


class FileStore:
    """A file that the processes of an account share, a ``StateStore``. Only its owner can read it.

    Its methods block, for some milliseconds as a rule and some seconds at most. They may be called
    in any thread.

    Args:
        path: the file. Its directory is made if it is missing. Beside it there is a lock, of the
            same name with ``.lock``.

        token_interval: that of the account's ``AccountConfig``: a file that says nothing counts as
            a request for a token, made when it was last modified.

    Raises:
        ConfigurationError: no file can have this name.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, token_interval: float = _TOKEN_INTERVAL
    ) -> None:
        text: Any = os.fspath(path)
        if not isinstance(text, str) or not text or "\0" in text:
            raise ConfigurationError(
                setting="cache",
                problem="no file can have this name",
                remedy="pass the path of a file, or None to keep the token in memory",
            )
        self.path: Path = Path(os.path.abspath(text))  # noqa: PTH100 - resolve() would follow links
        """The file, as an absolute path."""
        self._token_interval = token_interval

    def load(self) -> StoredState:
        """Return what is stored; an empty state if there is no file.

        Raises:
            StoreError: the file cannot be read, or is not safe to use.
        """
        with self._named():
            if _IS_WINDOWS:  # pragma: no cover - whoever reads there keeps others from replacing
                with self._lock():
                    return self._read()
            return self._read()

    def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        """Store a state if ``previous`` is stored now, and return None. Otherwise return what is
        stored.

        Raises:
            StoreError: it cannot be stored: the place is not safe or not there, the disk is full,
                or another process does not end its own write.
        """
        with self._named():
            self._make_directory()
            with self._lock():
                found = self._read()
                # Compared as it is read: a file does not keep everything, such as a year 12000.
                if found != read_state(write_state(previous)):
                    return found
                self._write(write_state(state).encode())
        return None

    def _lock(self) -> FileLock:
        # Each with a descriptor of its own: threads exclude each other, too.
        return FileLock(f"{self.path}.lock", timeout=_WAIT, mode=_OWNER_ONLY, poll_interval=0.005)

    def _make_directory(self) -> None:
        missing: list[Path] = []
        for directory in self.path.parents:
            if directory.exists():
                break
            missing.append(directory)
        for directory in reversed(missing):
            directory.mkdir(_DIRECTORY, exist_ok=True)
        mode = self.path.parent.stat().st_mode
        if not _IS_WINDOWS and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise self._error(
                "everybody can replace files in the directory of the account's file",
                f"chmod o-w {self.path.parent}, or choose another place",
            )

    def _read(self) -> StoredState:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        # A pipe would have it wait for somebody who writes.
        flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        if self.path.is_symlink():
            raise self._error(
                "the account's file is a symbolic link",
                f"pass the path that it leads to, or delete it: {self.path}",
            )
        try:
            number = os.open(self.path, flags)
        except FileNotFoundError:
            return StoredState()
        try:
            about = os.fstat(number)
            self._check(about)
            with open(number, "rb", closefd=False) as file:
                text = file.read(_LARGEST + 1)
        finally:
            os.close(number)
        state = read_state(text) if len(text) <= _LARGEST else StoredState()
        if state != StoredState() or text == _EMPTY:
            return state
        # Not a state: see the module.
        at = max(0.0, about.st_mtime)
        token = TokenState(asked_at=at, not_before=at + self._token_interval)
        return StoredState(token, order_calls=(at,) * _ORDER_CALLS)

    def _check(self, about: os.stat_result) -> None:
        if not stat.S_ISREG(about.st_mode):
            raise self._error("the account's file is no file", f"choose another place: {self.path}")
        if _IS_WINDOWS:  # pragma: no cover - modes say nothing there
            return
        if about.st_uid != os.geteuid():
            raise self._error(
                "the account's file belongs to another user",
                f"delete it, or choose another place: {self.path}",
            )
        if about.st_mode & 0o077:
            raise self._error(
                f"others can use the account's file (mode {stat.S_IMODE(about.st_mode):o}), and "
                "a token is in it",
                f"chmod 600 {self.path}, or delete it",
            )

    def _write(self, text: bytes) -> None:
        new = self.path.with_name(f"{self.path.name}.new")
        new.unlink(missing_ok=True)
        try:
            number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
            with open(number, "wb") as file:  # noqa: PTH123 - a descriptor has no path
                if not _IS_WINDOWS:
                    os.fchmod(number, _OWNER_ONLY)  # whatever the umask has made of it
                file.write(text)
                file.flush()
                os.fsync(number)
            new.replace(self.path)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        if not _IS_WINDOWS:
            _sync(self.path.parent)

    @contextmanager
    def _named(self) -> Generator[None]:
        """Turn errors of the system into those that say what to do."""
        try:
            yield
        except StoreError:
            raise
        except Timeout:
            error = self._error(
                "another process does not let go of the account's file",
                f"end it; if there is none, delete {self.path}.lock",
            )
        except OSError as failed:
            error = self._error(
                f"the account's file cannot be used ({failed.strerror or type(failed).__name__})",
                f"make {self.path} readable and writable, or choose another place",
            )
        else:
            return
        # Its cause is in its words. A timeout of a lock is none of the network.
        raise error from None

    def _error(self, problem: str, remedy: str) -> StoreError:
        return StoreError(self.path, problem=problem, remedy=remedy)


_EMPTY: Final = write_state(StoredState()).encode()


def _sync(directory: Path) -> None:
    """Make a new name in a directory last."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        # Some network file systems do this by themselves, and refuse to be asked.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(number)
