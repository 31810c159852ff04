"""The command ``topone``: watches, records and replays a feed, and has an exchange to try it on."""

import signal
import sys

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command with the arguments of this process."""
    try:
        from topone_cli._app import app  # noqa: PLC0415 - the script is there without its extra, too
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"rich", "typer", "websockets"}:
            raise
        sys.stderr.write(f'topone needs {package}: pip install "topone-proto[cli]"\n')
        sys.exit(_USAGE)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    # Ended by another program, it leaves the terminal as tidy as after Ctrl-C, which
    # a shell switches off for what it puts into the background.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _, __: signal.raise_signal(signal.SIGINT))
    # The exchange's words may be in any language, and the encoding of a pipe in none.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    app()
