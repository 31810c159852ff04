"""The topic ``balance``: the balances of the account."""

from decimal import Context, Decimal
from typing import Any, ClassVar, Final

import msgspec

from topone_proto._checks import check_decimals
from topone_proto._values import value
from topone_proto.wire._members import DIGITS, decimal_of, new, read_with, to_decimal
from topone_proto.wire.decimals import MAX_LENGTH
from topone_proto.wire.topic import Family, Frame, Topic, Update

__all__ = ["BALANCE", "FAMILY", "Balance", "BalanceUpdate"]

# Wide enough that adding any two decimals the codec lets through is exact, whatever the caller's
# own context is.
_EXACT: Final = Context(prec=512)

BALANCE: Final = Topic["Balance"]("balance")
"""Every change of a balance of the account (private-websocket, "Subscribe to Account Updates")."""


@value
class Balance:
    """The whole balance of one asset (private-websocket, "Subscribe to Account Updates"). Amounts
    are in ``asset``.

    Raises:
        ConfigurationError: an amount is no ``Decimal``.
    """

    asset: str
    """The asset's name, such as ``"ETH"``."""
    available: Decimal
    """The amount that can be traded or withdrawn now, in ``asset``."""
    freeze: Decimal
    """The amount that open orders hold, in ``asset``."""

    def __attrs_post_init__(self) -> None:
        if not (type(self.available) is type(self.freeze) is Decimal):
            check_decimals(self, ("available", "freeze"))

    @property
    def total(self) -> Decimal:
        """``available + freeze``, exact, in ``asset``."""
        return _EXACT.add(self.available, self.freeze)


@value
class BalanceUpdate(Update):
    """The whole balance of one asset, published because it changed."""

    topic: ClassVar[Topic[Balance]] = BALANCE  # type: ignore[misc]  # one for all of them
    """The topic of every update of this kind."""
    balance: Balance
    """The balance as it is now."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""

    @property
    def key(self) -> tuple[object, ...]:
        """The asset."""
        return ("balance", self.balance.asset)

    @property
    def text(self) -> str:
        """The asset's name."""
        return self.balance.asset


# Texts stay texts here: msgspec's own Decimal takes "NaN", "1_000" and " 1" as well.
class _Data(msgspec.Struct, gc=False):
    asset: str
    available: str
    freeze: str


class _Frame(Frame, gc=False):
    data: _Data

    def read(self) -> BalanceUpdate | None:
        data = self.data
        # Joined and checked at once, see wire.orders.
        digits = f"{data.available}{data.freeze}".encode()
        if len(digits) > MAX_LENGTH or digits.translate(None, DIGITS):
            return None
        # By hand: what makes these decimals need not be checked.
        balance: Any = new(Balance)
        balance.asset = data.asset
        balance.available = to_decimal(data.available)
        balance.freeze = to_decimal(data.freeze)
        update: Any = new(BalanceUpdate)
        update.balance = balance
        update.ts = self.ts
        return update  # type: ignore[no-any-return]  # made by hand


_decode: Final = msgspec.json.Decoder(_Data).decode


def _read(_: Topic, data: bytes, ts: int | None) -> BalanceUpdate:
    balance = read_with(_decode, data)
    return BalanceUpdate(
        Balance(
            balance.asset,
            decimal_of(balance.available, ".available"),
            decimal_of(balance.freeze, ".freeze"),
        ),
        ts,
    )


def _write(update: BalanceUpdate) -> dict[str, Any]:
    balance = update.balance
    return {
        "asset": balance.asset,
        "available": str(balance.available),
        "freeze": str(balance.freeze),
    }


FAMILY: Final = Family[Balance](
    name="balance",
    topic=BALANCE,
    socket="private",
    update=BalanceUpdate,
    example=BalanceUpdate(
        Balance("ETH", Decimal("99999980.24173"), Decimal("23.596")), ts=1561948335075
    ),
    has="balance".__eq__,
    frame=_Frame,
    read=_read,
    write=_write,
    marks=(b'"asset"', b'"available"', b'"freeze"'),
)
"""The family of the topic ``balance``."""
