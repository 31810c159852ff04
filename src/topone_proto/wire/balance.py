"""The topic ``balance``: the balances of the account."""

from decimal import Context, Decimal
from typing import ClassVar, Final

from topone_proto._values import value
from topone_proto.wire.topic import Topic

__all__ = ["BALANCE", "Balance", "BalanceUpdate"]

# Wide enough that adding any two decimals the codec lets through is exact, whatever the caller's
# own context is.
_EXACT: Final = Context(prec=512)
BALANCE: Final = Topic("balance")
"""Every change of a balance of the account (private-websocket, "Subscribe to Account Updates")."""


@value
class Balance:
    """The whole balance of one asset (private-websocket, "Subscribe to Account Updates"). Amounts
    are in ``asset``."""

    asset: str
    """The asset's name, such as ``"ETH"``."""
    available: Decimal
    """What can be traded or withdrawn now, in ``asset``."""
    freeze: Decimal
    """What open orders hold, in ``asset``."""

    @property
    def total(self) -> Decimal:
        """``available + freeze``, exact, in ``asset``."""
        return _EXACT.add(self.available, self.freeze)


@value
class BalanceUpdate:
    """The whole balance of one asset, published because it changed."""

    topic: ClassVar[Topic] = BALANCE
    """The topic of every update of this kind."""

    balance: Balance
    """The balance as it is now."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""
