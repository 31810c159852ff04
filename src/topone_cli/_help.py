"""How the commands' help looks where typer's own way misleads."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["Command", "Group"]


class _PlainFlags:
    """Flags are shown as they are typed: typer writes ``<bool>`` behind them, as if a value came
    there."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, ``--help`` among them."""
        # Any, as the classes below typer's changed with its versions.
        found: Any = super()
        params: list[Any] = found.get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
        return params


class Command(_PlainFlags, TyperCommand):
    """One of ``topone``'s commands."""


class Group(_PlainFlags, TyperGroup):
    """``topone`` itself."""
