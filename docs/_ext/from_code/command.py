"""The options of the command, from what it says of itself with ``--help``."""

from enum import Enum
from typing import Any, Final

import typer.main
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from topone_cli._app import app

__all__ = ["DIRECTIVES"]


class CommandOptions(SphinxDirective):
    """``command-options``: every command, a section for each."""

    def run(self) -> list[nodes.Node]:
        # The classes behind typer's commands changed with its versions; these attributes did not.
        group: Any = typer.main.get_command(app)
        lines: list[str] = []
        for name, command in group.commands.items():
            lines += [f"## topone {name}", "", command.help, ""]
            lines += ["| option | default | meaning |", "|---|---|---|"]
            lines += [_row(option) for option in command.params if not option.hidden]
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _row(option: Any) -> str:
    name, default = ", ".join(option.opts), option.default
    if not name.startswith("-"):  # an argument
        return f"| `{option.metavar}` | | {option.help} |"
    value = option.metavar or option.name.upper()
    if isinstance(default, Enum):
        value = "\\|".join(choice.value for choice in type(default))
        default = default.value
    if option.is_flag:
        return f"| `{name}` | | {option.help} |"
    shown = f"`{default}`" if default not in {None, ""} else ""
    return f"| `{name} {value}` | {shown} | {option.help} |"


DIRECTIVES: Final = {"command-options": CommandOptions}
