"""Tokens and key pairs: who may open which account, and until when."""

from collections.abc import Mapping
from math import inf

from attrs import field

from topone_proto._values import value

__all__ = ["App", "Tokens"]


@value
class App:
    """A key pair of an account, as the exchange's user centre has it. Its repr shows no key."""

    app_id: str
    """The application's id."""
    app_key: str = field(repr=False)
    """Its key, which signs requests for tokens."""
    account: str = "demo"
    """The account that its tokens open."""


class Tokens:
    """The tokens that open accounts. The gateway and the HTTP desk of one exchange share them."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """Tokens that are good for ever.

        Args:
            known: which token opens which account; None for none.
        """
        self.__accounts = {token: (account, inf) for token, account in (known or {}).items()}

    def allow(self, token: str, account: str, until: float = inf) -> None:
        """Let a token open an account, until a moment on the clock of ``now``."""
        self.__accounts[token] = (account, until)

    def revoke(self, token: str) -> None:
        """Let a token open nothing any more."""
        self.__accounts.pop(token, None)

    def account(self, token: str, now: float) -> str | None:
        """Return the account that a token opens; None if it opens none."""
        account, until = self.__accounts.get(token, (None, inf))
        return account if now < until else None
