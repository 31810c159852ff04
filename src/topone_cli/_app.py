"""The whole command: its subcommands are added in the order in which its help lists them."""

from topone_cli import _live, _live_account, _login, _market, _recordings, _relay, _tools
from topone_cli._root import app

__all__ = ["app"]

_: object = (_live, _live_account, _login, _market, _relay, _recordings, _tools)
