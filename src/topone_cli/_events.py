"""The events that the command shows, from wherever they come."""

from typing import TypeAlias

from topone_proto.account import AccountEvent, RelayEvent

__all__ = ["AnyEvent"]

AnyEvent: TypeAlias = AccountEvent | RelayEvent
"""Anything that a feed, an account or a bus tells."""
