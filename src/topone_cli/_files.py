"""Recordings as files: written while a feed runs, read with a view of the progress.

What can go wrong with a file becomes a ``CommandFailed`` right where it happens, so that nobody
takes it for trouble with the network.
"""

import errno
import gzip
import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO, Final

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from topone_cli._errors import CommandFailed
from topone_cli._masks import hide_tokens
from topone_cli._terminal import started
from topone_proto import ConfigurationError
from topone_proto.capture import Capture, CaptureError, open_capture

__all__ = [
    "Recorder",
    "Recording",
    "new_recording",
    "open_recording",
    "reading_progress",
    "require_new_file",
]


_GZIP: Final = b"\x1f\x8b"


class Recorder:
    """A recording that is written into a file. A feed never learns that the disk is full: its
    follower looks at ``is_broken``, and ends it in the usual way.

    Args:
        path: what the file is called.
        file: where the lines go.
    """

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path = path
        self._file = file
        self._failure: OSError | None = None
        self.lines = 0
        """The number of lines that are written."""
        self.size = 0
        """The number of their bytes, before compression."""

    @property
    def is_broken(self) -> bool:
        """True once a line could not be written. None is, from there on."""
        return self._failure is not None

    def write(self, line: str) -> None:
        """Write a line, if that is possible."""
        if self._failure is None:
            try:
                self._file.write(line)
            except OSError as error:
                self._failure = error
            else:
                self.lines += 1
                self.size += len(line.encode())

    def close(self) -> None:
        """Close the file.

        Raises:
            CommandFailed: not everything is in it.
        """
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not None:
            raise _unwritable(self._path, self._failure) from None


def require_new_file(path: Path | None, *, overwrite: bool) -> None:
    """Check whether a file can be written, without making it: for before anybody is asked for
    anything.

    Raises:
        CommandFailed: the file is there already, or cannot be written.
        ConfigurationError: its name could be a token.
    """
    if path is None:
        return
    _refuse_token(path)
    if not overwrite and os.path.lexists(path):
        raise _there_already(path)
    problem = None
    if path.is_dir():
        problem = errno.EISDIR
    elif not path.parent.is_dir():
        problem = errno.ENOENT
    elif not os.access(path if os.path.lexists(path) else path.parent, os.W_OK):
        problem = errno.EACCES
    if problem is not None:
        raise _unwritable(path, OSError(problem, os.strerror(problem)))


def new_recording(path: Path, *, overwrite: bool) -> Recorder:
    """Return a recorder into a new file, compressed if its name ends with ``.gz``. To be closed.

    Raises:
        CommandFailed: the file is there already, or cannot be written.
        ConfigurationError: its name could be a token.
    """
    _refuse_token(path)
    try:
        return Recorder(path, open_capture(str(path), "w" if overwrite else "x"))
    except FileExistsError:
        raise _there_already(path) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def _refuse_token(path: Path) -> None:
    """Raise ConfigurationError if a file would be called what could be a token."""
    if hide_tokens(str(path)) != str(path):
        raise ConfigurationError(
            setting="FILE",
            problem="its name could be a token",
            remedy="use another name; if it is a token, revoke it: the shell's history has it",
        )


def _there_already(path: Path) -> CommandFailed:
    return CommandFailed(f"{path} exists: use another name, or --overwrite to replace it")


def _unwritable(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(f"cannot write to {path}: {error.strerror}")


class Recording:
    """A recording that is being read.

    Raises:
        CaptureError: it is none, or one of another version.
    """

    def __init__(self, path: Path, file: BinaryIO, lines: Iterable[bytes]) -> None:
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.capture = Capture(self._lines(lines))
        """The content."""

    @property
    def fraction(self) -> float | None:
        """The part of the file that is read, from 0 to 1; None if it has no size, as a pipe."""
        return min(1.0, self._file.tell() / self._size) if self._size else None

    @property
    def progress(self) -> str:
        """The same for people."""
        return "?" if self.fraction is None else f"{self.fraction:.0%}"

    def _lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from lines
        except (OSError, zlib.error) as error:
            raise _unreadable(self._path, error) from None


@contextmanager
def open_recording(path: Path) -> Generator[Recording, None, None]:
    """Give a recording, compressed if its name ends with ``.gz`` or its first bytes say so.

    Raises:
        CommandFailed: the file cannot be read, is no recording, or is one of another version; also
            in the block, which reads it. The text says which line of which file.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        with file, gzip.open(file) if _is_compressed(path, file) else nullcontext(file) as lines:
            yield Recording(path, file, lines)
    except CaptureError as error:
        problem = error.problem.replace("capture", "recording")
        raise CommandFailed(f"{path}, line {error.number}: {problem}") from None


def _is_compressed(path: Path, file: BufferedReader) -> bool:
    try:
        return path.name.endswith(".gz") or file.peek(2).startswith(_GZIP)
    except OSError as error:
        raise _unreadable(path, error) from None


@contextmanager
def reading_progress(recording: Recording, console: Console) -> Generator[None, None, None]:
    """Show how much is read, if ``console`` is a terminal and standard output is another place."""
    if Console().is_terminal or not console.is_terminal:
        yield
        return

    def picture() -> Table:
        grid = Table.grid(padding=(0, 1))
        grid.add_row("reading", ProgressBar(1.0, recording.fraction or 0.0), recording.progress)
        return grid

    live = Live(
        get_renderable=picture,
        console=console,
        transient=True,
        # What goes to standard output is not for here.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with started(live):
        yield


def _unreadable(path: Path, error: Exception) -> CommandFailed:
    problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CommandFailed(f"cannot read {path}: {problem}")
