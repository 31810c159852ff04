"""The help of a command for a narrow terminal: typer's table cuts names and values there.

Everything that has a name stands on a line of its own, with what it means below it.
"""

import inspect
import re
from typing import Any, Final

from rich.console import Console
from rich.text import Text

__all__ = ["WIDE", "print_narrow_help"]

WIDE: Final = 80
"""The columns from which typer's table has room for every name."""
_VERBATIM: Final = "\b"


def print_narrow_help(command: Any, context: Any, console: Console) -> None:
    """Print what ``--help`` says of a command, typed as ``Any`` as in ``_help``."""
    _print(console, Text(command.get_usage(context)), hang=2)
    console.print()
    _say_all(console, command.help)
    parts: dict[str, list[tuple[str, Text]]] = {"Arguments": [], "Options": [], "Commands": []}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None:
            is_option = param.param_type_name == "option"
            # typer writes "FILE <path>".
            name = record[0].strip() if is_option else record[0].partition(" ")[0]
            meaning = _meaning(param.help or "", record[1])
            parts["Options" if is_option else "Arguments"].append((name, meaning))
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            parts["Commands"].append((name, _prose(_paragraphs(found.help)[0])))
    for title, rows in parts.items():
        if rows:
            console.print(Text(title, style="bold"))
            for name, meaning in rows:
                _print(console, Text(name, style="bold cyan"), indent=2, hang=2)
                _print(console, meaning, indent=6)
            console.print()
    _say_all(console, command.epilog)


def _meaning(said: str, all_that_is_said: str) -> Text:
    """Return what a parameter is for. What typer adds to what is said is no markup: a default in
    brackets would be taken for a style."""
    meaning = _prose(said)
    added = " ".join(all_that_is_said.removeprefix(said).replace("\\[", "[").split())
    return meaning.append(f" {added}" if meaning else added, style="dim") if added else meaning


def _paragraphs(text: str | None) -> list[str]:
    return [each for each in re.split(r"\n{2,}", inspect.cleandoc(text or "")) if each.strip()]


def _prose(text: str) -> Text:
    return Text.from_markup(" ".join(text.split()))


def _say_all(console: Console, text: str | None) -> None:
    """Print a text with markup, each paragraph in one piece but for those that are marked to be
    left as they are: each line of these is an entry of its own."""
    for paragraph in _paragraphs(text):
        first, _, rest = paragraph.partition("\n")
        if first.strip(" ") == _VERBATIM:
            for line in Text.from_markup(rest).split("\n"):
                # Under what it means, where that is a column of its own.
                column = re.match(r"\S+ {2,}", line.plain)
                _print(console, line, hang=4 if column is None else column.end())
            console.print()
        else:
            _print(console, _prose(paragraph))
            console.print()


def _print(console: Console, line: Text, *, indent: int = 0, hang: int = 0) -> None:
    """Print a line whose continuations begin further to the right."""
    first = line.wrap(console, console.width - indent)[0]
    end = len(first.plain)
    rest = line[end + len(line.plain[end:]) - len(line.plain[end:].lstrip()) :]
    first.rstrip()
    console.print(Text(" " * indent).append_text(first))
    indent += hang
    for more in rest.wrap(console, console.width - indent) if rest.plain.strip() else ():
        more.rstrip()
        console.print(Text(" " * indent).append_text(more))
