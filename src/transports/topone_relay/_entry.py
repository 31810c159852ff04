"""An account that a node may follow, or a set of market data, and the way to it."""

import re
from typing import Any, Final

from attrs import Attribute, Factory, field, frozen

from topone_proto import (
    BALANCE,
    DEFAULT_HTTP_URL,
    DEFAULT_URL,
    ORDERS,
    PUBLIC_URL,
    AsyncTokenSource,
    ConfigurationError,
    Credentials,
    SessionConfig,
    Token,
    Topic,
)
from topone_proto.account import AccountConfig
from topone_proto.adapters import StateStore

__all__ = ["AccountEntry", "check_name"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_name(name: Any, setting: str) -> str:
    """Return a name of an account or a node on a bus.

    Raises:
        ConfigurationError: it cannot be one.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ConfigurationError(
        setting=setting,
        problem=f"{name!r:.80} cannot be a name on a bus",
        remedy="use at most 64 letters, digits, - and _",
    )


def _check_name(_: object, __: "Attribute[str]", name: Any) -> None:
    check_name(name, "AccountEntry.name")


def _default_url(entry: "AccountEntry") -> str:
    return PUBLIC_URL if entry.is_market else DEFAULT_URL


@frozen(kw_only=True, eq=False)
class AccountEntry:
    """An account, or market data, that a node may follow. Its repr shows no secret.

    With ``BALANCE`` or ``ORDERS`` among the topics it is an account, which needs a key pair or a
    token. With topics of market data alone it needs neither.

    Raises:
        ConfigurationError: the name, the topics or the credentials cannot be used.
    """

    name: str = field(validator=_check_name)
    """The name on the bus: at most 64 letters, digits, ``-`` and ``_``."""
    topics: tuple[Topic, ...] = field(default=(BALANCE, ORDERS), converter=tuple)
    """The topics to follow: those of an account, or those of market data."""
    credentials: Credentials | None = field(default=None, repr=False)
    """The key pair of the account; None with a token."""
    token: Token | AsyncTokenSource | None = field(default=None, repr=False)
    """The API token, or a callable that supplies one; None with a key pair."""
    url: str = field(default=Factory(_default_url, takes_self=True))
    """The WebSocket to dial, without the token; the exchange's unless given."""
    http_url: str = DEFAULT_HTTP_URL
    """The base URL of the exchange's HTTP API."""
    origin: str | None = None
    """The ``Origin`` header; None leaves it out."""
    insecure: bool = False
    """True allows plain ``ws://`` and ``http://`` to other machines."""
    config: SessionConfig | None = None
    """The settings of the feed."""
    account_config: AccountConfig | None = None
    """The settings of the questions over HTTP."""
    local: StateStore | None = field(default=None, repr=False)
    """The place of the token on this machine; memory if None."""

    @property
    def is_market(self) -> bool:
        """True if this is market data, which no account is needed for."""
        return not {BALANCE, ORDERS} & set(self.topics)

    def __attrs_post_init__(self) -> None:
        sockets = {topic.family.socket for topic in self.topics if topic.family is not None}
        if not self.topics or len(sockets) != 1 or any(t.family is None for t in self.topics):
            raise ConfigurationError(
                setting="AccountEntry.topics",
                problem=f"account {self.name!r} has no topics that one WebSocket serves",
                remedy="use BALANCE and ORDERS, or topics of market data; two entries for both",
            )
        given = (self.credentials is not None) + (self.token is not None)
        if self.is_market and given:
            raise ConfigurationError(
                setting="AccountEntry.credentials",
                problem=f"{self.name!r} is market data, and has a key pair or a token",
                remedy="leave it out",
            )
        if not self.is_market and given != 1:
            raise ConfigurationError(
                setting="AccountEntry.credentials",
                problem=f"account {self.name!r} has "
                + ("a key pair and a token" if given else "no key pair and no token"),
                remedy="give one of them",
            )
