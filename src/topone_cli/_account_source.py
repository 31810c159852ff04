"""An account as the runners of feeds open it."""

from collections.abc import Callable
from typing import Any

from attrs import define, field

from topone_cli._access import Access
from topone_cli._run import SILENT
from topone_cli._token import RereadToken
from topone_proto import Token, Topic
from topone_proto.account import AccountConfig

__all__ = ["AccountSource"]


@define(kw_only=True, eq=False)
class AccountSource:
    """An exchange, and the account to follow there. A ``Source`` for ``run_feed``."""

    url: str
    http_url: str
    topics: tuple[Topic, ...]
    access: Access
    origin: str | None = None
    insecure: bool = False
    config: AccountConfig | None = None
    if_nothing_came: str = SILENT
    cache: Any = None
    """The file of token and budgets; None for the memory."""
    account: Any = field(init=False, default=None)
    """The open account, from the first event on."""

    @property
    def token(self) -> Token | RereadToken | None:
        """The token; None if it is made from keys."""
        return self.access.token

    def open(self, adapter: Any, record: Callable[[str], object] | None) -> Any:
        """Open the account with the module of an adapter."""
        opened = adapter.open_account(
            self.access.keys,
            token=self.access.token,
            url=self.url,
            http_url=self.http_url,
            topics=self.topics,
            origin=self.origin,
            insecure=self.insecure,
            account_config=self.config,
            cache=self.cache,
            record=record,
        )
        return _Noted(opened, self)


class _Noted:
    """A block, blocking or async, whose account is noted."""

    def __init__(self, opened: Any, source: AccountSource) -> None:
        self._opened = opened
        self._source = source

    def __enter__(self) -> Any:
        self._source.account = self._opened.__enter__()
        return self._source.account

    def __exit__(self, *error: object) -> Any:
        return self._opened.__exit__(*error)

    async def __aenter__(self) -> Any:
        self._source.account = await self._opened.__aenter__()
        return self._source.account

    async def __aexit__(self, *error: object) -> Any:
        return await self._opened.__aexit__(*error)
