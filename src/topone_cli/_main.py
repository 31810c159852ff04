"""The whole run of the command, from safe streams to the exit code."""

import signal
import sys

from topone_cli._streams import secure_streams, settle

__all__ = ["run"]

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 128 + signal.SIGINT
# The libraries of the extra "cli"; those of the simulator are imported by the commands that use it.
_NEEDED = {"aiohttp", "filelock", "httpcore", "platformdirs", "rich", "typer", "websockets"}


def run() -> int:
    """Run the command with the arguments of this process, and return its exit code."""
    if not secure_streams():
        sys.stderr.write("topone: standard output is closed: redirect it, such as to /dev/null\n")
        return settle(_FAILED)
    try:
        return settle(_run())
    except KeyboardInterrupt:
        # While it loads, or again while it ends.
        return settle(_INTERRUPTED)


def _run() -> int:
    try:
        from topone_cli._app import app

        _end_tidily()
        app()
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _NEEDED:
            raise
        sys.stderr.write(f'topone needs {package}: pip install "topone-proto[cli]"\n')
        return _USAGE
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _end_tidily() -> None:
    """Have SIGTERM and SIGHUP do what Ctrl-C does, also in the background, where a shell switches
    Ctrl-C off."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    hang_up = getattr(signal, "SIGHUP", None)
    # Under nohup it is ignored.
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        signal.signal(hang_up, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number != signal.SIGTERM:
        # A terminal and its shell both tell that it hangs up.
        signal.signal(number, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)
