"""The command ``topone``: watches, records and replays a feed, and has an exchange to try it on.

Nothing is imported here: ``main`` imports everything, where a Ctrl-C is caught.
"""

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process."""
    try:
        from topone_cli._main import run

        code = run()
    except KeyboardInterrupt:
        # While it loads: 128 + SIGINT, whose module is not loaded yet.
        code = 130
    raise SystemExit(code)
