"""The screen of a relay: who holds what, in as many rows and columns as there are."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from attrs import Factory, define
from rich.layout import Layout
from rich.text import Text

from topone_cli._format import printable
from topone_cli._frame import lines_panel, shortened
from topone_cli._life import KEPT, Line
from topone_cli._rows import Column, Rows
from topone_relay import AccountStatus, NodeStatus

__all__ = ["RelayScreen", "relay_picture"]

_ACCOUNTS: Final = (
    Column("account"),
    Column("holder"),
    Column("state"),
    Column("epoch", "right", rank=1),
    Column("updates", "right", rank=4),
    Column("gaps", "right", rank=5),
    Column("messages", "right", rank=3),
    Column("waiting", "right", rank=2),
    Column("last sent", "right", rank=6),
    Column("problem", rank=7),
)
_NOBODY: Final = "nobody"
_WRONG: Final = "failed"
_PARTIAL: Final = "not whole"
_UNSURE: Final = "unsure"
_STYLES: Final = {_NOBODY: "bold red", _WRONG: "bold red", _PARTIAL: "yellow", _UNSURE: "yellow"}


@define
class RelayScreen:
    """Everything on the screen."""

    title: str
    """The heading: the name of the node, and the bus."""
    status: NodeStatus | None = None
    """The node, as it was last seen; None before that."""
    log: deque[Line] = Factory(lambda: deque[Line](maxlen=KEPT))
    """The latest lines of what happened, the latest last."""


def relay_picture(screen: RelayScreen, *, width: int, height: int) -> Layout:
    """Return the whole screen, for so many columns and lines."""
    layout = Layout()
    status = screen.status
    rows = [] if status is None else [_row(account, status.node) for account in _sorted(status)]
    table = Rows("Accounts", _ACCOUNTS, rows, styles=_STYLES, most=height, is_counted=True)
    # The log has what the accounts need no room for.
    below = max(6, min(height // 3, 12))
    layout.split_column(
        Layout(_header(screen, width), size=2),
        Layout(table, ratio=1),
        Layout(lines_panel("Events", tuple(screen.log)), size=below),
    )
    return layout


def _header(screen: RelayScreen, width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{shortened(printable(screen.title), width)}\n", "bold")
    status = screen.status
    if status is None:
        return text.append("starting", "yellow")
    if status.is_leaving:
        word, style = "leaving", "yellow"
    elif status.is_bus_available:
        word, style = "running", "bold green"
    else:
        word, style = "no bus", "bold red"
    text.append(word, style)
    room = width - len(word)
    for fact in _facts(status):
        room -= len(fact) + 2
        if room < 0:
            break
        text.append(f"  {fact}")
    return text


def _facts(status: NodeStatus) -> Sequence[str]:
    accounts = status.accounts
    nobody = sum(account.holder is None for account in accounts)
    nodes = len(status.members)
    return [
        f"{status.held} of {len(accounts)} held here",
        *([f"{nobody} by nobody"] if nobody else ()),
        f"{nodes} {'node' if nodes == 1 else 'nodes'}",
        printable(", ".join(status.members)),
    ]


def _sorted(status: NodeStatus) -> list[AccountStatus]:
    """Return the accounts, those that need somebody first, then those that are held here."""
    return sorted(
        status.accounts,
        key=lambda it: (it.holder is not None, not it.problem, not it.is_held),
    )


def _row(account: AccountStatus, node: str) -> list[str]:
    feed = account.feed
    return [
        account.name,
        _NOBODY if account.holder is None else account.holder,
        _state(account, node),
        "-" if account.epoch is None else str(account.epoch),
        "-" if feed is None else str(feed.updates),
        "-" if feed is None else str(feed.gaps),
        str(account.messages) if account.leases else "-",
        str(account.waiting) if account.is_held else "-",
        "-" if account.published_age is None else f"{account.published_age:.0f} s",
        printable(account.problem)[:60],
    ]


def _state(account: AccountStatus, node: str) -> str:
    if account.is_held:
        if account.is_whole is None:
            is_live = account.feed is not None and account.feed.is_connected
            return "live" if is_live else "connecting"
        return "whole" if account.is_whole else _PARTIAL
    if account.problem:
        return _WRONG
    if account.holder == node:
        # The bus has not renewed the lease.
        return _UNSURE
    return "waiting" if account.holder is None else "stand-by"
