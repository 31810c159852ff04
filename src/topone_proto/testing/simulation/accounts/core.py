"""The part of a feed between an account session and its adapter."""

from collections.abc import Callable
from typing import Any

from topone_proto.account import AccountEvent, AccountSession, AccountStep
from topone_proto.feed.base import BaseCore
from topone_proto.feed.buffer import DeliveryBuffer
from topone_proto.session.config import SessionConfig

__all__ = ["AccountCore"]


class AccountCore(BaseCore[Callable[[], object], AccountStep, AccountEvent]):
    """An account session whose events are taken at once, so that reading never pauses.

    Args:
        machine: the account session.
        config: its settings.
    """

    def __init__(self, machine: AccountSession, config: SessionConfig) -> None:
        super().__init__(
            machine,
            machine.session,
            source=None,
            config=config,
            buffer=DeliveryBuffer(config.capacity, config.delivery),
            wall=None,
            is_recorded=False,
        )

    def _put(self, events: tuple[Any, ...]) -> None:
        """Let no event wait."""
