"""The truth about an account: its books, and everything that ever stood in them."""

from decimal import Decimal
from typing import Final

from topone_proto.errors import LocalProtocolError
from topone_proto.exchange import LivingAccount
from topone_proto.models import Side
from topone_proto.testing.simulation.accounts.plan import Trade
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

__all__ = ["Truth"]

_MARKETS: Final = ("ETH/BTC", "BTC/USDT")
_PRICES: Final = (Decimal("0.05"), Decimal(9000))
_AMOUNTS: Final = (Decimal("0.5"), Decimal("0.01"))


def _essence(order: Order) -> tuple[object, ...]:
    """Return what every list and every frame tells of an order. Some leave out the rest."""
    return (
        order.market,
        order.type,
        order.side,
        order.status,
        order.price,
        order.amount,
        order.deal_stock,
        order.deal_money,
    )


class Truth:
    """A living account, moved by a plan.

    Args:
        account: the account.
    """

    def __init__(self, account: LivingAccount) -> None:
        self._account = account
        self._states: dict[int, set[tuple[object, ...]]] = {}
        self._balances: set[Balance] = {*account.balances.values()}
        self.orders: dict[int, Order] = {}
        """Every order that ever was, as it is now or ended."""
        self.changes: int = 0
        """The number of changes so far."""

    @property
    def balances(self) -> dict[str, Balance]:
        """Every balance as it is now."""
        return self._account.balances

    @property
    def open_orders(self) -> dict[int, Order]:
        """Every open order as it is now."""
        return self._account.open_orders

    def is_closed(self, number: int) -> bool:
        """Return True for an order that was there and has ended."""
        return number in self._states and number not in self._account.open_orders

    def has_been(self, thing: Order | Balance) -> bool:
        """Return True if an order or a balance was so once."""
        if isinstance(thing, Order):
            return _essence(thing) in self._states.get(thing.id, ())
        return thing in self._balances

    def trade(self, plan: Trade, now: float) -> tuple[Order | Balance, ...]:
        """Change the books. Returns what is to be published, in order."""
        try:
            changes = self._trade(plan, now)
        except LocalProtocolError:
            return ()  # the funds are used up
        for change in changes:
            self.changes += 1
            if isinstance(change, Order):
                self._states.setdefault(change.id, set()).add(_essence(change))
                self.orders[change.id] = change
            else:
                self._balances.add(change)
        return changes

    def _trade(self, plan: Trade, now: float) -> tuple[Order | Balance, ...]:
        account, key = self._account, plan.key
        numbers = sorted(account.open_orders)
        if plan.verb.startswith("place") or not numbers:
            which = key % 2
            side, amount = Side(1 + key // 2 % 2), _AMOUNTS[which] * (1 + key % 5)
            price = None if plan.verb == "place_market" else _PRICES[which]
            if price is None and side is Side.BUY:
                amount *= _PRICES[which]
            return account.place(_MARKETS[which], side, amount, now, price=price).changes
        number = numbers[key % len(numbers)]
        order = account.open_orders[number]
        if plan.verb == "cancel":
            return account.cancel(number, now).changes
        price = order.price or _PRICES[_MARKETS.index(order.market)]
        assert order.left is not None
        left = order.left / price if order.is_buy and not order.price else order.left
        amount = left if plan.verb == "complete" else left / 2
        return account.fill(number, amount, now, price=price).changes
