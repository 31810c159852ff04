"""What ends a command without success, in words for whoever typed it."""

__all__ = ["CommandFailed"]


class CommandFailed(Exception):  # noqa: N818 - what happened, as the exit code says it
    """The command cannot do what was asked; its text says why and what to do. Exit code 1."""
