"""Checks, their results, and the lines that show them."""

import json as jsonlib
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Final

import attrs
from rich.console import Console
from rich.text import Text

from topone_cli._terminal import started

__all__ = ["ODDITIES", "Check", "show_checks", "verdict"]

ODDITIES: Final = "oddities"
"""The name of the check that reports what is odd and does no harm."""

_MARKS: Final = {True: ("ok", "green"), False: ("NO", "bold red"), None: ("--", "yellow")}


@attrs.frozen
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool | None
    """None if it is neither good nor bad, or was not looked at."""
    text: str
    """The result in words; the remedy, if it is bad."""


def verdict(checks: Iterable[Check]) -> Check:
    """Return the one line that says what is wrong."""
    odd = None
    for check in checks:
        if check.ok is False:
            return Check("verdict", ok=False, text=f"{check.name}: {check.text}")
        if check.name == ODDITIES:
            odd = check
    if odd is not None:
        return Check("verdict", ok=True, text=f"a feed will work, but look at this: {odd.text}")
    return Check("verdict", ok=True, text="all is well: a feed will work")


def show_checks(checks: Iterable[Check], console: Console, *, json: bool) -> bool:
    """Print each check as it comes, then the verdict. Return True if that is good."""
    done: list[Check] = []
    # On the same console, which takes it away before every line.
    shows_progress = not json and console.is_terminal and not console.is_dumb_terminal
    with started(console.status("looking")) if shows_progress else nullcontext():
        for check in checks:
            done.append(check)
            _show(check, console, json=json)
    last = verdict(done)
    _show(last, console, json=json)
    return bool(last.ok)


def _show(check: Check, console: Console, *, json: bool) -> None:
    if json:
        sys.stdout.write(
            jsonlib.dumps({"check": check.name, "ok": check.ok, "text": check.text}) + "\n"
        )
        sys.stdout.flush()
        return
    mark, style = _MARKS[check.ok]
    # At a terminal words are broken at spaces; elsewhere a check is one line.
    line = Text.assemble((mark, style), f"  {check.name}: {check.text}")
    console.print(line, soft_wrap=not console.is_terminal)
